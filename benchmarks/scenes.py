"""What a supervised `resnet10` and a linear probe on random weights reach on the dataset `scenes`.

    python -m benchmarks.scenes --data_dir=/tmp/scenes

Both train a 1x1 classifier on c5, whose logits are resized to the mask, on random crops of the
split `train` for the same number of steps; both are scored by mIoU over all pixels of `validation`.
The supervised run trains the backbone as well. The probe sees frozen random weights, and features
standardised by the mean and variance they have on `train`, without which it learns nothing.
"""

import argparse
import dataclasses
import json
import sys
import time

import numpy as np

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.data import scene_renderer, scenes
from pixpro_tf.data.segmentation import image_batches
from pixpro_tf.evaluation.segmenter import score

_NUM_CLASSES = len(scene_renderer.CLASS_NAMES)
_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255.0
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255.0


@dataclasses.dataclass(frozen=True)
class Result:
    """Outcome of one run: IoU of each class in [0, 1], and the training time."""

    iou: np.ndarray
    seconds: float

    @property
    def mean_iou(self) -> float:
        return float(self.iou.mean())


class Segmenter(tf.keras.Model):
    """Backbone and 1x1 classifier of c5; logits float32 `[B, H, W, 10]` at the images' size."""

    def __init__(self, output_stride, trains_backbone):
        super().__init__()
        self.backbone = resnet.build("resnet10", output_stride=output_stride)
        self.backbone.trainable = trains_backbone
        self.trains_backbone = trains_backbone
        self.standardise = tf.keras.layers.Normalization(axis=-1)
        self.classify = tf.keras.layers.Conv2D(
            _NUM_CLASSES, 1, kernel_initializer=tf.keras.initializers.RandomNormal(stddev=0.01)
        )

    def features(self, images, training=False):
        images = (tf.cast(images, tf.float32) - _MEAN) / _DEVIATION
        return self.backbone(images, training=training and self.trains_backbone)["c5"]

    def call(self, images, training=False):
        features = self.features(images, training)
        if not self.trains_backbone:
            features = self.standardise(features)
        return tf.image.resize(self.classify(features), tf.shape(images)[1:3])


def training_batches(dataset, crop, batch_size, seed):
    """Endless batches of `(images, masks)`: crops, flipped and transposed, all at random."""

    def augment(example, seed):
        pixels = tf.concat([example["image"], example["segmentation_mask"]], axis=-1)
        pixels = tf.image.stateless_random_crop(pixels, [crop, crop, 4], seed)
        pixels = tf.image.stateless_random_flip_left_right(pixels, seed + 1)
        pixels = tf.image.stateless_random_flip_up_down(pixels, seed + 2)
        if tf.random.stateless_uniform([], seed + 3) < 0.5:
            pixels = tf.transpose(pixels, [1, 0, 2])
        return pixels[..., :3], tf.cast(pixels[..., 3], tf.int32)

    seeds = tf.data.Dataset.random(seed=seed).batch(2, drop_remainder=True)
    dataset = dataset.cache().shuffle(2000, seed=seed).repeat()
    dataset = tf.data.Dataset.zip((dataset, seeds)).map(augment, num_parallel_calls=2)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(2)


def train(dataset, output_stride, trains_backbone, steps, batch_size, crop, seed):
    """Trains a segmenter and returns it with the seconds that took."""
    tf.keras.utils.set_random_seed(seed)
    batches = training_batches(dataset, crop, batch_size, seed)
    segmenter = Segmenter(output_stride, trains_backbone)
    if not trains_backbone:
        segmenter.standardise.adapt(
            batches.take(20).map(lambda images, _: segmenter.features(images))
        )
    segmenter(tf.zeros([1, crop, crop, 3]))
    variables = segmenter.trainable_variables
    rate = tf.keras.optimizers.schedules.CosineDecay(1e-3, steps)
    optimizer = tf.keras.optimizers.Adam(rate)
    optimizer.build(variables)

    @tf.function
    def step(images, masks):
        with tf.GradientTape() as tape:
            logits = segmenter(images, training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(masks, logits)
            loss = tf.reduce_mean(loss)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    start = time.perf_counter()
    for images, masks in batches.take(steps):
        step(images, masks)
    return segmenter, time.perf_counter() - start


def class_iou(dataset, segmenter, batch_size=25):
    """IoU of each class over all pixels of a split, float64 `[10]`; 1 if neither side has it."""
    examples = dataset.map(
        lambda example: {"image": example["image"], "mask": example["segmentation_mask"][..., 0]}
    )
    iou = score(
        lambda images, training: segmenter(images),
        image_batches(examples, batch_size),
        _NUM_CLASSES,
    ).class_iou
    return np.where(np.isnan(iou), 1.0, iou)


def measure(builder, split="validation", **options) -> dict[str, Result]:
    """Results of the supervised run and of the random probe; `options` as for `train`."""
    results = {}
    for name, trains_backbone in (("supervised", True), ("random probe", False)):
        dataset = builder.as_dataset(split="train")
        segmenter, seconds = train(dataset, trains_backbone=trains_backbone, **options)
        result = Result(class_iou(builder.as_dataset(split=split), segmenter), seconds)
        print(f"{name}: mIoU {100 * result.mean_iou:.1f} %", file=sys.stderr, flush=True)
        results[name] = result
    return results


def table(results: dict[str, Result]) -> str:
    lines = ["IoU, %".ljust(16) + "".join(name.rjust(15) for name in results)]
    for index, name in enumerate(scene_renderer.CLASS_NAMES):
        figures = (f"{100 * result.iou[index]:15.1f}" for result in results.values())
        lines.append(name.ljust(16) + "".join(figures))
    figures = (f"{100 * result.mean_iou:15.1f}" for result in results.values())
    lines.append("mean".ljust(16) + "".join(figures))
    figures = (f"{result.seconds:15.0f}" for result in results.values())
    lines.append("training, s".ljust(16) + "".join(figures))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="~/tensorflow_datasets", help="TFDS data directory")
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--steps", type=int, default=600, help="steps of each run")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--crop", type=int, default=96, help="side of the training crops")
    parser.add_argument("--output_stride", type=int, default=16, choices=resnet.OUTPUT_STRIDES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file to write the results to")
    flags = parser.parse_args()

    results = measure(
        scenes.prepare(flags.data_dir, str(flags.size)),
        split=flags.split,
        output_stride=flags.output_stride,
        steps=flags.steps,
        batch_size=flags.batch_size,
        crop=flags.crop,
        seed=flags.seed,
    )
    print(table(results))
    if flags.json:
        with open(flags.json, "w") as file:
            figures = {
                name: {"mean_iou": result.mean_iou, "iou": result.iou.tolist()}
                for name, result in results.items()
            }
            json.dump({"flags": vars(flags), "results": figures}, file, indent=2)


if __name__ == "__main__":
    main()
