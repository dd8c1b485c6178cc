"""What all commands share: how they are called, their help, and a user's mistake as one line."""

import dataclasses
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pixpro_tf.cli import command_line
from pixpro_tf.errors import ConfigError, UserError

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Command(Generic[Settings]):
    """A command of one set of flags. Calling it runs it and returns the exit code.

    Args:
        settings: dataclass of its flags.
        doc: of its module: a line that says what it does, and examples, each a line that begins with `python`.
        checkout: how it is called in a checkout, as "python -m export.savedmodel".
        run: does the work. It imports the library that it needs, because that imports TensorFlow, which takes seconds; a mistake in a
            flag has been reported by then. Returns the exit code, or None for 0.
        installed: how it is called where the package is installed, as "pixpro-export savedmodel"; empty if only a checkout has it.
    """

    settings: type[Settings]
    doc: str | None
    checkout: str
    run: Callable[[Settings], int | None]
    installed: str = ""

    def __call__(self, arguments: list[str] | None = None) -> int:
        """Runs a command line, without the command's name; that of this process by default."""
        given = sys.argv[1:] if arguments is None else arguments
        return exit_code_of(lambda: self._run(given))

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (self.doc or "").split("\n\n")[0].strip()

    def help_text(self, width: int | None = None) -> str:
        """The help; `width` is that of a line, None the terminal's."""
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
        quiet_tensorflow()
        return self.run(settings)


@dataclasses.dataclass(frozen=True)
class Program:
    """A program of several commands, of which the first argument names one. Calling it runs it and returns the exit code.

    Args:
        name: how it is called, as "pixpro-export".
        summary: what it does, in a line.
        modules: module whose `main` is each command, by the command's name.
    """

    name: str
    summary: str
    modules: dict[str, str]

    def __call__(self, arguments: list[str] | None = None) -> int:
        """Runs a command line, without the program's name; that of this process by default."""
        given = sys.argv[1:] if arguments is None else arguments
        return exit_code_of(lambda: self._run(given))

    def help_text(self) -> str:
        """What it does, and its commands."""
        width = max(map(len, self.modules))
        rows = [f"  {name:{width}}  {self._command(name).summary}" for name in self.modules]
        lines = [self.summary, "", f"  {self.name} COMMAND [--flag=value ...]", "", "Commands:"]
        return "\n".join(
            [*lines, *rows, "", f"`{self.name} COMMAND --help` lists the flags of one."]
        )

    def _run(self, arguments: list[str]) -> int | None:
        names = ", ".join(self.modules)
        if not arguments:
            raise ConfigError(
                f"{self.name} needs a command: one of {names}; --help says what they do"
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
    """Runs a command and prints a user's mistake as one line.

    Args:
        command: returns its exit code, or None for 0.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a command tells while it works is seen at once in a pipe and in a log, too.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {error.line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 128 + signal.SIGINT


def is_installed_command() -> bool:
    """Whether this process is one of the package's own commands, as `pixpro-train`, and not one of a checkout."""
    return os.path.basename(sys.argv[0]).startswith("pixpro-")


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's own log lines from between a command's; before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What tensorflow-hub imports; the versions of requirements.txt bring it.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
