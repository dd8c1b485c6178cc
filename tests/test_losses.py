"""Losses compared with NumPy in float64: values and gradients, for maps computed at once and block by block."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf import losses
from pixpro_tf.ops import geometry, pairwise
from tests.ops.test_geometry import BOX_PAIRS
from tests.support import pixel_reference as reference
from tests.support.pixel_reference import unit_vectors

HEIGHT, WIDTH, CHANNELS = 3, 5, 4
THRESHOLD, TEMPERATURE = 1.2, 0.3
PAIRS = tuple(BOX_PAIRS.values())
DISJOINT = list(BOX_PAIRS).index("disjoint")


@pytest.fixture(params=["at once", "by blocks"])
def form(request, monkeypatch):
    """Form of the computation: at once, or by four blocks of four of the fifteen rows of each image, the last of which is not full."""
    if request.param == "by blocks":
        monkeypatch.setattr(pairwise, "DENSE_BINS", 1)
        monkeypatch.setattr(pairwise, "BLOCK_BINS", 4)
    return request.param


def inputs(pairs=PAIRS):
    """Returns features of two views, their boxes (overlapping, contained, touching, flipped, disjoint), and the mask of positives."""
    rng = np.random.default_rng(0)
    box_1, box_2 = (np.array(boxes) for boxes in zip(*pairs, strict=True))
    shape = len(pairs), HEIGHT * WIDTH, CHANNELS
    positives = reference.masks(box_1, box_2, HEIGHT, WIDTH, THRESHOLD)
    return unit_vectors(rng, *shape), unit_vectors(rng, *shape), box_1, box_2, positives


def value_and_gradient(loss, features, target, box_1, box_2, *options, dtype=tf.float64):
    """Returns the loss of each image, the other results, and the gradient of the sum over images."""
    features, target, box_1, box_2 = (
        tf.constant(each, dtype) for each in (features, target, box_1, box_2)
    )

    @tf.function
    def run(features):
        bins = [geometry.bins_of(box, HEIGHT, WIDTH) for box in (box_1, box_2)]
        with tf.GradientTape() as tape:
            tape.watch(features)
            value, *others = loss(features, target, *bins, THRESHOLD, *options)
            total = tf.reduce_sum(value)
        return value, others, tape.gradient(total, features)

    return run(features)


PIXEL_LOSSES = {
    "consistency": (losses.pixel_consistency, reference.pixel_consistency, ()),
    "contrast": (losses.pixel_contrast, reference.pixel_contrast, (TEMPERATURE,)),
}


@pytest.fixture(params=PIXEL_LOSSES)
def pixel_loss(request):
    return PIXEL_LOSSES[request.param]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [tf.float64, tf.float32])
def test_pixel_loss_equals_the_reference(pixel_loss, form, dtype):
    ours, expected, options = pixel_loss
    features, target, box_1, box_2, positives = inputs()
    value, _, gradient = value_and_gradient(
        ours, features, target, box_1, box_2, *options, dtype=dtype
    )
    wanted, wanted_gradient = expected(features, target, positives, *options)
    tolerance = 1e-12 if dtype == tf.float64 else 1e-5
    assert value.dtype == dtype
    np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance)
    scale = np.abs(wanted_gradient).max()
    np.testing.assert_allclose(gradient, wanted_gradient, rtol=0, atol=tolerance * scale)


@pytest.mark.slow
def test_pixel_loss_of_a_single_image_equals_the_reference(pixel_loss, form):
    ours, expected, options = pixel_loss
    features, target, box_1, box_2, positives = inputs(pairs=[BOX_PAIRS["second flipped"]])
    value, _, _ = value_and_gradient(ours, features, target, box_1, box_2, *options)
    wanted, _ = expected(features, target, positives, *options)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)


def assert_gradient(expected, features):
    """Compares the gradient that `expected` returns beside its values with finite differences, for the first two images."""
    _, gradient = expected(features)
    step = 1e-6
    for index in np.ndindex(2, HEIGHT * WIDTH, CHANNELS):
        ends = []
        for sign in (1, -1):
            moved = features.copy()
            moved[index] += sign * step
            ends.append(expected(moved)[0].sum())
        np.testing.assert_allclose(gradient[index], (ends[0] - ends[1]) / (2 * step), atol=1e-8)


def test_gradients_of_the_reference_equal_finite_differences(pixel_loss):
    _, expected, options = pixel_loss
    features, target, _, _, positives = inputs()
    assert_gradient(lambda moved: expected(moved, target, positives, *options), features)


@pytest.mark.slow
def test_image_without_overlap_has_zero_loss_and_gradient(pixel_loss, form):
    ours, _, options = pixel_loss
    value, _, gradient = value_and_gradient(ours, *inputs()[:4], *options)
    others = np.arange(len(BOX_PAIRS)) != DISJOINT
    assert value[DISJOINT] == 0 and np.all(value.numpy()[others] != 0)
    assert not gradient[DISJOINT].numpy().any()
    assert np.all(gradient.numpy()[others].any(axis=(1, 2)))


def test_pixel_consistency_counts_the_positive_pairs(form):
    features, target, box_1, box_2, positives = inputs()
    _, (pairs,), _ = value_and_gradient(losses.pixel_consistency, features, target, box_1, box_2)
    np.testing.assert_array_equal(pairs, positives.sum(axis=(1, 2)))


def test_pixel_contrast_counts_bins_and_correct_nearest_bins(form):
    features, target, box_1, box_2, positives = inputs()
    _, (counted, nearest), _ = value_and_gradient(
        losses.pixel_contrast, features, target, box_1, box_2, TEMPERATURE
    )
    np.testing.assert_array_equal(counted, positives.any(axis=2).sum(axis=1))
    best = np.einsum("bnc,bmc->bnm", features, target).argmax(axis=2)
    right = np.take_along_axis(positives, best[..., None], axis=2)
    np.testing.assert_array_equal(nearest, right.sum(axis=(1, 2)))
    assert 0 < right.sum() < positives.any(axis=2).sum()


@pytest.mark.parametrize("feature", [0.0, 0.5])
def test_a_constant_feature_matches_no_bin(form, feature):
    """A tie is not right; otherwise a network that has collapsed would have the best matching accuracy."""
    features, target, box_1, box_2, positives = inputs()
    constant = np.full_like(features, feature), np.full_like(target, feature)
    _, (counted, nearest), _ = value_and_gradient(
        losses.pixel_contrast, *constant, box_1, box_2, TEMPERATURE
    )
    # A bin is right only where all bins of the other view are its positives.
    np.testing.assert_array_equal(nearest, positives.all(axis=2).sum(axis=1))
    bins = [geometry.bins_of(tf.constant(box, tf.float64), HEIGHT, WIDTH) for box in (box_1, box_2)]
    own = range(len(features))
    _, counted, nearest = losses.pixel_contrast_of_batch(
        *map(tf.constant, constant), *bins, own, THRESHOLD, TEMPERATURE, True
    )
    assert sum(counted) > 0 and sum(nearest) == 0


@pytest.mark.parametrize("own_image", [True, False])
def test_contrast_with_other_images_equals_the_reference(form, own_image):
    features, target, box_1, box_2, positives = inputs()
    # A replica has the third, fifth and fourth image of the global batch.
    own = [2, 4, 3]
    share = [each[own] for each in (features, box_1)]
    bins = [
        geometry.bins_of(tf.constant(box, tf.float64), HEIGHT, WIDTH) for box in (share[1], box_2)
    ]
    rows = tf.constant(share[0])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        value, counted, nearest = losses.pixel_contrast_of_batch(
            rows, tf.constant(target), *bins, own, THRESHOLD, TEMPERATURE, own_image
        )
        total = tf.reduce_sum(value)
    wanted, gradient = reference.pixel_contrast_of_batch(
        share[0], target, positives[own], own, TEMPERATURE, own_image
    )
    np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(tape.gradient(total, rows), gradient, atol=1e-12)
    np.testing.assert_array_equal(counted, positives[own].any(axis=2).sum(axis=1))
    # Cosines with all bins, or without those of the own image that are no positives.
    cosines = np.einsum("bnc,gmc->bngm", share[0], target)
    mask = np.zeros(cosines.shape, bool)
    for image, place in enumerate(own):
        mask[image, :, place] = positives[place]
        if not own_image:
            cosines[image, :, place][~positives[place]] = -np.inf
    best = cosines.reshape(*cosines.shape[:2], -1).argmax(axis=2)
    right = np.take_along_axis(mask.reshape(*mask.shape[:2], -1), best[..., None], axis=2)
    np.testing.assert_array_equal(nearest, right.sum(axis=(1, 2)))


def test_gradients_of_the_contrast_with_other_images_equal_finite_differences():
    features, target, _, _, positives = inputs()
    options = (target, positives, range(len(target)), TEMPERATURE, False)
    assert_gradient(lambda moved: reference.pixel_contrast_of_batch(moved, *options), features)


def test_contrast_with_the_own_image_alone_is_that_of_the_paper(form):
    features, target, box_1, box_2, _ = inputs()
    for place in range(len(features)):
        part = slice(place, place + 1)
        bins = [geometry.bins_of(tf.constant(box[part]), HEIGHT, WIDTH) for box in (box_1, box_2)]
        pair = tf.constant(features[part]), tf.constant(target[part])
        alone = losses.pixel_contrast(*pair, *bins, THRESHOLD, TEMPERATURE)
        batch = losses.pixel_contrast_of_batch(*pair, *bins, [0], THRESHOLD, TEMPERATURE)
        for first, second in zip(alone, batch, strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-12)


def test_pixel_contrast_is_finite_at_a_low_temperature(form):
    value, _, gradient = value_and_gradient(
        losses.pixel_contrast, *inputs()[:4], 1e-3, dtype=tf.float32
    )
    features, target, _, _, positives = inputs()
    # The softmax share of the positives is the exponential of about -1000: the largest cosine of the positives less the largest of all.
    cosines = np.einsum("bnc,bmc->bnm", features, target)
    of_positives = np.where(positives, cosines, -np.inf).max(axis=2)
    counted = positives.any(axis=2)
    gap = np.where(counted, cosines.max(axis=2) - np.where(counted, of_positives, 0), 0) / 1e-3
    wanted = gap.sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    np.testing.assert_allclose(value, wanted, atol=2)
    assert np.all(np.isfinite(gradient))


def test_permuting_the_images_permutes_the_losses(pixel_loss):
    ours, _, options = pixel_loss
    arrays = inputs()[:4]
    order = np.random.default_rng(3).permutation(len(BOX_PAIRS))
    value, _, _ = value_and_gradient(ours, *arrays, *options)
    permuted, _, _ = value_and_gradient(ours, *(each[order] for each in arrays), *options)
    np.testing.assert_allclose(permuted, value.numpy()[order], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 10), (28, 28), (57, 31)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_pixel_loss_by_blocks_equals_pixel_loss_at_once(
    pixel_loss, height, width, jit_compile, monkeypatch
):
    ours, _, options = pixel_loss
    rng = np.random.default_rng(6)
    box_1, box_2 = (
        tf.constant(boxes, tf.float32) for boxes in zip(*BOX_PAIRS.values(), strict=True)
    )
    shape = len(BOX_PAIRS), height * width, 32
    features, target = (tf.constant(unit_vectors(rng, *shape), tf.float32) for _ in range(2))
    monkeypatch.setattr(pairwise, "BLOCK_BINS", max(30, height * width // 5))

    def run(features):
        bins = [geometry.bins_of(box, height, width) for box in (box_1, box_2)]
        with tf.GradientTape() as tape:
            tape.watch(features)
            value, *_ = ours(features, target, *bins, 0.7, *options)
            total = tf.reduce_sum(value)
        return value, tape.gradient(total, features)

    results = []
    for dense_bins in (1, 10**6):
        monkeypatch.setattr(pairwise, "DENSE_BINS", dense_bins)
        results.append(tf.function(run, jit_compile=jit_compile)(features))
    for found, expected in zip(*results, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def test_pixel_loss_of_maps_of_unknown_size_equals_the_reference(pixel_loss, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK_BINS", 4)
    ours, expected, options = pixel_loss
    features, target, box_1, box_2, positives = inputs()
    bins = [geometry.bins_of(tf.constant(box), HEIGHT, WIDTH) for box in (box_1, box_2)]

    def unknown(*shape):
        return tf.TensorSpec([None, *shape], tf.float64)

    one_bins = geometry.Bins(unknown(None, 2), unknown())
    maps = [unknown(None, CHANNELS)] * 2
    function = tf.function(
        lambda *arguments: ours(*arguments, THRESHOLD, *options)[0],
        input_signature=[*maps, one_bins, one_bins],
    )
    wanted, _ = expected(features, target, positives, *options)
    np.testing.assert_allclose(function(features, target, *bins), wanted, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_blocks_of_distant_bins_are_skipped(jit_compile, monkeypatch):
    """Computing a product with the last rows of the target would result in NaN: zero times NaN."""
    monkeypatch.setattr(pairwise, "DENSE_BINS", 1)
    monkeypatch.setattr(pairwise, "BLOCK_BINS", 2 * WIDTH)
    features, target = (np.ones([1, 6 * WIDTH, CHANNELS]) for _ in range(2))
    target[:, 4 * WIDTH :] = np.nan

    @tf.function(jit_compile=jit_compile)
    def value_of(box, target_box):
        bins, target_bins = (geometry.bins_of(each, 6, WIDTH) for each in (box, target_box))
        return losses.pixel_consistency(
            tf.constant(features), tf.constant(target), bins, target_bins, 0.7
        )[0]

    whole = tf.constant([[0, 0, 1, 1]], tf.float64)
    assert np.isnan(value_of(whole, whole))
    # The last two rows of bins of this view are half a box below the other view.
    assert np.isfinite(value_of(whole, tf.constant([[0, 0.5, 1, 2]], tf.float64)))


@pytest.mark.parametrize("wrong", ["bins", "target", "channels"])
def test_inconsistent_shapes_are_rejected(pixel_loss, wrong):
    ours, _, options = pixel_loss
    features, target, box_1, box_2, _ = inputs()
    if wrong == "bins":
        features = features[:, :5]
    elif wrong == "target":
        target = target[:, :4]
    else:
        target = target[..., :3]
    with pytest.raises(ValueError, match="must have consistent shapes"):
        value_and_gradient(ours, features, target, box_1, box_2, *options)


def test_instance_consistency_is_the_cosine_similarity():
    rng = np.random.default_rng(1)
    prediction, target = unit_vectors(rng, 5, 7), unit_vectors(rng, 5, 7)
    value = losses.instance_consistency(tf.constant(prediction), tf.constant(target))
    np.testing.assert_allclose(value, np.diag(prediction @ target.T), rtol=1e-12)


def test_gradient_of_instance_consistency_is_the_target():
    rng = np.random.default_rng(2)
    prediction = tf.constant(unit_vectors(rng, 1, 7))
    target = unit_vectors(rng, 1, 7)
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        value = losses.instance_consistency(prediction, tf.constant(target))
    np.testing.assert_allclose(tape.gradient(value, prediction), target, rtol=1e-15)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_instance_contrast_equals_the_reference(images, temperature):
    rng = np.random.default_rng(4)
    prediction, keys = unit_vectors(rng, images, 7), unit_vectors(rng, 9, 7)
    own = np.arange(images) + 3
    variable = tf.constant(prediction)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        value, nearest = losses.instance_contrast(variable, tf.constant(keys), own, temperature)
    wanted, gradient = reference.instance_contrast(prediction, keys, own, temperature)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(value, variable), gradient, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(nearest, np.argmax(prediction @ keys.T, axis=1) == own)


def test_instance_contrast_returns_whether_the_own_key_is_nearest():
    keys = np.eye(3)
    prediction = tf.constant([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]], tf.float64)
    _, nearest = losses.instance_contrast(prediction, keys, [0, 0, 2], 0.2)
    np.testing.assert_array_equal(nearest, [1, 0, 1])


def test_instance_contrast_of_a_single_image_is_zero():
    vectors = tf.constant([[0.6, 0.8]])
    np.testing.assert_array_equal(
        losses.instance_contrast(vectors, vectors, [0], 0.2), [[0.0], [1.0]]
    )


@pytest.mark.slow
def test_targets_receive_no_gradient(form):
    features, target, box_1, box_2, _ = inputs()
    features, target = tf.constant(features), tf.constant(target)
    bins = [geometry.bins_of(tf.constant(box), HEIGHT, WIDTH) for box in (box_1, box_2)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([features, target])
        values = (
            losses.pixel_consistency(features, target, *bins, THRESHOLD)[0],
            losses.pixel_contrast(features, target, *bins, THRESHOLD, TEMPERATURE)[0],
            losses.instance_consistency(features[:, 0], target[:, 0]),
            losses.instance_contrast(features[:, 0], target[:, 0], tf.range(len(BOX_PAIRS)), 0.2)[
                0
            ],
        )
    for value in values:
        assert tape.gradient(value, target) is None
        assert tape.gradient(value, features) is not None


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_pixel_losses_in_half_precision_are_computed_in_float32(pixel_loss, form, dtype):
    ours, expected, options = pixel_loss
    features, target, box_1, box_2, positives = inputs()
    low = [tf.cast(each, dtype) for each in (features, target)]
    bins = [geometry.bins_of(tf.constant(box, tf.float32), HEIGHT, WIDTH) for box in (box_1, box_2)]
    value, *_ = ours(*low, *bins, THRESHOLD, *options)
    assert value.dtype == tf.float32
    rounded = [tf.cast(each, tf.float64).numpy() for each in low]
    wanted, _ = expected(*rounded, positives, *options)
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_instance_losses_in_half_precision_are_computed_in_float32(dtype):
    rng = np.random.default_rng(5)
    low = [tf.cast(unit_vectors(rng, 5, 7), dtype) for _ in range(2)]
    a, b = (tf.cast(each, tf.float64).numpy() for each in low)
    consistency = losses.instance_consistency(*low)
    contrast, _ = losses.instance_contrast(*low, tf.range(5), 0.2)
    assert consistency.dtype == contrast.dtype == tf.float32
    np.testing.assert_allclose(consistency, np.einsum("bc,bc->b", a, b), rtol=0, atol=1e-6)
    wanted, _ = reference.instance_contrast(a, b, range(5), 0.2)
    np.testing.assert_allclose(contrast, wanted, rtol=1e-5)
