"""The folder from which TF Model Garden fine-tunes a backbone."""

import os

from pixpro_tf.cli.outputs import atomic_output, check_output, write_texts
from pixpro_tf.export.model_garden.checkpoint import RESNETS, write_checkpoint
from pixpro_tf.export.model_garden.experiments import EXPERIMENTS, yaml_of
from pixpro_tf.export.sources import restore_for

_README = """\
# A {backbone} pre-trained by PixPro, for TF Model Garden

`checkpoint/ckpt-1` restores into `official.vision.modeling.backbones.ResNet({arguments})` of tf-models-official 2.15.0 by

```python
tf.train.Checkpoint(backbone=backbone).read("checkpoint/ckpt-1").expect_partial().assert_existing_objects_matched()
```

Images are normalised there as in pre-training. The epsilon of batch normalisation has to be `norm_epsilon: 0.00001`, which is not
the Garden's default; the files here have it.

| file | experiment |
|---|---|
{rows}

Their schedules are the paper's where it has the detector; their images are not: the Garden scales them into a square of 1024 pixels, by
0.8 to 1.25 at random, where the paper draws the shorter side from 640 to 800.

Start the commands in this folder, with the data's paths set in the file:

```sh
python -m official.vision.train --experiment=EXPERIMENT --config_file=FILE --mode=train_and_eval --model_dir=training
```
{notes}"""
_WIDTH_NOTE = "\nThere is no segmentation here: the Garden's dilated ResNet has no wider form.\n"
_FPN_NOTE = """
The FPN that was pre-trained with it is in the checkpoint too, and `{file}` starts from it: `init_checkpoint_modules: [backbone, decoder]`.
"""
_NO_FPN_NOTE = """
The FPN that was pre-trained with it has the levels {levels}, which fit no detector here, so it is left out. Those that fit: {wanted}.
"""


def export(
    source: str,
    output: str,
    *,
    network: str | None = None,
    allow_unfinished: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes the checkpoint, the experiments' files and README.md.

    Args:
        source: folder of a run or of imported weights, or handle of a SavedModel.
        output: folder to make.
        network: "online" or "target"; None is the online one of a run.
        allow_unfinished: whether a run is taken that has not made all its steps.
        overwrite: replace a folder that is there already.

    Raises:
        UserError: if there is nothing to export, the Garden has no such backbone or would misread it, or it cannot be written.
    """
    check_output(source, output, overwrite)
    # Late, for it imports TensorFlow.
    backbone, neck = restore_for(
        "TF Model Garden",
        source,
        network,
        allow_unfinished,
        architectures=tuple(RESNETS),
        layout="model_garden",
    )
    model_id, depth_multiplier = RESNETS[backbone.architecture]
    experiments = {
        file: experiment
        for file, experiment in EXPERIMENTS.items()
        if depth_multiplier == 1 or not experiment.dilated
    }
    fpn = neck and neck.fpn
    levels = None if fpn is None else fpn.levels
    fits = {file: each.fpn_levels == levels for file, each in experiments.items()}
    texts = {
        file: yaml_of(experiment, model_id, depth_multiplier, fpn.channels if fits[file] else 0)
        for file, experiment in experiments.items()
    }
    width = f", depth_multiplier={depth_multiplier}" if depth_multiplier != 1 else ""
    texts["README.md"] = _README.format(
        backbone=backbone.architecture,
        arguments=f"{model_id}{width}, norm_epsilon=1e-5",
        rows="\n".join(f"| `{file}` | `{found.name}` |" for file, found in experiments.items()),
        notes=_notes(fits, levels),
    )
    with atomic_output(output, overwrite) as folder:
        os.makedirs(os.path.join(folder, "checkpoint"))
        write_checkpoint(
            backbone, os.path.join(folder, "checkpoint"), fpn if any(fits.values()) else None
        )
        write_texts(folder, texts)


def _notes(fits: dict[str, bool], levels: tuple[str, ...] | None) -> str:
    notes = "" if len(fits) == len(EXPERIMENTS) else _WIDTH_NOTE
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
