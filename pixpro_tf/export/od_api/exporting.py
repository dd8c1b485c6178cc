"""Export of a backbone to a folder from which the TF Object Detection API fine-tunes it."""

import dataclasses
import os

from pixpro_tf.cli.outputs import atomic_output, check_output, write_texts
from pixpro_tf.data.sources.tfds_datasets import prepared_builder
from pixpro_tf.errors import ConfigError
from pixpro_tf.export import own_labels
from pixpro_tf.export.label_map import Label, label_map, number
from pixpro_tf.export.od_api import checkpoint, instructions, pipeline
from pixpro_tf.export.od_api.tasks import TASKS, Data, Schedule
from pixpro_tf.export.records import (
    DatasetPart,
    Part,
    Written,
    check_split,
    class_names,
    write_records,
)
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
    """Writes the checkpoint, pipeline.config, label_map.pbtxt, README.md and, on request, TFRecords.

    Args:
        source: folder of a run or of imported weights, or handle of a SavedModel.
        output: folder to create.
        task: key of `TASKS`.
        model: key of `pipeline.MODELS`.
        depth: expected depth of the ResNet, 50, 101 or 152; None accepts that of the backbone.
        data: data to train and evaluate on; None uses that of the task.
        sizes: keyword arguments of `Schedule.changed`.
        network: "online" or "target"; None exports the online network of a run, or the network of a SavedModel.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        overwrite: whether to replace an existing folder.

    Raises:
        UserError: if the source does not contain a backbone, the API does not build the same one, or the folder cannot be written.
    """
    data = data or Data()
    read = (data.labels, data.evaluation_labels, data.images, data.evaluation_images)
    check_output(source, output, overwrite, *read, data.label_map)
    schedule = _schedule(task, model, sizes or {})
    _check_data(task, data)
    backbone, _, weights_origin = restore_for(
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
            f"--depth={depth} does not match the resnet{found} in {source}; remove --depth"
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
        most_boxes = max((each.most_boxes for each in written.values()), default=0)
        texts = {
            "pipeline.config": pipeline.pipeline_config(
                chosen, found, num_classes, schedule, origin, most_boxes
            ),
            "label_map.pbtxt": label_map(labels),
            "README.md": instructions.readme(
                chosen,
                backbone.architecture,
                weights_origin,
                schedule,
                origin,
                len(labels),
                {name: each.images for name, each in written.items()},
            ),
        }
        write_texts(folder, texts)


def _schedule(task: str, model: str, sizes: dict[str, int | None]) -> Schedule:
    """Returns the schedule of a task with sizes that the model accepts."""
    schedule = TASKS[task].schedule.changed(**sizes)
    least, multiple = pipeline.MODELS[model].least_side, pipeline.MODELS[model].side_multiple
    if schedule.min_side < least:
        raise ConfigError(
            f"--min_side={schedule.min_side} is too small for --model={model}; the minimum is {least}"
        )
    rounded = -(-schedule.max_side // multiple) * multiple
    if sizes.get("max_side") not in (None, rounded):
        raise ConfigError(
            f"--max_side={schedule.max_side} is not a multiple of {multiple}, which --model={model} requires; use {rounded}"
        )
    return dataclasses.replace(schedule, max_side=rounded)


def _check_data(task: str, data: Data) -> None:
    of_custom = ("labels", "classes", "dataset", "train_split", "evaluation_split")
    if data.labels and data.data_dir:
        raise ConfigError("--data_dir and --labels cannot be combined; remove one of them")
    given = [flag for flag in of_custom if getattr(data, flag) != getattr(Data, flag)]
    if task != "custom":
        if given:
            raise ConfigError(
                f"--{given[0]} requires --task=custom; remove it, because --task={task} has its own classes and datasets"
            )
    elif data.labels:
        others = [flag for flag in given if flag not in ("labels", "classes")]
        if others:
            raise ConfigError(f"--{others[0]} and --labels cannot be combined; remove one of them")
        own_labels.check_classes(data.classes, data.label_map)
    elif data.classes and given != ["classes"]:
        raise ConfigError(
            f"--{given[1]} and --classes cannot be combined, because a dataset has its own classes; remove one of them"
        )
    elif len(set(data.classes)) < len(data.classes):
        raise ConfigError(
            f"--classes={','.join(data.classes)} contains a class twice; list each class once"
        )
    elif data.records and not data.dataset:
        raise ConfigError(
            "--records with --task=custom requires boxes; pass --dataset with the name of a TFDS dataset that has them, e.g. scenes/128, "
            "or --labels"
        )
    elif not data.classes and not data.dataset:
        raise ConfigError(
            "--task=custom requires classes; pass them, e.g. --classes=cat,dog, or pass --dataset with the name of a TFDS dataset that has "
            "boxes, e.g. scenes/128, or --labels"
        )


def _open_data(task: str, data: Data) -> tuple[tuple[Label, ...], dict[str, list[Part]]]:
    """Returns the classes, and the images to write by the name of their records; opens them before any work is done."""
    if data.labels:
        return own_labels.open_labels(data, data.classes)
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
        name: [
            DatasetPart(prepared_builder(dataset, data.data_dir), split)
            for dataset, split in chosen
        ]
        for name, chosen in splits.items()
    }
    if not labels:
        (part,) = parts["train"]
        labels = number(class_names(part.builder))
    if not data.records:
        return labels, {}
    for part in (part for found in parts.values() for part in found):
        check_split(part.builder, part.split, labels)
    return labels, {name: list(found) for name, found in parts.items()}


def _write_records(
    folder: str, parts: dict[str, list[Part]], labels: tuple[Label, ...]
) -> dict[str, Written]:
    if not parts:
        return {}
    return {name: write_records(folder, name, found, labels) for name, found in parts.items()}
