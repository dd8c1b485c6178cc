"""README of an export: the contents of the folder, and the API's commands."""

from pixpro_tf.export.od_api.pipeline import Model
from pixpro_tf.export.od_api.tasks import Schedule

_TEXT = """\
# {title} on a {backbone}

The backbone is a {backbone} {weights_origin}. This folder is for the TF Object Detection API (TF2, `research/object_detection` in the TensorFlow Models repository; install it as
described there, or as docs/exports/od_api.md of pixpro_tf describes).

| file | contents |
|---|---|
| `checkpoint/ckpt-1` | the backbone, for `fine_tune_checkpoint_type: "classification"` |
| `pipeline.config` | model and schedule |
| `label_map.pbtxt` | the classes ({num_labels}) |
| `records/` | {records} |

Paths in `pipeline.config` are relative to this folder, so run the API's commands in it:

```sh
python -m object_detection.model_main_tf2 --pipeline_config_path=pipeline.config --model_dir=training \\
    --checkpoint_every_n={checkpoint_every} --alsologtostderr
python -m object_detection.model_main_tf2 --pipeline_config_path=pipeline.config --model_dir=training --checkpoint_dir=training
python -m object_detection.exporter_main_v2 --input_type=image_tensor --pipeline_config_path=pipeline.config \\
    --trained_checkpoint_dir=training --output_directory=exported
```

The first command trains the detector. The API does not write a checkpoint at the end, so `--checkpoint_every_n` divides the number of
steps. The second command evaluates each checkpoint as it appears; run it at the same time as the first. The third command exports the
detector. The first command uses all GPUs; on TPUs, add `--use_tpu=true --tpu_name=NAME`.

## Schedule

The detector trains for {steps} steps of {batch_size} images. The learning rate is {rate:g} after {warmup} steps of warm-up, a tenth of
that after {drops[0]} steps and a hundredth after {drops[1]}. The shorter side of an image has {min_side} pixels, unless the longer side
would exceed {max_side}. The schedule is scaled in proportion from {origin}. If you change the batch size, change the learning rate in
proportion. All batch norm layers are trained.{remark}

The API has no setting for these details of the paper:

{not_translated}

## What the checkpoint contains

The backbone takes what the API feeds it, RGB in 0..255 minus (123.68, 116.779, 103.939); the mean and standard deviation of
pre-training are folded into the stem. Do not change the preprocessing, and keep the epsilon of batch norm at 0.00001 if
`override_base_feature_extractor_hyperparams` is on; the API's sample configurations set it to 0.001.

The API's backbone pools with SAME padding. For heights and widths that leave a remainder of 0 or 3 when divided by 4, this padding starts
at the first pixel instead of one pixel before it. Away from the border, the features are then exactly those of the pre-trained backbone on
the image shifted by two pixels. For other sizes they are the same.
"""

_RECORDS = {
    True: "the images and boxes: {train} images for training, {evaluation} for evaluation, where objects that VOC calls difficult are marked as "
    "crowds, which count neither as missed nor as wrong",
    False: "empty; to add `train-*.tfrecord` and `evaluation-*.tfrecord`, export again with `--records`, or copy the output of the "
    "API's own scripts there",
}


def readme(
    model: Model,
    backbone: str,
    weights_origin: str,
    schedule: Schedule,
    origin: str,
    num_labels: int,
    written: dict[str, int],
) -> str:
    """Returns the text of the README.

    Args:
        model: one of `pipeline.MODELS`.
        backbone: name of the architecture.
        weights_origin: where its weights come from, see `storage.origins`.
        schedule: schedule of Faster R-CNN.
        origin: source of the schedule.
        num_labels: number of classes.
        written: number of images in the records "train" and "evaluation"; empty without records.
    """
    return _TEXT.format(
        title=model.title,
        backbone=backbone,
        weights_origin=weights_origin,
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
