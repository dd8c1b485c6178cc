"""Flags that all evaluations share, and the factory of their commands."""

import dataclasses
import importlib
import json
import os
from typing import Any, Protocol, TypeVar

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.cli.settings import (
    MAX_SEED,
    BackboneSettings,
    LabelSettings,
    classes_flag,
    data_dir_flag,
    from_flag,
    overwrite_flag,
)
from pixpro_tf.config.flag import check_used, flag, required
from pixpro_tf.config.limits import ImageLimits
from pixpro_tf.errors import printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatedBackbone(ImageLimits, BackboneSettings):
    """Flags of a trained backbone, or of one with random weights for comparison."""

    source: str = from_flag(
        ", or random:resnet50 or random:RUN for random weights in the architecture and layout of a ResNet-50 or of a run"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        is_trained = not self.source.startswith("random:")
        check_used(self, is_trained, ["network"], f"--from={self.source}")


def results_flag() -> str:
    """Returns the flag `--output` of an evaluation."""
    return flag(
        "",
        "Output",
        "folder to create for the results and figures; empty writes none. With it, an interrupted evaluation continues where it stopped "
        "when the command is repeated",
        path=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(EvaluatedBackbone):
    """Flags of every evaluation."""

    dataset: str = required("Data", "dataset to evaluate on")
    data_dir: str = data_dir_flag()
    batch_size: int = flag(16, "Evaluation", "number of images per batch", minimum=1)
    seed: int = flag(0, "Evaluation", "random seed", minimum=0, maximum=MAX_SEED)
    output: str = results_flag()
    overwrite: bool = overwrite_flag()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Paths that the evaluation reads, without datasets of TFDS."""
        return self.source, self.dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxSettings(LabelSettings):
    """Flags of the evaluations on one's own boxes."""

    labels: str = flag(
        "",
        "Data",
        "your boxes instead of a dataset: a COCO json file, or a folder of VOC xml or YOLO txt files; images of any size",
    )
    classes: str = classes_flag()
    image_size: int = flag(
        512,
        "Data",
        "side of the square that the images of --labels are fitted into",
        unit="pixels",
        minimum=32,
        used_by={"labels": ()},
    )

    @property
    def files_of_labels(self) -> tuple[str, ...]:
        """Paths of the labels and their images; empty ones are unset."""
        return self.labels, self.evaluation_labels, self.images, self.evaluation_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapSettings(Settings):
    """Flags of the evaluations that use a single feature map of the backbone."""

    level: str = flag("c5", "Backbone", "feature map to evaluate", choices=("c2", "c3", "c4", "c5"))
    output_stride: int = flag(
        0,
        "Backbone",
        "output stride of the backbone, reached by dilation if necessary; 0 keeps the one it was trained with",
        choices=(0, 8, 16, 32),
    )


class HasOutput(Protocol):
    """Flags of a command that writes results; see `Settings`."""

    @property
    def output(self) -> str: ...

    @property
    def overwrite(self) -> bool: ...

    @property
    def inputs(self) -> tuple[str, ...]: ...


AnySettings = TypeVar("AnySettings", bound=HasOutput)


def command(
    settings: type[AnySettings], name: str, doc: str | None, *, library: str
) -> Command[AnySettings]:
    """Returns the command of an evaluation.

    Args:
        settings: dataclass of its flags.
        name: name of its module in this package.
        doc: docstring of its module; see `Command`.
        library: name of the module that does the work. It defines `evaluate(settings, folder)`, which returns a result and keeps in
            the folder what an interrupted evaluation has done (see `unfinished`), and functions of the settings and the result: `describe`
            returns the text to print, `results` the contents of results.json, and the optional `draw` the Matplotlib figures by name.
    """

    def run(settings: AnySettings) -> None:
        # TensorFlow is imported after the flags have been checked.
        from pixpro_tf.evaluation.unfinished import unfinished

        work = importlib.import_module(library)
        with unfinished(settings, settings.inputs) as folder:
            finish(settings, work, work.evaluate(settings, folder))

    def finish(settings: AnySettings, work: Any, result: Any) -> None:
        print(work.describe(settings, result))
        if not settings.output:
            return
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
    """Writes Matplotlib figures into a folder, each as NAME.png."""
    from matplotlib.text import Text

    for name, figure in figures.items():
        for text in figure.findobj(Text):
            # Names of the user's files and classes are not formulas, and may contain bytes that are not UTF-8.
            text.set_parse_math(False)
            text.set_text(printable(text.get_text()))
        figure.savefig(os.path.join(folder, f"{name}.png"), dpi=110)
