"""Export of a backbone to a folder from which TF Model Garden fine-tunes it."""

import os

from pixpro_tf.cli.outputs import atomic_output, check_output, write_texts
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.export.label_map import Label, label_map
from pixpro_tf.export.model_garden.checkpoint import RESNETS, write_checkpoint
from pixpro_tf.export.model_garden.experiments import (
    COCO,
    DEFAULT_STEPS,
    EXPERIMENTS,
    OWN_EXPERIMENTS,
    DetectionData,
    yaml_of,
)
from pixpro_tf.export.own_labels import OwnLabels, check_classes, open_labels
from pixpro_tf.export.records import Written, write_records
from pixpro_tf.export.sources import restore_for
from pixpro_tf.storage import stems

_README = """\
# A {backbone} for TF Model Garden

The backbone is a {backbone} {origin}. To restore `checkpoint/ckpt-1` into `official.vision.modeling.backbones.ResNet({arguments})` of tf-models-official 2.15.0, run

```python
tf.train.Checkpoint(backbone=backbone).read("checkpoint/ckpt-1").expect_partial().assert_existing_objects_matched()
```

{normalisation} The epsilon of batch norm must be `norm_epsilon: 0.00001`, which is not the Garden's
default; the files in this folder set it.

| file | experiment |
|---|---|
{rows}

{schedules} The image sizes are not: the Garden fits images into a square of 1024 pixels
and scales them at random by 0.8 to 1.25, whereas the paper draws the shorter side from 640 to 800 pixels.

{data} run the command in this folder:

```sh
python -m official.vision.train --experiment=EXPERIMENT --config_file=FILE --mode=train_and_eval --model_dir=training
```
{notes}"""
_SAME_NORMALISATION = "The Garden normalises images as in pre-training."
_FOLDED_NORMALISATION = (
    "The Garden normalises images with ImageNet's mean and standard deviation; those of pre-training are folded into the first\n"
    "convolution, so that features differ only along the border of an image."
)
_OF_PAPER = "The schedules are the paper's if the paper uses the detector."
_SCALED = "The schedules are COCO's, scaled to {steps} steps."
_PATHS = "Set the paths of the data in the file, then"
_OWN_DATA = """\
`data/` contains {train} images to train on and {evaluation} to evaluate on, with boxes of the classes in `label_map.pbtxt`. To start,"""
_WIDTH_NOTE = "\nThe folder does not contain a segmentation experiment because the Garden's dilated ResNet has a single width.\n"
_FPN_NOTE = """
The checkpoint also contains the FPN that was pre-trained with the backbone, and `{file}` starts from it:
`init_checkpoint_modules: [backbone, decoder]`.
"""
_NO_FPN_NOTE = """
The FPN that was pre-trained with the backbone has the levels {levels}, which do not fit a detector here, so it is left out.
Levels that fit: {wanted}.
"""


def export(
    source: str,
    output: str,
    *,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
    own: OwnLabels | None = None,
    classes: tuple[str, ...] = (),
    steps: int = 0,
) -> None:
    """Writes the checkpoint, the experiment files and README.md; with one's own boxes, TFRecords and a label map too.

    Args:
        source: folder of a run or of imported weights, or handle of a SavedModel.
        output: folder to create.
        network: "online" or "target"; None exports the online network of a run, or the network of a SavedModel.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        overwrite: whether to replace an existing folder.
        own: one's own boxes; None for experiments on COCO and Cityscapes.
        classes: names of the classes of one's own boxes in their order; empty for those of the label map, or all.
        steps: number of training steps on one's own boxes; 0 for 24 000.

    Raises:
        UserError: if the source does not contain a backbone, the Garden does not build the same one, or the folder cannot be written.
    """
    names = ("labels", "images", "evaluation_labels", "evaluation_images", "label_map")
    read = [getattr(own, name) for name in names] if own else []
    check_output(source, output, overwrite, *read)
    if own:
        check_classes(classes, own.label_map)
    backbone, neck, origin = restore_for(
        "TF Model Garden",
        source,
        network,
        allow_unfinished,
        architectures=tuple(RESNETS),
        layout="model_garden",
    )
    # The Garden normalises images with ImageNet's mean and standard deviation.
    stems.convert(backbone, backbone.channels, RGB)
    model_id, depth_multiplier = RESNETS[backbone.architecture]
    experiments = {
        file: experiment
        for file, experiment in (OWN_EXPERIMENTS if own else EXPERIMENTS).items()
        if depth_multiplier == 1 or not experiment.dilated
    }
    labels, parts = open_labels(own, classes) if own else ((), {})
    fpn = None if neck is None else neck.fpn
    levels = None if fpn is None else fpn.levels
    fits = {file: each.fpn_levels == levels for file, each in experiments.items()}
    width = f", depth_multiplier={depth_multiplier}" if depth_multiplier != 1 else ""
    with atomic_output(output, overwrite) as folder:
        os.makedirs(os.path.join(folder, "checkpoint"))
        write_checkpoint(
            backbone, os.path.join(folder, "checkpoint"), fpn if any(fits.values()) else None
        )
        texts, data, counts = {}, COCO, {}
        if own:
            os.makedirs(os.path.join(folder, "data"))
            written = {
                name: write_records(os.path.join(folder, "data"), name, found, labels, True)
                for name, found in parts.items()
            }
            texts["label_map.pbtxt"] = label_map(labels)
            data = _own_data(labels, written, steps)
            counts = {name: each.images for name, each in written.items()}
        for file, experiment in experiments.items():
            channels = fpn.channels if fpn and fits[file] else 0
            texts[file] = yaml_of(experiment, model_id, depth_multiplier, channels, data)
        texts["README.md"] = _README.format(
            backbone=backbone.architecture,
            origin=origin,
            arguments=f"{model_id}{width}, norm_epsilon=1e-5",
            rows="\n".join(f"| `{file}` | `{each.name}` |" for file, each in experiments.items()),
            normalisation=_SAME_NORMALISATION
            if backbone.channels == RGB
            else _FOLDED_NORMALISATION,
            notes=_notes(fits, levels),
            schedules=_SCALED.format(steps=data.steps) if own else _OF_PAPER,
            data=_OWN_DATA.format(**counts) if own else _PATHS,
        )
        write_texts(folder, texts)


def _own_data(labels: tuple[Label, ...], written: dict[str, Written], steps: int) -> DetectionData:
    return DetectionData(
        # The Garden counts classes from 0, the background.
        num_classes=max(label.id for label in labels) + 1,
        train_path="data/train*",
        evaluation_path="data/evaluation*",
        steps=steps or DEFAULT_STEPS,
        annotation_file="",
        num_evaluated=written["evaluation"].images,
        most_boxes=max(each.most_boxes for each in written.values()),
    )


def _notes(fits: dict[str, bool], levels: tuple[str, ...] | None) -> str:
    notes = _WIDTH_NOTE if set(fits) < set(EXPERIMENTS) else ""
    for file in (file for file, fitting in fits.items() if fitting):
        notes += _FPN_NOTE.format(file=file)
    if levels and not any(fits.values()):
        wanted = ", ".join(
            f"--pixel_levels={','.join(each.fpn_levels)} ({file})"
            for file, each in EXPERIMENTS.items()
            if each.fpn_levels
        )
        notes += _NO_FPN_NOTE.format(levels=", ".join(levels), wanted=wanted)
    return notes
