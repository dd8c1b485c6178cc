"""Photometric augmentation of a batch of views; the same function runs on the host and on the accelerator.

Each image draws its parameters from its own key. All operations are batched, use float32 and are compiled with XLA. Values are in 0..255.
They are clipped after every operation, as in Pillow, but not rounded to integers between operations. The operations work on planes,
`[B, C, H, W]`, so that neighbours in memory are pixels, which a CPU processes many at a time.

Hue, saturation and grey exist for RGB only. Views with another number of channels change in brightness and contrast, each channel about
its own mean, and are blurred and solarised.
"""

import itertools
import math

import tensorflow as tf

from pixpro_tf.data.views import randomness
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.data.views.policies import OF_COLOUR, POLICIES, ViewPolicy, without_colour
from pixpro_tf.data.views.randomness import Stream
from pixpro_tf.ops.graphs import compiled_by_xla

GREY_WEIGHTS = (0.299, 0.587, 0.114)
SOLARIZE_THRESHOLD = 128.0
# Range of the blur's sigma in views of 224 pixels; it is proportional to the size of the view.
MIN_SIGMA_PX, MAX_SIGMA_PX, SIGMA_REFERENCE_SIZE = 0.1, 2.0, 224
BLUR_RADIUS_IN_SIGMAS = 4


class Photometric:
    """Photometric augmentation with a policy, as a function of images, keys and the view.

    Args:
        policy: name of a policy in `POLICIES`.
        channels: channels of the images.

    Call it with `images` uint8 `[B, S, S, C]`, `key` int32 `[B, 2]` and `view` 1 or 2. It returns float32 `[B, S, S, C]`, normalised with
    the mean and standard deviation of the channels.

    Raises:
        ValueError: if the policy is unknown, or needs colour that the images do not have.
    """

    def __init__(self, policy: str, channels: Channels = RGB) -> None:
        if policy not in POLICIES:
            raise ValueError(f"unknown augmentation {policy!r}; use one of {', '.join(POLICIES)}")
        if policy in OF_COLOUR and not channels.has_colour:
            raise ValueError(f"augmentation {policy!r} needs images with three channels")
        self.policy, self.channels = policy, channels

    def __call__(self, images: tf.Tensor, key: tf.Tensor, view: int) -> tf.Tensor:
        statistics = self.channels.mean, self.channels.std
        return _augment(images, key, self.policy, view, *statistics)


