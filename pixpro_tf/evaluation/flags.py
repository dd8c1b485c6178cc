"""Flags of the evaluations: a field of a frozen dataclass gives each its name, type, default and help."""

import dataclasses
from typing import Any, TypeVar

from pixpro_tf.commands import Parser
from pixpro_tf.errors import ConfigError

Settings = TypeVar("Settings")

LEVELS = ("c2", "c3", "c4", "c5")
NETWORKS = ("", "online", "target")
OUTPUT_STRIDES = (0, 8, 16, 32)
SOURCE_HELP = "folder of a run, TF Hub-style handle of a SavedModel that export.savedmodel wrote, or random:resnet50 for random weights"


def flag(
    text: str,
    default: Any = dataclasses.MISSING,
    *,
    name: str = "",
    choices: tuple = (),
    minimum: float | None = None,
) -> Any:
    """A field that is a flag.

    Args:
        text: the help.
        default: of the type that the flag has; a tuple of floats is written with commas. Without one the flag is required.
        name: of the flag, where it differs from the field's.
        choices: all values it may have; empty for any.
        minimum: the least that a number may be.
    """
    metadata = {"help": text, "name": name, "choices": choices, "minimum": minimum}
    return dataclasses.field(default=default, metadata=metadata)


def parse(
    settings: type[Settings], module: str, description: str, arguments: list[str]
) -> Settings:
    """The settings that a command line asks for.

    Args:
        settings: a dataclass whose fields are made by `flag`.
        module: whose command it is.
        description: whose first line heads the help.
        arguments: without the command's name.

    Raises:
        ConfigError: for a flag that is unknown, cannot be read, or does not fit the others.
    """
    parser = Parser(prog=f"python -m {module}", description=description.splitlines()[0])
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        required = field.default is dataclasses.MISSING
        kind = str if required else type(field.default)
        options: dict[str, Any] = {"dest": field.name, "help": field.metadata["help"]}
        if kind is bool:
            options |= {"action": "store_true"}
        else:
            options |= {
                "required": required,
                "default": None if required else field.default,
                "type": _floats if kind is tuple else kind,
                "choices": field.metadata["choices"] or None,
            }
            if not required and field.default not in ("", 0):
                options["help"] += f" (default: {_written(field.default)})"
        parser.add_argument(_flag_name(field), **options)
    return settings(**vars(parser.parse_args(arguments)))


def check_minimums(settings: Any) -> None:
    """Raises `ConfigError` for a number that is less than its flag allows."""
    for field in dataclasses.fields(settings):
        minimum, value = field.metadata["minimum"], getattr(settings, field.name)
        values = value if isinstance(value, tuple) else (value,)
        if minimum is not None and (not values or min(values) < minimum):
            raise ConfigError(f"{_flag_name(field)}={_written(value)} must be at least {minimum:g}")


def _flag_name(field) -> str:
    return f"--{field.metadata['name'] or field.name}"


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _written(value) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
