"""The commands of the evaluations. A field of a frozen dataclass gives each flag its name, type, default and help."""

import argparse
import dataclasses
import importlib
import json
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pixpro_tf.cli.commands import (
    Parser,
    atomic_output,
    exit_code_of,
    is_installed_command,
    quiet_tensorflow,
    refuse_existing,
)
from pixpro_tf.config import OF_FILES
from pixpro_tf.errors import ConfigError

# NumPy and TensorFlow take no larger one.
MAX_SEED = 2**32 - 1


def flag(
    text: str,
    default: Any = dataclasses.MISSING,
    *,
    name: str = "",
    choices: tuple = (),
    minimum: float | None = None,
    maximum: float = math.inf,
) -> Any:
    """A field that is a flag.

    Args:
        text: the help.
        default: of the type that the flag has; a tuple of floats is written with commas. Without one the flag is required.
        name: of the flag, where it differs from the field's.
        choices: all values it may have; empty for any.
        minimum, maximum: the least and the most that a number may be; no number may be infinite.
    """
    metadata = {"help": text, "name": name, "choices": choices}
    return dataclasses.field(
        default=default, metadata=metadata | {"minimum": minimum, "maximum": maximum}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackboneSettings:
    """Which backbone is looked at; raises `ConfigError` for values that cannot be."""

    source: str = flag(
        "folder of a run, TF Hub-style handle of a SavedModel that export.savedmodel wrote, or random:resnet50 for random weights; "
        "a SavedModel is a program: load only those you trust",
        name="from",
    )
    network: str = flag("of a run; empty is online", "", choices=("", "online", "target"))

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.source.startswith("random:"):
            refuse_unheard(self, ["network"], f"with --from={self.source}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(BackboneSettings):
    """What every evaluation asks for."""

    dataset: str = flag("whose images are looked at")
    data_dir: str = flag("of TFDS", "")
    batch_size: int = flag("images at once", 16, minimum=1)
    seed: int = flag("of everything random", 0, minimum=0, maximum=MAX_SEED)
    output: str = flag("folder to make for the results and pictures", "")
    overwrite: bool = flag("replace an output", False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapSettings(Settings):
    """What evaluations of a single map of a backbone ask for."""

    level: str = flag("the map that is looked at", "c5", choices=("c2", "c3", "c4", "c5"))
    output_stride: int = flag(
        "of the backbone, dilated if need be; 0 as it was trained", 0, choices=(0, 8, 16, 32)
    )


AnyBackboneSettings = TypeVar("AnyBackboneSettings", bound=BackboneSettings)
AnySettings = TypeVar("AnySettings", bound=Settings)


def command(
    settings_class: type[AnySettings], module: str, description: str, *, library: str
) -> Callable[[list[str]], int]:
    """The command of an evaluation: from arguments, without the command's name, to the exit code.

    Args:
        settings_class, module, description: as of `parse`.
        library: module that does the work, imported once the flags have been checked, because it imports TensorFlow. Its functions are
            `evaluate(settings)`, which returns a result; and of settings and that, `describe`, what is printed of it; `results`, what
            results.json contains; and where there are figures of Matplotlib to go with it, `draw`, those by their names.
    """

    def run(arguments: list[str]) -> None:
        settings = parse(settings_class, module, description, arguments)
        if settings.output:
            refuse_existing("output", settings.output, settings.overwrite)
        quiet_tensorflow()
        work = importlib.import_module(library)
        result = work.evaluate(settings)
        print(work.describe(settings, result))
        if settings.output:
            with atomic_output(settings.output, settings.overwrite) as folder:
                os.makedirs(folder)
                with open(os.path.join(folder, "results.json"), "w") as file:
                    json.dump(work.results(settings, result), file, indent=2)
                if hasattr(work, "draw"):
                    save_figures(folder, work.draw(settings, result))
                names = ", ".join(sorted(os.listdir(folder), reverse=True))
            print(f"Written to {settings.output}: {names}")

    return lambda arguments: exit_code_of(lambda: run(arguments))


def save_figures(folder: str, figures: dict[str, Any]) -> None:
    """Writes figures of Matplotlib into a folder, each as NAME.png."""
    for name, figure in figures.items():
        figure.savefig(os.path.join(folder, f"{name}.png"), dpi=110)


def parse(
    settings: type[AnyBackboneSettings], module: str, description: str, arguments: list[str]
) -> AnyBackboneSettings:
    """The settings that a command line asks for.

    Args:
        settings: a dataclass whose fields are made by `flag`.
        module: whose command it is.
        description: whose first line heads the help.
        arguments: without the command's name.

    Raises:
        ConfigError: for a flag that is unknown, cannot be read, or does not fit the others.
    """
    program = f"python -m {module}"
    if is_installed_command():
        program = module.replace("pixpro_tf.evaluation.", "pixpro-evaluate ")
        program = program.replace("pixpro_tf.", "pixpro-")
    parser = Parser(prog=program, description=description.splitlines()[0])
    for field in dataclasses.fields(settings):
        required = field.default is dataclasses.MISSING
        kind = str if required else type(field.default)
        # argparse formats it, and would take a percent sign for a place to fill.
        text = field.metadata["help"].replace("%", "%%")
        options: dict[str, Any] = {"dest": field.name, "help": text}
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


def check_ranges(settings: Any) -> None:
    """Raises `ConfigError` for a number that its flag does not allow."""
    for field in dataclasses.fields(settings):
        minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
        value = getattr(settings, field.name)
        given = f"{_flag_name(field)}={_written(value)}"
        values = value if isinstance(value, tuple) else (value,)
        if minimum is None:
            continue
        if not values or not min(values) >= minimum:
            raise ConfigError(f"{given} must be at least {minimum:g}")
        if not max(values) <= maximum:
            raise ConfigError(f"{given} must be at most {maximum:.10g}")
        if not all(map(math.isfinite, values)):
            raise ConfigError(f"{given} must be finite")


def refuse_unheard(settings: Any, names: Sequence[str], where: str) -> None:
    """Refuses flags that nothing would hear.

    Args:
        settings: whose fields they are.
        names: of those that do nothing.
        where: is that so, as "in --mode=knn".

    Raises:
        ConfigError: if one of them has another value than its default.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in names and value != field.default:
            raise ConfigError(
                f"{_flag_name(field)}={_written(value)} does nothing {where}; leave it out"
            )


def check_split(settings: Any, dataset: str) -> None:
    """Refuses a --split where the flag `dataset` names images that have none."""
    name = getattr(settings, dataset)
    if name == "photographs" or name.startswith(OF_FILES):
        refuse_unheard(settings, ["split"], f"with --{dataset}={name}")


def _flag_name(field: dataclasses.Field) -> str:
    return f"--{field.metadata['name'] or field.name}"


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no list of numbers, as 0.01,0.1") from None


def _written(value: object) -> str:
    return ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
