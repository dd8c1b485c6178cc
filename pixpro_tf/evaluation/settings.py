"""Flags that the evaluations share, and what makes a command of one."""

import dataclasses
import importlib
import json
import os
from typing import Any, TypeVar

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.cli.settings import MAX_SEED, BackboneSettings, from_flag
from pixpro_tf.config.flag import check_used, flag, required


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatedBackbone(BackboneSettings):
    """A trained backbone, or for comparison one with random weights."""

    source: str = from_flag("; or random:resnet50, random weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        is_trained = not self.source.startswith("random:")
        check_used(self, is_trained, ["network"], f"--from={self.source}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(EvaluatedBackbone):
    """What every evaluation asks for."""

    dataset: str = required("Data", "whose images are looked at")
    data_dir: str = flag(
        "",
        "Data",
        "where TFDS keeps prepared datasets; empty for its default, ~/tensorflow_datasets",
    )
    batch_size: int = flag(16, "Evaluation", "images at once", minimum=1)
    seed: int = flag(0, "Evaluation", "of everything random", minimum=0, maximum=MAX_SEED)
    output: str = flag("", "Output", "folder to make for the results and pictures; empty is none")
    overwrite: bool = flag(False, "Output", "replace an output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapSettings(Settings):
    """What evaluations of a single map of a backbone ask for."""

    level: str = flag(
        "c5", "Backbone", "the map that is looked at", choices=("c2", "c3", "c4", "c5")
    )
    output_stride: int = flag(
        0,
        "Backbone",
        "of the backbone, dilated if need be; 0 as it was trained",
        choices=(0, 8, 16, 32),
    )


AnySettings = TypeVar("AnySettings", bound=Settings)


def command(
    settings: type[AnySettings], name: str, doc: str | None, *, library: str
) -> Command[AnySettings]:
    """The command of an evaluation.

    Args:
        settings: its flags.
        name: of its module in this package.
        doc: of its module, as of `Command`.
        library: module that does the work. Its functions are `evaluate(settings)`, which returns a result; and of settings and that,
            `describe`, what is printed of it; `results`, what results.json contains; and where there are figures of Matplotlib to go
            with it, `draw`, those by their names.
    """

    def run(settings: AnySettings) -> None:
        if settings.output:
            refuse_existing("output", settings.output, settings.overwrite)
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

    checkout, installed = f"python -m pixpro_tf.evaluation.{name}", f"pixpro-evaluate {name}"
    return Command(settings, doc, checkout, run, installed)


def save_figures(folder: str, figures: dict[str, Any]) -> None:
    """Writes figures of Matplotlib into a folder, each as NAME.png."""
    for name, figure in figures.items():
        figure.savefig(os.path.join(folder, f"{name}.png"), dpi=110)
