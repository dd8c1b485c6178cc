"""Linear pixel classifiers on frozen feature maps, which are computed once."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.sources.cache import memory_bytes
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import computed
from pixpro_tf.evaluation.segmentation.segmenter import LinearHead, train
from pixpro_tf.evaluation.sources import maps_of

MapFunction = Callable[[tf.Tensor], tf.Tensor]


def map_function(backbone: ResNet, level: str, margin: int = 0) -> MapFunction:
    """Returns a function from images uint8 `[B, H, W, 3]` to a backbone's maps, traced once for each image size.

    The arguments are those of `maps_of`.
    """
    return tf.function(
        lambda images: maps_of(backbone, images, level, margin=margin), reduce_retracing=True
    )


def maps_and_masks(
    function: MapFunction,
    batches: tf.data.Dataset,
    folder: str = "",
    print_line: Callable[[str], None] = print,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the maps of all images of a split, in memory.

    Args:
        function: result of `map_function`.
        batches: batches of images and masks, all of the same size.
        folder, print_line: see `computed.of_all_batches`.

    Returns:
        Maps float32 `[N, h, w, C]`, and masks `[N, H, W]`.

    Raises:
        ConfigError: if the images differ in size, or their maps do not fit into memory.
    """
    sizes = set()

    def check_size(masks: tf.Tensor | np.ndarray) -> None:
        sizes.add(tuple(masks.shape[1:]))
        if len(sizes) > 1:
            raise ConfigError(
                "the images of this dataset differ in size, but training on whole images requires a single size; pass --crop_size"
            )

    def compute(images: tf.Tensor, masks: tf.Tensor) -> computed.Arrays:
        is_first = not sizes
        check_size(masks)
        maps = function(images).numpy()
        if is_first:
            _check_memory(maps.nbytes * int(batches.cardinality()))
        return maps, masks.numpy()

    pairs = computed.of_all_batches(compute, batches, "batches of maps", folder, print_line)
    all_maps, all_masks = zip(*pairs, strict=True)
    for masks in all_masks:
        check_size(masks)
    return np.concatenate(all_maps), np.concatenate(all_masks)


def _check_memory(needed: int) -> None:
    """Rejects maps that do not fit into memory twice, as they must for a moment.

    Without this check, the system would kill the process silently.
    """
    gibibyte, there = 1 << 30, memory_bytes()
    if 2 * needed > there:
        raise ConfigError(
            f"the maps of all images take {needed / gibibyte:.0f} GiB, and twice that must fit into the {there / gibibyte:.0f} GiB "
            "of this machine; pass --crop_size, which stores no maps"
        )


def moments(all_maps: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean and standard deviation of each channel, float64 `[C]`, over maps `[..., C]` of any size.

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
    folder: str = "",
    print_line: Callable[[str], None] = print,
) -> LinearHead:
    """Trains a linear layer with Adam and a cosine learning-rate schedule; a pure function of its arguments.

    Args:
        maps: float32 `[N, h, w, C]`.
        masks: uint8 `[N, H, W]`.
        num_classes: number of classes, K.
        rate: initial learning rate of Adam.
        epochs: number of passes over all maps.
        batch_size: number of maps per step; the last step of an epoch may have fewer.
        seed: seed of the order of the maps.
        folder, print_line: see `training_steps.run`.
    """
    head = LinearHead(num_classes, *moments(maps))
    head.build(maps.shape)
    steps = epochs * -(-len(maps) // batch_size)
    schedule = tf.keras.optimizers.schedules.CosineDecay(rate, steps)
    batches = _batches(maps, masks, epochs, batch_size, seed)
    optimizer = tf.keras.optimizers.Adam(schedule)
    train(
        head,
        head.trainable_variables,
        optimizer,
        batches,
        steps,
        folder=folder,
        print_line=print_line,
    )
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
