"""Base of all commands: how they are called, their help, and mistakes of the user reported as one line."""

import contextlib
import dataclasses
import errno
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pixpro_tf.cli import command_line, interruptions, outputs
from pixpro_tf.data import limits
from pixpro_tf.errors import ConfigError, RunError, UserError, first_line, printable

Settings = TypeVar("Settings")

# Errors of a disk that is full, read-only or broken, and of a process that may not open more files: no mistake of this project.
_OF_THE_MACHINE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
)


@dataclasses.dataclass(frozen=True)
class Command(Generic[Settings]):
    """Command with one set of flags. Calling it runs the command and returns the exit code.

    Args:
        settings: dataclass of the flags.
        doc: docstring of the command's module: one line that says what it does, and examples, each a line that begins with `python`.
        checkout: name of the command in a checkout, e.g. "python -m export.savedmodel".
        run: function that does the work and returns the exit code, or None for 0. It imports the library that it needs, because that
            imports TensorFlow, which takes seconds; mistakes in flags are reported before.
        installed: name of the command where the package is installed, e.g. "pixpro-export savedmodel"; empty if only a checkout has it.
    """

    settings: type[Settings]
    doc: str | None
    checkout: str
    run: Callable[[Settings], int | None]
    installed: str = ""

    def __call__(self, arguments: list[str] | None = None) -> int:
        """Runs the command with arguments, without its name; by default with those of this process."""
        given = sys.argv[1:] if arguments is None else arguments
        return exit_code_of(lambda: self._run(given))

    @property
    def summary(self) -> str:
        """One line that says what the command does."""
        return (self.doc or "").split("\n\n")[0].strip()

    def help_text(self, width: int | None = None) -> str:
        """Returns the help; `width` is the width of a line, None uses the width of the terminal."""
        lines = [line.strip() for line in (self.doc or "").splitlines()]
        examples = [line for line in lines if line.startswith("python ")]
        if is_installed_command():
            examples = [line.replace(self.checkout, self.installed) for line in examples]
        return command_line.help_text(self.settings, self.summary, examples, width)

    def _run(self, arguments: list[str]) -> int | None:
        settings = command_line.parse(self.settings, arguments)
        if settings is None:
            print(self.help_text())
            return 0
        if os.name != "posix":
            raise RunError(
                "pixpro_tf runs on Linux and macOS; on Windows, use the Windows Subsystem for Linux"
            )
        quiet_libraries()
        limits.use(settings)
        outputs.check_settings(settings)
        return self.run(settings)


@dataclasses.dataclass(frozen=True)
class Program:
    """Program with several commands; the first argument selects one. Calling it runs the command and returns the exit code.

    Args:
        name: name of the program, e.g. "pixpro-export".
        summary: one line that says what the program does.
        modules: dict from the name of each command to the module whose `main` is the command.
    """

    name: str
    summary: str
    modules: dict[str, str]

    def __call__(self, arguments: list[str] | None = None) -> int:
        """Runs the program with arguments, without its name; by default with those of this process."""
        given = sys.argv[1:] if arguments is None else arguments
        return exit_code_of(lambda: self._run(given))

    def help_text(self) -> str:
        """Returns the help: what the program does, and its commands."""
        width = max(map(len, self.modules))
        rows = [f"  {name:{width}}  {self._command(name).summary}" for name in self.modules]
        lines = [self.summary, "", f"  {self.name} COMMAND [--flag=value ...]", "", "Commands:"]
        return "\n".join(
            [*lines, *rows, "", f"`{self.name} COMMAND --help` lists the flags of a command."]
        )

    def _run(self, arguments: list[str]) -> int | None:
        names = ", ".join(self.modules)
        if not arguments:
            raise ConfigError(
                f"{self.name} needs a command; use one of {names}, or --help for what they do"
            )
        name, *rest = arguments
        if name in ("-h", "--help"):
            print(self.help_text())
            return 0
        if name not in self.modules:
            raise ConfigError(f"{self.name} has no command {name!r}; use one of {names}")
        return self._command(name)(rest)

    def _command(self, name: str) -> Command[Any]:
        return importlib.import_module(self.modules[name]).main


def exit_code_of(command: Callable[[], int | None]) -> int:
    """Runs a command and prints mistakes of the user as one line.

    Args:
        command: function that returns the exit code, or None for 0.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Lines that a command prints while it works appear immediately in pipes and logs too. Names of files may contain bytes that are not
        # text in the encoding of the terminal.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        with interruptions.raised():
            return command() or 0
    except UserError as error:
        print(f"error: {error.line}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Python would complain again when it flushes the output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as error:
        # The terminal may be closed.
        with contextlib.suppress(OSError):
            print("Stopped.", file=sys.stderr)
        number = error.number if isinstance(error, interruptions.Interruption) else signal.SIGINT
        return 128 + number
    except OSError as error:
        print(f"error: {printable(_about_a_file(error))}", file=sys.stderr)
        return RunError.exit_code


def _about_a_file(error: OSError) -> str:
    """Returns the message about a file that cannot be read or written; raises any other error again."""
    if error.strerror and isinstance(error.filename, str | bytes):
        return f"{os.fsdecode(error.filename)} cannot be read or written: {error.strerror}"
    # Libraries need a temporary folder when they are imported.
    if error.errno not in _OF_THE_MACHINE and "temporary directory" not in str(error):
        raise error
    return first_line(error)


def called(checkout: str, installed: str) -> str:
    """Returns the name by which the user of this process calls a command: in a checkout, or where the package is installed."""
    return installed if is_installed_command() else checkout


def is_installed_command() -> bool:
    """Returns whether this process is an installed command of the package, such as `pixpro-train`, rather than one of a checkout."""
    return os.path.basename(sys.argv[0]).startswith("pixpro-")


def quiet_libraries() -> None:
    """Keeps log lines and warnings of libraries out of the output of a command; must run before TensorFlow is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # This comes from an import of tensorflow-hub, in the versions of requirements.txt.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    # Pillow warns of damaged images and metadata; images that cannot be read are reported by this project.
    warnings.filterwarnings("ignore", module=r"PIL\.")
