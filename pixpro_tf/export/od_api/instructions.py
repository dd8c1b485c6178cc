"""The README of an export: what is in the folder, and the API's commands."""

from pixpro_tf.export.od_api.pipeline import Model
from pixpro_tf.export.od_api.tasks import Schedule

_TEXT = """\
# {title} on a {backbone} pre-trained by PixPro

For the TF Object Detection API (TF2, `research/object_detection` of the TensorFlow Models repository, installed as it says there).

| file | what it is |
|---|---|
| `checkpoint/ckpt-1` | the backbone, for `fine_tune_checkpoint_type: "classification"` |
| `pipeline.config` | model and schedule |
| `label_map.pbtxt` | the {num_labels} classes |
| `records/` | {records} |

Paths in `pipeline.config` are relative to this folder, so start the API's commands in it:

```sh
python -m object_detection.model_main_tf2 --pipeline_config_path=pipeline.config --model_dir=training \\
    --checkpoint_every_n={checkpoint_every} --alsologtostderr
python -m object_detection.model_main_tf2 --pipeline_config_path=pipeline.config --model_dir=training --checkpoint_dir=training
python -m object_detection.exporter_main_v2 --input_type=image_tensor --pipeline_config_path=pipeline.config \\
    --trained_checkpoint_dir=training --output_directory=exported
```

The first trains (the API writes no checkpoint at the end, so `--checkpoint_every_n` divides the steps), the second evaluates each checkpoint as it appears (start it beside the first), the third exports the detector.
On several GPUs the first one uses all of them; on TPUs add `--use_tpu=true --tpu_name=NAME`.

## Schedule

{steps} steps of {batch_size} images; rate {rate:g} after {warmup} steps of warm-up, a tenth of it after {drops[0]} and a hundredth
after {drops[1]}; images of {min_side} pixels (shorter side) to at most {max_side}. It is translated in proportion from {origin}.
With another batch, change the rate in the same proportion. All batch normalisation is trained.{remark}

Not translated, for the API has no setting for it:

{not_translated}

## What the checkpoint holds

The backbone takes what the API feeds it, RGB in 0..255 minus (123.68, 116.779, 103.939): the division by the standard deviation that
it was pre-trained with is folded into the stem. Give it no other preprocessing, and keep the epsilon of its batch normalisation at
0.00001 where `override_base_feature_extractor_hyperparams` is on; the API's sample configurations have 0.001 there.

The API's backbone pools with SAME padding, which for a height or width that leaves 0 or 3 when divided by 4 starts at the first pixel
and not one before it. Away from the border its features are then exactly those of the pre-trained backbone on the picture moved by
two pixels, and for the other sizes they are the same.
"""

_RECORDS = {
    True: "the images and boxes, from TFDS: {train} images to train with, {evaluation} to evaluate",
    False: "to be filled with `train-*.tfrecord` and `evaluation-*.tfrecord`: export again with `--records`, or put there what the "
    "API's own scripts write",
}


def readme(
    model: Model,
    backbone: str,
    schedule: Schedule,
    origin: str,
    num_labels: int,
    written: dict[str, int],
) -> str:
    """The text of the README.

    Args:
        model: of `pipeline.MODELS`.
        backbone: name of the architecture.
        schedule: of Faster R-CNN, and `origin`, where it comes from.
        num_labels: number of classes.
        written: how many images the records "train" and "evaluation" have; empty without records.
    """
    return _TEXT.format(
        title=model.title,
        backbone=backbone,
        num_labels=num_labels,
        records=_RECORDS[bool(written)].format(**written),
        origin=origin,
        remark=f"\n\n{model.remark}" if model.remark else "",
        steps=schedule.steps,
        checkpoint_every=schedule.checkpoint_every,
        batch_size=schedule.batch_size,
        rate=schedule.rate * model.rate_factor,
        warmup=schedule.warmup_steps,
        drops=schedule.drops,
        min_side=schedule.min_side,
        max_side=schedule.max_side,
        not_translated="\n".join(f"- {line}" for line in model.not_translated),
    )
