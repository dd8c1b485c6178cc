"""Exports a backbone to TF Model Garden: a checkpoint, and experiments that start from it.

python -m export.model_garden --from=runs/mine --output=exported/garden
python -m export.model_garden --from=runs/mine --output=exported/garden --labels=annotations.json
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import LabelSettings, classes_flag, names_in
from pixpro_tf.config.flag import flag
from pixpro_tf.export.commands.settings import ExportSettings, command, label_map_flag


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings, LabelSettings):
    """Flags of the export to TF Model Garden; raises `ConfigError` if a value is invalid."""

    labels: str = flag(
        "",
        "Data",
        "your boxes, which are written as TFRecords: a COCO json file, or a folder of VOC xml or YOLO txt files; empty for experiments on "
        "COCO and Cityscapes",
    )
    classes: str = classes_flag()
    label_map: str = label_map_flag()
    steps: int = flag(
        0,
        "Fine-tuning",
        "number of training steps on --labels; 0 for 24000",
        minimum=0,
        used_by={"labels": ()},
    )


def _run(settings: Settings) -> None:
    from pixpro_tf.export.model_garden.exporting import export

    export(
        settings.source,
        settings.output,
        own=settings if settings.labels else None,
        classes=names_in(settings.classes),
        steps=settings.steps,
        **settings.common_arguments,
    )
    print(f"Wrote {settings.output}; its README.md contains the command for TF Model Garden")


main = command(Settings, "model_garden", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
