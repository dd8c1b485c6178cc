"""Declaration of flags: each is a field of a frozen dataclass, with its type, default, unit, help text and dependencies."""

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pixpro_tf.errors import ConfigError, why_unusable

Value = TypeVar("Value", bound=bool | int | float | str | tuple[Any, ...])

# Value of a whole number that a run chooses itself, written `auto`; no flag allows it as a number.
AUTO = -(2**31)
# Group of the flags that a command passes to its own subprocesses; --help omits them.
INTERNAL = ""
# A minimum up to this one stands for "greater than 0".
_NEARLY_ZERO = 1e-6
# Group of the limits for files that others have made; --help shows it last.
LIMITS = "Limits"


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
    automatic: bool = False,
    path: bool = False,
    used_by: Mapping[str, Sequence[Any]] | None = None,
) -> Value:
    """Returns a dataclass field that is a flag.

    Args:
        default: default value, which also determines the type; a tuple, with at least one value, is written with commas.
        group: heading under which `--help` shows the flag.
        help_text: description of the flag.
        choices: allowed values.
        unit: unit of the value, shown in the help.
        minimum, maximum: smallest and largest allowed value of a number.
        fixed: whether the value stays the same for the whole run; other flags may change when the run is resumed.
        automatic: whether a whole number can also be `AUTO`.
        path: whether the value is a path that TensorFlow uses.
        used_by: dependencies, as a dict from the name of another flag to the values with which this flag is used; an empty sequence stands
            for all values except off, empty and 0.
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
            "automatic": automatic,
            "path": path,
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
    repeated: bool = False,
    path: bool = False,
    remote: bool = False,
) -> Any:
    """Returns a dataclass field that is a required flag with a text value.

    Args:
        group, help_text, choices: see `flag`.
        name: name of the flag, if a field cannot have that name, e.g. `from`.
        alias: former name of the flag, which is still accepted.
        repeated: whether the flag is given once for each of several values; the field is then a tuple of texts.
        path: whether the value is a path that TensorFlow uses.
        remote: whether an output may be in any file system that TensorFlow writes.
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
            "repeated": repeated,
            "path": path,
            "remote": remote,
        }
    )


def flag_name(field: "dataclasses.Field[Any]") -> str:
    """Returns the name of a field's flag, without its dashes."""
    return field.metadata.get("name") or field.name


def as_written(field: "dataclasses.Field[Any]", value: Any) -> str:
    """Returns a value of a flag, or one of several, as it is written on a command line."""
    if value == AUTO and field.metadata.get("automatic"):
        return "auto"
    if isinstance(value, tuple | list):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)


def check_values(settings: Any) -> None:
    """Raises `ConfigError` if the value of a flag is not allowed, whatever the other flags are."""
    for field in dataclasses.fields(settings):
        _check_value(field, getattr(settings, field.name))


def check_filled(settings: Any) -> None:
    """Raises `ConfigError` if a flag is empty that is not empty by default: an unset variable of the shell becomes an empty value."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.default in ("", ("",)) or "" in (field.metadata["choices"] or ()):
            continue
        if "" in (value if isinstance(value, tuple) else (value,)):
            required = field.default is dataclasses.MISSING
            default = "" if required else f", or remove it for {field.default}"
            raise ConfigError(f"--{flag_name(field)}= is empty; give it a value{default}")


def check_all_used(settings: Any) -> None:
    """Raises `ConfigError` if a flag is set although the flags it depends on leave it unused."""
    for field in dataclasses.fields(settings):
        for name, values in field.metadata["used_by"].items():
            found = getattr(settings, name)
            if found in values if values else found:
                continue
            if found != "" or values:
                check_used(settings, False, [field.name], _as_given(name, found))
            elif _is_set(settings, field.name):
                reason = f"is unused without --{name}; remove it, or add --{name}"
                refuse(settings, field.name, reason)


def check_used(settings: Any, used: bool, names: list[str], by: str) -> None:
    """Raises `ConfigError` if flags are set that nothing uses.

    Args:
        settings: dataclass of flags.
        used: whether the flags are used.
        names: names of the flags.
        by: reason why they are unused, as the message says it: `is unused with --mode=knn`.
    """
    if used:
        return
    for name in names:
        if _is_set(settings, name):
            refuse(settings, name, f"is unused with {by}; remove it")


def refuse(settings: Any, name: str, reason: str) -> NoReturn:
    """Raises `ConfigError` about the value of a flag, which is identified by the name of its field."""
    field = next(field for field in dataclasses.fields(settings) if field.name == name)
    value = getattr(settings, name)
    if isinstance(value, bool):
        raise ConfigError(f"{_as_given(flag_name(field), value)} {reason}")
    raise ConfigError(f"--{flag_name(field)}={as_written(field, value)} {reason}")


def integers(name: str, text: str) -> list[int]:
    """Returns the whole numbers in the list of a flag; raises `ConfigError` if the text is not such a list."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"--{name}={text} is not a list of whole numbers; separate them by commas, e.g. 20,30"
        ) from None


def _is_set(settings: Any, name: str) -> bool:
    return getattr(settings, name) != getattr(type(settings), name)


def _as_given(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}"


def _check_value(field: "dataclasses.Field[Any]", value: Any) -> None:
    choices = field.metadata["choices"]
    if field.metadata.get("automatic") and value == AUTO:
        return
    given = f"--{flag_name(field)}={as_written(field, value)}"
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    for each in value if isinstance(value, tuple) else (value,):
        if choices and each not in choices:
            names = [str(choice) for choice in choices if choice != ""]
            close = difflib.get_close_matches(str(each), names, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"{given} is unknown; {hint}choose one of {', '.join(names)}")
        if field.metadata.get("path") and (reason := why_unusable(os.path.expanduser(each))):
            raise ConfigError(f"--{flag_name(field)}={each} {reason}; use a path without it")
        if isinstance(each, float) and not math.isfinite(each):
            raise ConfigError(f"{given} is not a finite number")
        if minimum is not None and not each >= minimum:
            if each <= 0 < minimum <= _NEARLY_ZERO:
                raise ConfigError(f"{given} must be greater than 0")
            raise ConfigError(f"{given} is too small; the minimum is {minimum}")
        if maximum is not None and each > maximum:
            raise ConfigError(f"{given} is too large; the maximum is {maximum}")
