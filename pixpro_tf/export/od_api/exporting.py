"""The folder with which the TF Object Detection API fine-tunes a backbone."""

import os

from pixpro_tf.cli.outputs import atomic_output, check_output, write_texts
from pixpro_tf.data.sources.tfds_datasets import prepared_builder
from pixpro_tf.errors import ConfigError
from pixpro_tf.export.od_api import checkpoint, instructions, pipeline
from pixpro_tf.export.od_api.records import check_split, class_names, write_records
from pixpro_tf.export.od_api.tasks import TASKS, Data, Label, label_map, number
from pixpro_tf.export.sources import restore_for


def export(
    source: str,
    output: str,
    *,
    task: str,
    model: str,
    depth: int | None = None,
    data: Data | None = None,
    sizes: dict[str, int | None] | None = None,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes checkpoint, pipeline.config, label_map.pbtxt, README.md and, if asked, records.

    Args:
        source: folder of a run or of imported weights, or handle of a SavedModel.
        output: folder to make.
        task: key of `TASKS`.
        model: key of `pipeline.MODELS`.
        depth: of the ResNet, 50, 101 or 152, if it is to be checked; None takes the backbone's.
        data: what to learn from.
        sizes: arguments of `Schedule.changed`.
        network: "online" or "target"; None is the online one of a run.
        allow_unfinished: whether a run is taken that has not made all its steps.
        overwrite: replace a folder that is there already.

    Raises:
        UserError: if there is nothing to export, the API has no such backbone or would misread it, or it cannot be written.
    """
    check_output(source, output, overwrite)
    data = data or Data()
    schedule = TASKS[task].schedule.changed(**(sizes or {}))
    _check_data(task, data)
    least = pipeline.MODELS[model].least_side
    if schedule.min_side < least:
        raise ConfigError(
            f"--min_side={schedule.min_side} is too small for --model={model}; give at least {least}"
        )
    backbone, _ = restore_for(
        "the Object Detection API",
        source,
        network,
        allow_unfinished,
        architectures=tuple(checkpoint.KERAS_RESNETS),
        layout="od_api",
    )
    found = int(backbone.architecture.removeprefix("resnet"))
    if depth not in (None, found):
        raise ConfigError(
            f"--depth={depth} is not that of the resnet{found} in {source}; leave it out"
        )
    keras_resnet = checkpoint.keras_resnet(backbone)
    labels, parts = _open_data(task, data)
    chosen, origin = pipeline.MODELS[model], TASKS[task].origin
    num_classes = max(label.id for label in labels)
    with atomic_output(output, overwrite) as folder:
        for name in ("checkpoint", "records"):
            os.makedirs(os.path.join(folder, name))
        checkpoint.write_checkpoint(keras_resnet, os.path.join(folder, "checkpoint"))
        written = _write_records(os.path.join(folder, "records"), parts, labels)
        texts = {
            "pipeline.config": pipeline.pipeline_config(
                chosen, found, num_classes, schedule, origin
            ),
            "label_map.pbtxt": label_map(labels),
            "README.md": instructions.readme(
                chosen, backbone.architecture, schedule, origin, len(labels), written
            ),
        }
        write_texts(folder, texts)


def _check_data(task: str, data: Data) -> None:
    of_custom = ("classes", "dataset", "train_split", "evaluation_split")
    given = [flag for flag in of_custom if getattr(data, flag) != getattr(Data, flag)]
    if task != "custom":
        if given:
            raise ConfigError(
                f"--{given[0]} is for --task=custom; --task={task} has its own, so leave it out"
            )
    elif data.classes and given != ["classes"]:
        raise ConfigError(
            f"--{given[1]} and --classes do not go together: a dataset brings its own classes; leave one out"
        )
    elif len(set(data.classes)) < len(data.classes):
        raise ConfigError(f"--classes={','.join(data.classes)} names a class twice; name each once")
    elif data.records and not data.dataset:
        raise ConfigError(
            "--records of --task=custom needs --dataset, a TFDS dataset with boxes such as scenes/128"
        )
    elif not data.classes and not data.dataset:
        raise ConfigError(
            "--task=custom needs --classes=cat,dog or --dataset, a TFDS dataset with boxes such as scenes/128"
        )


def _open_data(task: str, data: Data) -> tuple[tuple[Label, ...], dict[str, list]]:
    """The classes, and by the records' names the datasets to write them from; opened before any work is done."""
    chosen = TASKS[task]
    splits = {"train": chosen.train, "evaluation": chosen.evaluation}
    labels = chosen.labels or number(data.classes)
    if data.dataset:
        splits = {
            "train": ((data.dataset, data.train_split),),
            "evaluation": ((data.dataset, data.evaluation_split),),
        }
    elif not data.records:
        return labels, {}

    parts = {
        name: [(prepared_builder(dataset, data.data_dir), split) for dataset, split in chosen]
        for name, chosen in splits.items()
    }
    if not labels:
        ((builder, _),) = parts["train"]
        labels = number(class_names(builder))
    if not data.records:
        return labels, {}
    for builder, split in (part for found in parts.values() for part in found):
        check_split(builder, split, labels)
    return labels, parts


def _write_records(
    folder: str, parts: dict[str, list], labels: tuple[Label, ...]
) -> dict[str, int]:
    if not parts:
        return {}
    return {name: write_records(folder, name, found, labels) for name, found in parts.items()}
