"""Linear classifiers of pixels on frozen maps, which are computed once."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.sources.cache import memory_bytes
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation.segmentation.segmenter import LinearHead, train
from pixpro_tf.evaluation.sources import maps_of

MapFunction = Callable[[tf.Tensor], tf.Tensor]


def map_function(backbone: ResNet, level: str, margin: int = 0) -> MapFunction:
    """From images uint8 `[B, H, W, 3]` to a backbone's maps, traced once for each size; arguments as of `maps_of`."""
    return tf.function(
        lambda images: maps_of(backbone, images, level, margin=margin), reduce_retracing=True
    )


def maps_and_masks(
    function: MapFunction, batches: tf.data.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """The maps of all images of a split, in memory.

    Args:
        function: of `map_function`.
        batches: of images and masks, all of one size.

    Returns:
        Maps float32 `[N, h, w, C]`, and masks `[N, H, W]`.

    Raises:
        ConfigError: if the images differ in size, or their maps do not fit into memory.
    """
    maps: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for images, each in batches:
        if masks and each.shape[1:] != masks[0].shape[1:]:
            raise ConfigError(
                "the images of this dataset differ in size, so that a linear layer has no whole maps to learn from; give --crop_size"
            )
        maps.append(function(images).numpy())
        masks.append(each.numpy())
        if len(maps) == 1:
            _check_memory(maps[0].nbytes * int(batches.cardinality()))
    return np.concatenate(maps), np.concatenate(masks)


def _check_memory(needed: int) -> None:
    """Refuses maps that are too many; the system would end the process without a word. For a moment they are there twice."""
    gibibyte, there = 1 << 30, memory_bytes()
    if 2 * needed > there:
        raise ConfigError(
            f"the maps of all images are {needed / gibibyte:.0f} GiB, and this machine has {there / gibibyte:.0f}, too little to hold "
            "them twice; give --crop_size, which keeps none of them"
        )


def moments(all_maps: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, float64 `[C]`, over maps `[..., C]` of any size.

    Source: Chan et al., 1979, whose sums of squares are about the mean: a channel that never varies has a deviation of exactly 0.
    """
    count, mean, squares = 0, np.zeros([]), np.zeros([])
    for maps in all_maps:
        flat = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
        more, its_mean = len(flat), flat.mean(axis=0)
        offset = its_mean - mean
        squares = squares + np.square(flat - its_mean).sum(axis=0)
        squares = squares + np.square(offset) * (count * more / (count + more))
        count += more
        mean = mean + offset * (more / count)
    return mean, np.sqrt(squares / count)


def train_linear(
    maps: np.ndarray,
    masks: np.ndarray,
    num_classes: int,
    *,
    rate: float,
    epochs: int,
    batch_size: int,
    seed: int,
) -> LinearHead:
    """A linear layer, trained by Adam with a cosine rate; a pure function of its arguments.

    Args:
        maps: float32 `[N, h, w, C]`.
        masks: uint8 `[N, H, W]`.
        num_classes: K.
        rate: of Adam, at the start.
        epochs: passes over all maps.
        batch_size: maps a step; the last of an epoch may be fewer.
        seed: of the order.
    """
    head = LinearHead(num_classes, *moments(maps))
    head.build(maps.shape)
    steps = epochs * -(-len(maps) // batch_size)
    schedule = tf.keras.optimizers.schedules.CosineDecay(rate, steps)
    batches = _batches(maps, masks, epochs, batch_size, seed)
    train(head, head.trainable_variables, tf.keras.optimizers.Adam(schedule), batches)
    return head


def _batches(
    maps: np.ndarray, masks: np.ndarray, epochs: int, batch_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(maps))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield maps[chosen], masks[chosen]
