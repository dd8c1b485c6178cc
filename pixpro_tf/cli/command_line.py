"""From a command line to a dataclass of flags, and from that to the help: one dialect for all commands, absl's.

    --name=value    --name value    --switch    --noswitch    --flagfile=FILE

Later flags override earlier ones, those of a flag file included.
"""

import dataclasses
import os
import shutil
import textwrap
from typing import Any, TypeVar

from absl import flags

import pixpro_tf
from pixpro_tf.config.flag import INTERNAL, as_written, flag_name
from pixpro_tf.errors import ConfigError

Settings = TypeVar("Settings")


class _Several(flags.ArgumentParser):
    """Reads a flag of several values, `0.01,0.1`."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def parse(self, argument: Any) -> tuple[Any, ...]:
        if isinstance(argument, tuple):
            return argument
        try:
            return tuple(self.kind(part.strip()) for part in argument.split(","))
        except ValueError:
            example = "whole numbers, as 1,2" if self.kind is int else "numbers, as 0.01,0.1"
            raise ValueError(f"not a list of {example}") from None


def parse(settings: type[Settings], arguments: list[str]) -> Settings | None:
    """The settings that a command line asks for.

    Args:
        settings: a dataclass whose fields are made by `pixpro_tf.config.flag`.
        arguments: of the command, without its name.

    Returns:
        The settings, or None where only help was asked for.

    Raises:
        ConfigError: for a flag that is unknown, missing, cannot be read, or does not fit the others.
    """
    values = _defined(settings)
    try:
        rest = values(["", *_expanded(arguments)])
    except flags.Error as error:
        raise ConfigError(f"{' '.join(str(error).split())}; --help lists the flags") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"--flagfile names a file that is no text: {error}") from None
    if values["help"].value:
        return None
    if rest[1:]:
        raise ConfigError(f"{rest[1]!r} is no flag; flags are written --name=value")
    given = {field.name: values[flag_name(field)].value for field in _fields(settings)}
    missing = [f"--{flag_name(field)}" for field in _fields(settings) if given[field.name] is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{' and '.join(missing)} {verb} missing; --help lists the flags")
    return settings(**given)


def arguments_of(settings: Any) -> list[str]:
    """A command line that asks for the same settings."""
    return [
        f"--{flag_name(field)}={as_written(getattr(settings, field.name))}"
        for field in _fields(settings)
    ]


def help_text(
    settings: Any, description: str, examples: list[str], width: int | None = None
) -> str:
    """The flags of a command in groups, with defaults and units.

    Args:
        settings: as of `parse`.
        description: what the command does, in a line.
        examples: command lines.
        width: of a line, in characters; None takes the terminal's.
    """
    width = width or min(shutil.get_terminal_size().columns, 110)
    lines = [
        *textwrap.wrap(description, width),
        "",
        *(f"  {example}" for example in examples),
        "",
        "Later flags override earlier ones, those of a flag file included. Boolean flags are switched off by --noNAME.",
    ]
    groups: dict[str, list[str]] = {}
    for field in _fields(settings):
        if field.metadata["group"] != INTERNAL:
            groups.setdefault(field.metadata["group"], []).extend(_help_of(field, width))
    for group, texts in groups.items():
        lines += ["", f"{group}:", *texts]
    return "\n".join(lines)


def _help_of(field: "dataclasses.Field[Any]", width: int) -> list[str]:
    name, metadata = flag_name(field), field.metadata
    if field.default is dataclasses.MISSING:
        head = f"  --{name}=...  (required)"
    elif isinstance(field.default, bool):
        head = f"  --[no]{name} ({'on' if field.default else 'off'})"
    else:
        head = f"  --{name}={as_written(field.default) or '(empty)'}"
    if metadata["unit"]:
        head += f"  [{metadata['unit']}]"
    text = metadata["help"]
    if metadata["choices"]:
        text += f" ({' | '.join(str(choice) for choice in metadata['choices'] if choice != '')})"
    indent = " " * 6
    return [head, *textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)]


def _fields(settings: Any) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(settings)


def _defined(settings: Any) -> flags.FlagValues:
    """absl flags for every field, and `--flagfile`. Those that have to be given are None at first."""
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_boolean("help", False, "", short_name="h", flag_values=values)
    for field in _fields(settings):
        name = flag_name(field)
        default = None if field.default is dataclasses.MISSING else field.default
        if isinstance(default, tuple):
            flags.DEFINE(_Several(type(default[0])), name, default, "", values)
        elif isinstance(default, bool):
            flags.DEFINE_boolean(name, default, "", flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, "", flag_values=values)
        elif isinstance(default, float):
            flags.DEFINE_float(name, default, "", flag_values=values)
        else:
            flags.DEFINE_string(name, default, "", flag_values=values)
        if field.metadata.get("alias"):
            flags.DEFINE_alias(field.metadata["alias"], name, flag_values=values)
    return values


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
