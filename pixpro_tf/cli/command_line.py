"""Command lines, parsed into a dataclass of flags, and the help of commands; all commands share the flag syntax of absl.

    --name=value    --name value    --switch    --noswitch    --flagfile=FILE

Later flags override earlier ones, including those of a flag file.
"""

import dataclasses
import os
import shutil
import textwrap
from typing import Any, TypeVar

from absl import flags

import pixpro_tf
from pixpro_tf.config.flag import AUTO, INTERNAL, LIMITS, as_written, flag_name
from pixpro_tf.errors import ConfigError

Settings = TypeVar("Settings")


class _IntegerOrAuto(flags.IntegerParser):
    """Parser of a whole number that may also be `auto`."""

    def parse(self, argument: Any) -> int:
        return AUTO if argument == "auto" else super().parse(argument)

    def convert(self, argument: Any) -> int:
        try:
            return super().convert(argument)
        except ValueError:
            raise ValueError("not a whole number or auto") from None


class _Several(flags.ArgumentParser):
    """Parser of a flag with several values, e.g. `0.01,0.1`."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def parse(self, argument: Any) -> tuple[Any, ...]:
        if isinstance(argument, tuple):
            return argument
        try:
            return tuple(self.kind(part.strip()) for part in argument.split(","))
        except ValueError:
            example = "whole numbers, e.g. 1,2" if self.kind is int else "numbers, e.g. 0.01,0.1"
            raise ValueError(f"not a list of {example}") from None


def parse(settings: type[Settings], arguments: list[str]) -> Settings | None:
    """Parses a command line into settings.

    Args:
        settings: dataclass whose fields are created by `pixpro_tf.config.flag`.
        arguments: arguments of the command, without its name.

    Returns:
        The settings, or None if the command line asks for help only.

    Raises:
        ConfigError: if a flag is unknown, missing, unreadable, or inconsistent with other flags.
    """
    values = _defined(settings)
    try:
        rest = values(["", *_expanded(arguments)])
    except flags.Error as error:
        raise ConfigError(f"{' '.join(str(error).split())}; --help lists the flags") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--flagfile is not a text file ({error}); use a text file with one flag per line"
        ) from None
    if values["help"].value:
        return None
    if rest[1:]:
        raise ConfigError(f"{rest[1]!r} is not a flag; write flags as --name=value")
    given = {field.name: values[flag_name(field)].value for field in _fields(settings)}
    missing = [f"--{flag_name(field)}" for field in _fields(settings) if given[field.name] is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{' and '.join(missing)} {verb} missing; --help lists the flags")
    return settings(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
        }
    )


def arguments_of(settings: Any) -> list[str]:
    """Returns a command line that is parsed into the same settings."""
    given = []
    for field in _fields(settings):
        value = getattr(settings, field.name)
        for each in value if field.metadata.get("repeated") else [value]:
            given.append(f"--{flag_name(field)}={as_written(field, each)}")
    return given


def help_text(
    settings: Any, description: str, examples: list[str], width: int | None = None
) -> str:
    """Returns the help of a command: its flags in groups, with defaults and units.

    Args:
        settings: dataclass of the flags; see `parse`.
        description: one line that says what the command does.
        examples: command lines to show as examples.
        width: width of a line, in characters; None uses the width of the terminal.
    """
    width = width or min(shutil.get_terminal_size().columns, 110)
    lines = [
        *textwrap.wrap(description, width),
        "",
        *(f"  {example}" for example in examples),
        "",
        "Later flags override earlier ones, including those of a flag file. Boolean flags are switched off with --noNAME.",
    ]
    groups: dict[str, list[str]] = {}
    for field in _fields(settings):
        if field.metadata["group"] != INTERNAL:
            groups.setdefault(field.metadata["group"], []).extend(_help_of(field, width))
    # Those who need the limits are told by an error.
    for group, texts in sorted(groups.items(), key=lambda item: item[0] == LIMITS):
        lines += ["", f"{group}:", *texts]
    return "\n".join(lines)


def _help_of(field: "dataclasses.Field[Any]", width: int) -> list[str]:
    name, metadata = flag_name(field), field.metadata
    if field.default is dataclasses.MISSING:
        head = f"  --{name}=...  (required{', repeatable' if metadata.get('repeated') else ''})"
    elif isinstance(field.default, bool):
        head = f"  --[no]{name} ({'on' if field.default else 'off'})"
    else:
        head = f"  --{name}={as_written(field, field.default) or '(empty)'}"
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
    """Returns absl flags for every field, and `--flagfile`; required flags are None until they are set."""
    values = flags.FlagValues()
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_boolean("help", False, "", short_name="h", flag_values=values)
    for field in _fields(settings):
        name = flag_name(field)
        default = None if field.default is dataclasses.MISSING else field.default
        if field.metadata.get("repeated"):
            flags.DEFINE_multi_string(name, None, "", flag_values=values)
        elif isinstance(default, tuple):
            flags.DEFINE(_Several(type(default[0])), name, default, "", values)
        elif field.metadata.get("automatic"):
            flags.DEFINE(_IntegerOrAuto(), name, default, "", values)
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
    """Returns the arguments with each flag file replaced by its lines; a file that does not exist is left for absl to report.

    absl could expand the files itself, but a flag file of this package may include another one by its relative path, which does not exist
    in the working directory of a user who has installed the package.
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
    """Returns the path of a flag file.

    A path that does not exist, such as `configs/pixpro.flags` or just `pixpro`, refers to a flag file that comes with this package.
    """
    if os.path.exists(path):
        return path
    package = os.path.dirname(os.path.abspath(pixpro_tf.__file__))
    name = path.removeprefix("configs/").removesuffix(".flags") + ".flags"
    # The first folder exists in an installed package, the second in a checkout.
    for folder in (os.path.join(package, "configs"), os.path.join(package, "..", "configs")):
        own = os.path.join(folder, name)
        if os.path.isfile(own):
            return own
    return path
