"""Command lines, parsed into a dataclass of flags, and the help of commands; all commands share the flag syntax of absl.

    --name=value    --name value    --switch    --noswitch    --flagfile=FILE

Later flags override earlier ones, including those of a flag file.
"""

import dataclasses
import difflib
import os
import shutil
import textwrap
from typing import Any, TypeVar

from absl import flags

import pixpro_tf
from pixpro_tf.cli.flag_values import parser_of
from pixpro_tf.config.flag import INTERNAL, LIMITS, as_written, flag_name
from pixpro_tf.errors import ConfigError

Settings = TypeVar("Settings")

_SYNTAX = "write flags as --name=value"
_NO_VALUE = f"has no value; {_SYNTAX}"


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
    given = values_of(settings, arguments)
    return None if given is None else settings(**given)


def values_of(settings: type[Settings], arguments: list[str]) -> dict[str, Any] | None:
    """Parses a command line into the values of settings, which are not checked together; arguments and errors are those of `parse`."""
    values = _defined(settings)
    expanded = _expanded(arguments)
    try:
        rest = values(["", *expanded])
    except (flags.Error, ValueError) as error:
        raise ConfigError(_in_plain_words(error, settings)) from None
    if values["help"].value:
        return None
    if rest[1:]:
        raise ConfigError(f"{rest[1]!r} is not a flag; {_SYNTAX}")
    given = {field.name: values[flag_name(field)].value for field in _fields(settings)}
    missing = [f"--{flag_name(field)}" for field in _fields(settings) if given[field.name] is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{' and '.join(missing)} {verb} missing; --help lists the flags")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }


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


def _in_plain_words(error: Exception, settings: Any) -> str:
    """Returns the message about a command line that absl rejects."""
    said = str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        return unknown(error.flagname, settings)
    if not isinstance(error, flags.Error):
        # A boolean flag with both `no` and a value.
        argument = said.removesuffix(" does not take an argument")
        name = argument.partition("=")[0].lstrip("-").removeprefix("no")
        return f"{argument} takes no value; use --{name} or --no{name}"
    argument = said.removeprefix("Missing value for flag ")
    return said if argument == said else f"{argument} {_NO_VALUE}"


def unknown(name: str, settings: Any) -> str:
    """Returns the message about a flag that does not exist, with the name of a similar one."""
    if " " in name:
        # A line of a flag file without its equals sign.
        return f"'--{name}' is not a flag; {_SYNTAX}"
    names = ["flagfile"]
    for field in _fields(settings):
        if field.metadata["group"] != INTERNAL:
            names.append(flag_name(field))
            if isinstance(field.default, bool):
                names.append(f"no{flag_name(field)}")
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean --{close[0]}? " if close else ""
    return f"--{name} is unknown; {hint}--help lists the flags"


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
    _define(values, "help", False, short_name="h")
    for field in _fields(settings):
        name = flag_name(field)
        if field.metadata.get("repeated"):
            flags.DEFINE_multi_string(name, None, "", flag_values=values)
        elif field.default is dataclasses.MISSING:
            flags.DEFINE_string(name, None, "", flag_values=values)
        else:
            _define(values, name, field.default, bool(field.metadata.get("automatic")))
        if field.metadata.get("alias"):
            flags.DEFINE_alias(field.metadata["alias"], name, flag_values=values)
    return values


def _define(
    values: flags.FlagValues, name: str, default: Any, automatic: bool = False, **options: Any
) -> None:
    parser = parser_of(name, default, automatic)
    flags.DEFINE(parser, name, default, "", values, **options)
    # Flags with this attribute can be written without a value.
    values[name].boolean = isinstance(default, bool)


def _expanded(arguments: list[str], inside: tuple[str, ...] = ()) -> list[str]:
    """Returns the arguments with each flag file replaced by its lines.

    absl could expand the files itself, but a flag file of this package may include another one by its relative path, which does not exist
    in the working directory of a user who has installed the package.
    """
    found = []
    remaining = iter(arguments)
    for argument in remaining:
        flag, has_value, path = argument.partition("=")
        if flag not in ("--flagfile", "-flagfile"):
            found.append(argument)
            continue
        if not has_value and not (path := next(remaining, "")):
            raise ConfigError(f"{argument} {_NO_VALUE}")
        if not path:
            continue
        path = _flagfile(os.path.expanduser(path))
        if path in inside:
            raise ConfigError(
                f"--flagfile={path} includes itself, directly or through another flag file; remove that line"
            )
        found += _expanded(_lines_of(path), (*inside, path))
    return found


def _lines_of(path: str) -> list[str]:
    """Returns the arguments in a flag file, one per line."""
    try:
        with open(path) as file:
            lines = [line.strip() for line in file]
    except FileNotFoundError:
        raise ConfigError(
            f"--flagfile={path} does not exist; use a path, or the name of a flag file of pixpro_tf, e.g. --flagfile=pixpro"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"--flagfile={path} is a folder; use a file") from None
    except OSError as error:
        raise ConfigError(
            f"--flagfile={path} cannot be read: {error.strerror}; make it readable, or use another file"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--flagfile={path} is not a text file ({error}); use a text file with one flag per line"
        ) from None
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def _flagfile(path: str) -> str:
    """Returns the path of a flag file.

    A path that does not exist, such as `configs/pixpro.flags` or just `pixpro`, refers to a flag file that comes with this package.
    """
    # A folder of images may have the name of a flag file.
    if os.path.isfile(path):
        return path
    package = os.path.dirname(os.path.abspath(pixpro_tf.__file__))
    name = path.removeprefix("configs/").removesuffix(".flags") + ".flags"
    # The first folder exists in an installed package, the second in a checkout.
    for folder in (os.path.join(package, "configs"), os.path.join(package, "..", "configs")):
        own = os.path.join(folder, name)
        if os.path.isfile(own):
            return own
    return path
