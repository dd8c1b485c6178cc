"""Exports a backbone to the TF Object Detection API: checkpoint, pipeline.config, label map and TFRecords.

    python -m export.od_api --from=runs/mine --output=exported/detector --task=voc --model=faster_rcnn_resnet50_keras

With your own boxes, --task=custom --labels=annotations.json also writes them as TFRecords.
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import LabelSettings, names_in
from pixpro_tf.config.flag import flag, required
from pixpro_tf.export.commands.settings import ExportSettings, command, label_map_flag
from pixpro_tf.export.od_api.pipeline import MODELS
from pixpro_tf.export.od_api.tasks import TASKS, Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings, LabelSettings):
    """Flags of the export to the Object Detection API, and of the fine-tuning in it."""

    task: str = required(
        "Fine-tuning",
        "classes, datasets and schedule of VOC or COCO; custom has your classes and the schedule of VOC",
        choices=tuple(TASKS),
    )
    model: str = required("Fine-tuning", "detector to fine-tune", choices=tuple(MODELS))
    depth: int = flag(
        0,
        "Backbone",
        "expected depth of the ResNet; a backbone of another depth is rejected; 0 accepts any",
        choices=(0, 50, 101, 152),
    )
    batch_size: int = flag(
        0,
        "Fine-tuning",
        "global batch size, in images; the learning rate scales with it; 0 uses the task's value",
        minimum=0,
    )
    steps: int = flag(
        0,
        "Fine-tuning",
        "number of steps, a multiple of 100; the learning-rate drops scale with it; 0 uses the task's value",
        minimum=0,
    )
    min_side: int = flag(
        0,
        "Fine-tuning",
        "shorter side of an image, unless the longer side would exceed --max_side; 0 uses the task's value",
        unit="pixels",
        minimum=0,
    )
    max_side: int = flag(
        0,
        "Fine-tuning",
        "maximum length of the longer side of an image; 0 uses the task's value",
        unit="pixels",
        minimum=0,
    )
    classes: str = flag(
        "",
        "Data",
        "names of the classes for --task=custom, e.g. cat,dog; with --labels, their order",
    )
    labels: str = flag(
        Data.labels,
        "Data",
        "your boxes for --task=custom, which are written as TFRecords: a COCO json file, or a folder of VOC xml or YOLO txt files",
    )
    label_map: str = label_map_flag()
    dataset: str = flag(
        Data.dataset,
        "Data",
        "TFDS dataset with boxes for --task=custom, e.g. scenes/128; provides the classes and the TFRecords",
    )
    train_split: str = flag(Data.train_split, "Data", "split of --dataset to train on")
    evaluation_split: str = flag(Data.evaluation_split, "Data", "split of --dataset to evaluate on")
    data_dir: str = flag(
        Data.data_dir,
        "Data",
        "folder of prepared TFDS datasets; empty for the default, ~/tensorflow_datasets",
        path=True,
    )
    records: bool = flag(
        False, "Output", "whether to also write the images and boxes as TFRecords for the API"
    )

    @property
    def data(self) -> Data:
        """Data to train and evaluate on."""
        return Data(
            classes=names_in(self.classes),
            dataset=self.dataset,
            train_split=self.train_split,
            evaluation_split=self.evaluation_split,
            data_dir=self.data_dir,
            labels=self.labels,
            evaluation_labels=self.evaluation_labels,
            images=self.images,
            evaluation_images=self.evaluation_images,
            box_orientation=self.box_orientation,
            label_map=self.label_map,
            records=self.records,
        )

    @property
    def sizes(self) -> dict[str, int | None]:
        """Keyword arguments of `Schedule.changed`."""
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
    print(
        f"Wrote {settings.output}; its README.md contains the commands for the Object Detection API"
    )


main = command(Settings, "od_api", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
