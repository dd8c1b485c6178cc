"""How a flag is declared: a field of a frozen dataclass, with its type, default, unit, help, and what it depends on."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pixpro_tf.errors import ConfigError

Value = TypeVar("Value", bound=bool | int | float | str | tuple[Any, ...])

# The group of flags that a command gives to processes of its own; --help leaves them out.
INTERNAL = ""


def flag(
    default: Value,
    group: str,
    help_text: str,
    *,
    choices: Sequence[Any] | None = None,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    fixed: bool = True,
    used_by: Mapping[str, Sequence[Any]] | None = None,
) -> Value:
    """A field that is a flag.

    Args:
        default: gives the type, too; a tuple, of at least one value, is written with commas.
        group: heading under which `--help` shows it.
        help_text: what it does.
        choices: values allowed.
        unit: shown in the help.
        minimum, maximum: smallest and largest value allowed, of a number.
        fixed: whether a run keeps the value for life; others may change when it is resumed.
        used_by: flags on which it depends: by their names, the values with which it is used; none for all but off, empty and 0.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "group": group,
            "help": help_text,
            "choices": choices,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "fixed": fixed,
            "used_by": used_by or {},
        },
    )


def required(
    group: str,
    help_text: str,
    *,
    choices: Sequence[str] | None = None,
    name: str = "",
    alias: str = "",
) -> Any:
    """A field that is a flag with a text that has to be given.

    Args:
        group, help_text, choices: as of `flag`.
        name: of the flag, where the field cannot have it, as `from`.
        alias: a former name, which is still understood.
    """
    unset: dict[str, Any] = {
        "used_by": {},
        "unit": "",
        "minimum": None,
        "maximum": None,
        "fixed": True,
    }
    return dataclasses.field(
        metadata={
            **unset,
            "group": group,
            "help": help_text,
            "choices": choices,
            "name": name,
            "alias": alias,
        }
    )


def flag_name(field: "dataclasses.Field[Any]") -> str:
    """Name of the flag of a field, without its dashes."""
    return field.metadata.get("name") or field.name


def as_written(value: Any) -> str:
    """A value as a command line has it."""
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)


def check_values(settings: Any) -> None:
    """Raises `ConfigError` for a flag of a dataclass whose value is not allowed by itself."""
    for field in dataclasses.fields(settings):
        _check_value(field, getattr(settings, field.name))


def check_all_used(settings: Any) -> None:
    """Raises `ConfigError` for a flag that was given although the flags that it depends on leave it unused."""
    for field in dataclasses.fields(settings):
        for name, values in field.metadata["used_by"].items():
            found = getattr(settings, name)
            if not (found in values if values else found):
                check_used(settings, False, [field.name], _as_given(name, found))


def check_used(settings: Any, used: bool, names: list[str], by: str) -> None:
    """Raises `ConfigError` for flags that were given if nothing uses them.

    Args:
        settings: a dataclass of flags.
        used: whether they are used.
        names: names of the flags.
        by: what does not use them, for the message.
    """
    if used:
        return
    for name in names:
        if getattr(settings, name) != getattr(type(settings), name):
            refuse(settings, name, f"is not used by {by}; leave it out")


def refuse(settings: Any, name: str, reason: str) -> NoReturn:
    """Raises `ConfigError` for the value of a flag, by the name of its field."""
    field = next(field for field in dataclasses.fields(settings) if field.name == name)
    value = getattr(settings, name)
    if isinstance(value, bool):
        raise ConfigError(f"{_as_given(flag_name(field), value)} {reason}")
    raise ConfigError(f"--{flag_name(field)}={as_written(value)} {reason}")


def integers(name: str, text: str) -> list[int]:
    """The whole numbers of a flag's list; raises `ConfigError` if it is none."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"--{name}={text} is no list of whole numbers; write it as 20,30"
        ) from None


def _as_given(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}"


def _check_value(field: "dataclasses.Field[Any]", value: Any) -> None:
    choices = field.metadata["choices"]
    given = f"--{flag_name(field)}={as_written(value)}"
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    for each in value if isinstance(value, tuple) else (value,):
        if choices and each not in choices:
            names = [str(choice) for choice in choices if choice != ""]
            close = difflib.get_close_matches(str(each), names, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"{given} is not known; {hint}choose one of {', '.join(names)}")
        if isinstance(each, float) and not math.isfinite(each):
            raise ConfigError(f"{given} is no finite number")
        if minimum is not None and not each >= minimum:
            raise ConfigError(f"{given} is too small; give at least {minimum}")
        if maximum is not None and each > maximum:
            raise ConfigError(f"{given} is too large; give at most {maximum}")