@compiled_by_xla
def _augment(
    images: tf.Tensor,
    key: tf.Tensor,
    policy_name: str,
    view: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tf.Tensor:
    policy = POLICIES[policy_name][view]
    if images.shape[-1] != RGB.count:
        policy = without_colour(policy)
    images = tf.transpose(tf.cast(images, tf.float32), [0, 3, 1, 2])
    if policy.jitter_probability:
        images = _jitter(images, key, policy, view)
    if policy.grey_probability and not policy.rand_augment:
        images = _random_grey(images, key, policy, view)
    if policy.blur_probability:
        images = _random_blur(images, key, policy, view)
    if policy.solarize_probability:
        images = _random_solarize(images, key, policy, view)
    if policy.rand_augment:
        images = _rand_augment(images, key, view)
        images = _random_grey(images, key, policy, view)
    return _normalize(tf.transpose(images, [0, 2, 3, 1]) / 255, mean, std)


def _normalize(images: tf.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> tf.Tensor:
    return (images - tf.constant(mean)) / tf.constant(std)


def normalize(images: tf.Tensor, channels: Channels) -> tf.Tensor:
    """Normalises images in [0, 1] with the mean and standard deviation of their channels."""
    return _normalize(images, channels.mean, channels.std)


def denormalize(images: tf.Tensor, channels: Channels) -> tf.Tensor:
    """Inverts `normalize`."""
    return images * tf.constant(channels.std) + tf.constant(channels.mean)


def _jitter(images: tf.Tensor, key: tf.Tensor, policy: ViewPolicy, view: int) -> tf.Tensor:
    draws = randomness.uniform(key, Stream.JITTER, view, 5)
    applied = draws[:, 4] < policy.jitter_probability
    span = 2 * draws[:, :4] - 1
    factors = [
        tf.maximum(1 + span[:, i] * policy.jitter[i], 0) for i in range(3)
    ]  # brightness, contrast, saturation
    factors = tf.stack([tf.where(applied, factor, 1.0) for factor in factors], axis=1)
    turn = tf.where(applied, span[:, 3] * policy.jitter[3], 0.0)

    # The 24 orders are the 6 orders of the three blends, times the 4 positions of the hue turn among them.
    order_draws = randomness.uniform(key, Stream.JITTER_ORDER, view, 2)
    orders = tf.constant(list(itertools.permutations(range(3))))
    order = tf.gather(orders, tf.minimum(tf.cast(order_draws[:, 0] * 6, tf.int32), 5))
    hue_place = tf.minimum(tf.cast(order_draws[:, 1] * 4, tf.int32), 3)

    # A loop keeps the compiler from recomputing one operation inside the next.
    def jitter_at(place: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if policy.jitter[3]:
            images = turn_hue(images, tf.where(hue_place == place, turn, 0.0))
        kind = order[:, tf.minimum(place, 2)]
        factor = tf.where(place < 3, tf.gather(factors, kind, batch_dims=1), 1.0)
        return place + 1, _blend(images, kind, factor)

    return tf.while_loop(lambda place, _: place < 4, jitter_at, (0, images))[1]


def _blend(images: tf.Tensor, kind: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Computes `factor * image + (1 - factor) * other`; other is black, the mean grey or the grey image (kinds 0, 1, 2).

    Without colour, the mean grey is the mean of each channel, and the grey image is the image itself.
    """
    if images.shape[1] == RGB.count:
        grey = grey_of(images)
        mean_grey = tf.reduce_mean(grey, axis=[1, 2, 3], keepdims=True)
    else:
        grey = images
        mean_grey = tf.reduce_mean(images, axis=[2, 3], keepdims=True)
    kind = kind[:, None, None, None]
    other = tf.where(kind == 2, grey, tf.where(kind == 1, mean_grey, 0.0))
    factor = factor[:, None, None, None]
    return tf.clip_by_value(factor * images + (1 - factor) * other, 0, 255)


def grey_of(images: tf.Tensor) -> tf.Tensor:
    """Luma (ITU-R 601) of RGB planes, `[B, 1, H, W]`."""
    return tf.reduce_sum(images * tf.constant(GREY_WEIGHTS)[:, None, None], axis=1, keepdims=True)


def turn_hue(images: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
    """Turns the hue of each image and keeps its HSV saturation and value.

    Args:
        images: `[B, 3, H, W]`.
        turn: `[B]`, in turns of the colour circle.
    """
    red, green, blue = tf.unstack(images, axis=1)
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    safe = tf.where(chroma > 0, chroma, 1.0)
    # `value == red` would not be safe: a compiler may round the two differently, and then no channel equals the value. If two channels are
    # equal in these comparisons, both branches give the same hue.
    sixth = tf.where(
        (red >= green) & (red >= blue),
        (green - blue) / safe,
        tf.where(green >= blue, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turn[:, None, None]

    def channel(offset: float) -> tf.Tensor:
        # Modulo 6; XLA's own modulo calls a function for each number on CPUs.
        k = sixth + offset
        k -= 6 * tf.floor(k / 6)
        return value - chroma * tf.clip_by_value(tf.minimum(k, 4 - k), 0, 1)

    turned = tf.stack([channel(5.0), channel(3.0), channel(1.0)], axis=1)
    return tf.where(turn[:, None, None, None] == 0, images, turned)


def _random_grey(images: tf.Tensor, key: tf.Tensor, policy: ViewPolicy, view: int) -> tf.Tensor:
    applied = _happens(key, Stream.GREY, view, policy.grey_probability)
    return tf.where(applied, grey_of(images), images)


def _random_solarize(images: tf.Tensor, key: tf.Tensor, policy: ViewPolicy, view: int) -> tf.Tensor:
    applied = _happens(key, Stream.SOLARIZE, view, policy.solarize_probability)
    return tf.where(applied & (images >= SOLARIZE_THRESHOLD), 255 - images, images)


def _random_blur(images: tf.Tensor, key: tf.Tensor, policy: ViewPolicy, view: int) -> tf.Tensor:
    draws = randomness.uniform(key, Stream.BLUR, view, 2)
    sigma = MIN_SIGMA_PX + (MAX_SIGMA_PX - MIN_SIGMA_PX) * draws[:, 0]
    sigma = sigma * (images.shape[2] / SIGMA_REFERENCE_SIZE)
    return gaussian_blur(images, tf.where(draws[:, 1] < policy.blur_probability, sigma, 0.0))


def gaussian_blur(images: tf.Tensor, sigma_px: tf.Tensor) -> tf.Tensor:
    """Blurs each image with its own sigma; edge pixels are repeated outwards.

    Args:
        images: float32 `[B, C, S, S]`, S static.
        sigma_px: float32 `[B]` in [0, 2 * S / 224]; 0 leaves the image unchanged.

    Returns:
        float32 `[B, C, S, S]`.
    """
    size = images.shape[2]
    largest = MAX_SIGMA_PX * size / SIGMA_REFERENCE_SIZE
    radius = max(1, math.ceil(BLUR_RADIUS_IN_SIGMAS * largest))
    distance = tf.range(radius + 1, dtype=tf.float32)
    safe = tf.where(sigma_px > 0, sigma_px, 1.0)[:, None]
    weights = tf.exp(-0.5 * tf.square(distance / safe))
    weights = tf.where(sigma_px[:, None] > 0, weights, tf.cast(distance == 0, tf.float32))
    weights = weights / (2 * tf.reduce_sum(weights, axis=1, keepdims=True) - weights[:, :1])
    weights = weights[:, :, None, None, None]

    def blurred(turn: tf.Tensor, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for axis in (2, 3):
            images = _continued(images, axis, radius)
        for axis in (2, 3):
            images = _convolve_symmetric(images, weights, axis, size, radius)
        return turn + 1, images

    # The loop is skipped if no image is blurred, and it keeps the compiler from recomputing the blur inside later operations.
    turns = tf.cast(tf.reduce_any(sigma_px > 0), tf.int32)
    return tf.while_loop(lambda turn, _: turn < turns, blurred, (0, images))[1]


def _continued(images: tf.Tensor, axis: int, radius: int) -> tf.Tensor:
    first, last = (tf.gather(images, [place], axis=axis) for place in (0, images.shape[axis] - 1))
    return tf.concat([first] * radius + [images] + [last] * radius, axis=axis)


def _convolve_symmetric(
    images: tf.Tensor, weights: tf.Tensor, axis: int, size: int, radius: int
) -> tf.Tensor:
    def shifted(offset: int) -> tf.Tensor:
        begin, shape = [0, 0, 0, 0], [-1, -1, -1, -1]
        begin[axis], shape[axis] = radius + offset, size
        return tf.slice(images, begin, shape)

    result = weights[:, 0] * shifted(0)
    for offset in range(1, radius + 1):
        result += weights[:, offset] * (shifted(-offset) + shifted(offset))
    return result


def _happens(key: tf.Tensor, stream: Stream, view: int, probability: float) -> tf.Tensor:
    return (randomness.uniform(key, stream, view, 1) < probability)[:, :, None, None]


# RandAugment: two operations are drawn with replacement; each is applied with probability 0.5, at magnitude 10 +- 0.5 out of 10.
RAND_AUGMENT_LAYERS = 2
RAND_AUGMENT_PROBABILITY = 0.5
RAND_AUGMENT_MAGNITUDE, RAND_AUGMENT_MAGNITUDE_STD, MAX_MAGNITUDE = 10.0, 0.5, 10.0


def _rand_augment(images: tf.Tensor, key: tf.Tensor, view: int) -> tf.Tensor:
    """Applies the reference's pool without rotations, shears and shifts, which would invalidate the boxes."""
    draws = randomness.uniform(key, Stream.RAND_AUGMENT, view, 2 * RAND_AUGMENT_LAYERS)
    deviation = randomness.normal(key, Stream.RAND_AUGMENT_MAGNITUDE, view, RAND_AUGMENT_LAYERS)
    for layer in range(RAND_AUGMENT_LAYERS):
        level = RAND_AUGMENT_MAGNITUDE + RAND_AUGMENT_MAGNITUDE_STD * deviation[:, layer]
        level = tf.clip_by_value(level, 0, MAX_MAGNITUDE) / MAX_MAGNITUDE
        count = len(RAND_AUGMENT_POOL)
        kind = tf.minimum(tf.cast(draws[:, 2 * layer] * count, tf.int32), count - 1)
        applied = draws[:, 2 * layer + 1] < RAND_AUGMENT_PROBABILITY
        # These operations count and compare levels, so they need integers.
        whole = tf.round(images)
        for index, operation in enumerate(RAND_AUGMENT_POOL.values()):
            chosen = applied & (kind == index)
            images = tf.where(
                chosen[:, None, None, None], operation(whole, level[:, None, None, None]), images
            )
    return images


def auto_contrast(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Stretches the range of each channel to 0..255; a flat channel stays unchanged."""
    del level
    low = tf.reduce_min(images, axis=[2, 3], keepdims=True)
    high = tf.reduce_max(images, axis=[2, 3], keepdims=True)
    scale = 255 / tf.where(high > low, high - low, 255.0)
    stretched = tf.clip_by_value(tf.floor((images - low) * scale), 0, 255)
    return tf.where(high > low, stretched, images)


def equalize(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Equalises the histogram of each channel, as Pillow's `ImageOps.equalize` does."""
    del level
    levels = tf.range(256, dtype=tf.float32)
    batch = tf.shape(images)[0]
    rows = tf.reshape(images, [batch, 3, -1])
    index = tf.cast(rows, tf.int32)
    histogram_of = 256 * (3 * tf.range(batch)[:, None] + tf.range(3))[:, :, None]
    # Integers, because deterministic sums of floats into bins, compiled by XLA for GPUs, are loops over all pixels.
    histogram = tf.math.unsorted_segment_sum(
        tf.ones_like(index), index + histogram_of, 3 * 256 * images.shape[0]
    )
    histogram = tf.cast(tf.reshape(histogram, [batch, 3, 256]), tf.float32)
    occupied = histogram > 0
    last = tf.reduce_max(tf.where(occupied, levels, -1.0), axis=2, keepdims=True)
    last_count = tf.reduce_sum(tf.where(levels == last, histogram, 0.0), axis=2, keepdims=True)
    step = tf.floor((tf.reduce_sum(histogram, axis=2, keepdims=True) - last_count) / 255)
    before = tf.cumsum(histogram, axis=2, exclusive=True)
    table = tf.floor((tf.floor(step / 2) + before) / tf.maximum(step, 1))
    several = tf.reduce_sum(tf.cast(occupied, tf.float32), axis=2, keepdims=True) > 1
    table = tf.where((step > 0) & several, tf.clip_by_value(table, 0, 255), levels)
    return tf.reshape(tf.gather(table, index, batch_dims=2), tf.shape(images))


def invert(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Inverts the image, i.e. returns 255 minus the image."""
    del level
    return 255 - images


def posterize(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Keeps the highest `int(4 * level)` bits of each value."""
    step = tf.pow(2.0, 8 - tf.floor(level * 4))
    return tf.floor(images / step) * step


def solarize(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Inverts values that are at least `int(256 * level)`."""
    return tf.where(images < tf.floor(level * 256), images, 255 - images)


def solarize_add(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Adds `int(110 * level)` to values below 128."""
    added = tf.minimum(images + tf.floor(level * 110), 255)
    return tf.where(images < SOLARIZE_THRESHOLD, added, images)


def _enhance(images: tf.Tensor, other: tf.Tensor | float, level: tf.Tensor) -> tf.Tensor:
    factor = 1.8 * level + 0.1
    return tf.clip_by_value(factor * images + (1 - factor) * other, 0, 255)


def color(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Multiplies the difference from the grey image by `1.8 * level + 0.1`."""
    return _enhance(images, grey_of(images), level)


def contrast(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Multiplies the difference from the mean grey by `1.8 * level + 0.1`."""
    return _enhance(images, tf.reduce_mean(grey_of(images), axis=[2, 3], keepdims=True), level)


def brightness(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Multiplies the difference from black by `1.8 * level + 0.1`."""
    return _enhance(images, 0.0, level)


def sharpness(images: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Multiplies the difference from the smoothed image by `1.8 * level + 0.1`.

    The kernel of the smoothing is (1 1 1; 1 5 1; 1 1 1) / 13; the outermost pixels stay unchanged.
    """
    size = images.shape[2]
    total = 4 * images[:, :, 1:-1, 1:-1]
    for row, column in itertools.product(range(3), range(3)):
        total += images[:, :, row : row + size - 2, column : column + size - 2]
    inside = [[0, 0], [0, 0], [1, 1], [1, 1]]
    mask = tf.pad(tf.ones_like(total), inside)
    smooth = tf.where(mask > 0, tf.pad(tf.round(total / 13), inside), images)
    return _enhance(images, smooth, level)


RAND_AUGMENT_POOL = {
    "auto_contrast": auto_contrast,
    "equalize": equalize,
    "invert": invert,
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "color": color,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
}
