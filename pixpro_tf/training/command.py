"""From a command line to a `Config`, and to the run."""

import dataclasses
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from absl import flags

import pixpro_tf
from pixpro_tf.cli.commands import exit_code_of, quiet_tensorflow
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError

_DEFINE: dict[type, Callable] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def make_flags() -> flags.FlagValues:
    """absl flags for every field of `Config`, and `--flagfile`."""
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_boolean("help", False, "", short_name="h", flag_values=values)
    for field in dataclasses.fields(Config):
        define = _DEFINE[type(field.default)]
        define(field.name, field.default, field.metadata["help"], flag_values=values)
    return values


def parse(arguments: list[str]) -> Config | None:
    """The configuration that a command line asks for.

    Args:
        arguments: of the command, its name first. Later ones override earlier ones, those of a flag file included.

    Returns:
        The `Config`, or None where only help was asked for.

    Raises:
        ConfigError: for a flag that is unknown, cannot be read, or does not fit the others.
    """
    values = make_flags()
    try:
        rest = values(_expanded(arguments))
    except flags.Error as error:
        raise ConfigError(f"{' '.join(str(error).split())}; --help lists the flags") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--flagfile names a file that is no text: {error}") from None
    if values.help:
        return None
    if rest[1:]:
        raise ConfigError(f"{rest[1]!r} is no flag; flags are written --name=value")
    given: dict[str, Any] = {
        field.name: values[field.name].value for field in dataclasses.fields(Config)
    }
    config = Config(**given)
    config.check_surroundings()
    return config


def _expanded(arguments: list[str], inside: tuple[str, ...] = ()) -> list[str]:
    """The arguments with the lines of each flag file in its place; a file that does not exist is left for absl to report.

    absl could expand them, but a file that comes with this package may include another one of them, and an installed package is in no
    user's working directory.
    """
    found = []
    for argument in arguments:
        flag, is_given, path = argument.partition("=")
        if not is_given or flag.lstrip("-") != "flagfile" or not path:
            found.append(argument)
            continue
        path = _flagfile(os.path.expanduser(path))
        if path in inside:
            raise ConfigError(f"--flagfile={path} includes itself; remove one of the two lines")
        if not os.path.isfile(path):
            found.append(argument)
            continue
        with open(path) as file:
            lines = [line.strip() for line in file]
        flags_of_file = [line for line in lines if line and not line.startswith(("#", "//"))]
        found += _expanded(flags_of_file, (*inside, path))
    return found


def _flagfile(path: str) -> str:
    """The path of a flag file. One that does not exist, as `configs/pixpro.flags` or just `pixpro`, is one of those that come with this package."""
    if os.path.exists(path):
        return path
    package = os.path.dirname(os.path.abspath(pixpro_tf.__file__))
    name = path.removeprefix("configs/").removesuffix(".flags") + ".flags"
    # In an installed package, and in a checkout.
    for folder in (os.path.join(package, "configs"), os.path.join(package, "..", "configs")):
        own = os.path.join(folder, name)
        if os.path.isfile(own):
            return own
    return path


def help_text(width: int | None = None) -> str:
    """The flags in groups, with defaults and units."""
    width = width or min(shutil.get_terminal_size().columns, 110)
    lines = [
        "Pre-trains a visual backbone without labels.",
        "",
        "  python train.py --flagfile=configs/pixpro.flags [--flag=value ...]",
        "",
        "Later flags override earlier ones, those of a flag file included. Boolean flags are switched off by --noNAME.",
    ]
    group = None
    for field in dataclasses.fields(Config):
        metadata = field.metadata
        if metadata["group"] != group:
            group = metadata["group"]
            lines += ["", f"{group}:"]
        default = field.default if field.default != "" else "(empty)"
        head = f"  --{field.name}={default}"
        if isinstance(field.default, bool):
            head = f"  --[no]{field.name} ({'on' if field.default else 'off'})"
        if metadata["unit"]:
            head += f"  [{metadata['unit']}]"
        text = metadata["help"]
        if metadata["choices"]:
            text += f" ({' | '.join(metadata['choices'])})"
        lines.append(head)
        lines += textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line, the command's name first; returns the exit code and prints every user's mistake as one line."""
    given = sys.argv if arguments is None else arguments
    return exit_code_of(lambda: _run(given))


def _run(arguments: list[str]) -> int:
    config = parse(arguments)
    if config is None:
        print(help_text())
        return 0
    # TensorFlow takes seconds to import and prints; both wait until the flags have been checked.
    quiet_tensorflow()
    from pixpro_tf.training.run import train

    return train(config)
