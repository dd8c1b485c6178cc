"""A backbone for the TF Object Detection API: checkpoint, pipeline.config, label map and records.

python -m export.od_api --from=runs/mine --output=exported/detector --task=voc --model=faster_rcnn_resnet50_keras
"""

import dataclasses
import sys

from pixpro_tf.config.flag import flag, required
from pixpro_tf.export.commands.settings import ExportSettings, command
from pixpro_tf.export.od_api.pipeline import MODELS
from pixpro_tf.export.od_api.tasks import TASKS, Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings):
    """What is exported for the Object Detection API, and what it fine-tunes for."""

    task: str = required("Fine-tuning", "what to detect", choices=tuple(TASKS))
    model: str = required("Fine-tuning", "detector", choices=tuple(MODELS))
    depth: int = flag(
        0,
        "Backbone",
        "of the ResNet, to be checked; 0 is the backbone's",
        choices=(0, 50, 101, 152),
    )
    batch_size: int = flag(
        0,
        "Fine-tuning",
        "images a step, over all replicas; the rate follows it; 0 is the task's",
        minimum=0,
    )
    steps: int = flag(
        0,
        "Fine-tuning",
        "length of the fine-tuning; the drops of the rate follow it; 0 is the task's",
        minimum=0,
    )
    min_side: int = flag(
        0,
        "Fine-tuning",
        "shorter side of an image, unless the longer one gets too long; 0 is the task's",
        unit="pixels",
        minimum=0,
    )
    max_side: int = flag(
        0,
        "Fine-tuning",
        "most that the longer side of an image may have; 0 is the task's",
        unit="pixels",
        minimum=0,
    )
    classes: str = flag("", "Data", "for --task=custom: names, as cat,dog")
    dataset: str = flag(
        Data.dataset,
        "Data",
        "for --task=custom: TFDS dataset with boxes, as scenes/128; gives classes and records",
    )
    train_split: str = flag(Data.train_split, "Data", "of --dataset, to train on")
    evaluation_split: str = flag(Data.evaluation_split, "Data", "of --dataset, to score on")
    data_dir: str = flag(
        Data.data_dir,
        "Data",
        "where TFDS keeps prepared datasets; empty for its default, ~/tensorflow_datasets",
    )
    records: bool = flag(False, "Output", "write the images as the API's TFRecords too")

    @property
    def data(self) -> Data:
        """What to learn from."""
        names = [name.strip() for name in self.classes.split(",")]
        return Data(
            classes=tuple(filter(None, names)),
            dataset=self.dataset,
            train_split=self.train_split,
            evaluation_split=self.evaluation_split,
            data_dir=self.data_dir,
            records=self.records,
        )

    @property
    def sizes(self) -> dict[str, int | None]:
        """Arguments of `Schedule.changed`."""
        names = ("batch_size", "steps", "min_side", "max_side")
        return {name: getattr(self, name) or None for name in names}


def _run(settings: Settings) -> None:
    from pixpro_tf.export.od_api.exporting import export

    export(
        settings.source,
        settings.output,
        task=settings.task,
        model=settings.model,
        depth=settings.depth or None,
        data=settings.data,
        sizes=settings.sizes,
        **settings.common_arguments,
    )
    print(f"Written: {settings.output}; its README.md has the API's commands")


main = command(Settings, "od_api", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
