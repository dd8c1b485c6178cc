"""How a flag is declared: a field of a frozen dataclass, with its type, default, unit, help, and what it depends on."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pixpro_tf.errors import ConfigError

Value = TypeVar("Value", bound=bool | int | float | str)


def flag(
    default: Value,
    group: str,
    help_text: str,
    *,
    choices: Sequence[str] | None = None,
    unit: str = "",
    minimum: float | None = None,
    fixed: bool = True,
    used_by: Mapping[str, Sequence[Any]] | None = None,
) -> Value:
    """A field that is a flag.

    Args:
        default: which also gives the type.
        group: heading under which `--help` shows it.
        help_text: what it does.
        choices: values allowed, of a string flag.
        unit: shown in the help.
        minimum: smallest value allowed, of a number.
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
            "fixed": fixed,
            "used_by": used_by or {},
        },
    )


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
    """Raises `ConfigError` for the value of a flag."""
    raise ConfigError(f"--{name}={getattr(settings, name)} {reason}")


def integers(name: str, text: str) -> list[int]:
    """The whole numbers of a flag's list; raises `ConfigError` if it is none."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"--{name}={text} is no list of whole numbers; write it as 20,30"
        ) from None


def _as_given(name: str, value: Any) -> str:
    if value is False:
        return f"--no{name}"
    return f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}"


def _check_value(field: "dataclasses.Field[Any]", value: Any) -> None:
    choices, minimum = field.metadata["choices"], field.metadata["minimum"]
    if choices and value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"--{field.name}={value} is not known; {hint}choose one of {', '.join(choices)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{field.name}={value} is no finite number")
    if minimum is not None and not value >= minimum:
        raise ConfigError(f"--{field.name}={value} is too small; give at least {minimum}")
