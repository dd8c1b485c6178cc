"""Random draws: known answers of the generator, the same bits everywhere, uniformity and independence."""

import numpy as np
import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.data.views import randomness
from pixpro_tf.data.views.randomness import Stream


def words(text):
    """Returns a uint32 array of hexadecimal words."""
    return np.array([int(word, 16) for word in text.split()], np.uint32)


# Key, counter and result of threefry2x32 with 20 rounds, from the known-answer tests (`kat_vectors`) of the authors' Random123. Exact.
KNOWN_ANSWERS = [
    ("00000000 00000000", "00000000 00000000", "6b200159 99ba4efe"),
    ("ffffffff ffffffff", "ffffffff ffffffff", "1cb996fc bb002be7"),
    ("13198a2e 03707344", "243f6a88 85a308d3", "c4923a9c 483df7a0"),
]


@pytest.mark.parametrize(("key", "counter", "result"), KNOWN_ANSWERS)
def test_threefry_returns_the_published_vectors(key, counter, result):
    bits = randomness.threefry_2x32(tf.constant(words(key)), tf.constant(words(counter)))
    np.testing.assert_array_equal(bits, words(result))


def test_threefry_broadcasts_key_and_counter():
    keys = np.stack([words(key) for key, _, _ in KNOWN_ANSWERS])
    counters = np.stack([words(counter) for _, counter, _ in KNOWN_ANSWERS])
    table = randomness.threefry_2x32(tf.constant(keys[:, None]), tf.constant(counters)).numpy()
    assert table.shape == (3, 3, 2)
    for index, (_, _, result) in enumerate(KNOWN_ANSWERS):
        np.testing.assert_array_equal(table[index, index], words(result))


def everything(position):
    key = randomness.image_key(2**40 + 3, tf.constant(2, tf.int64), position)
    return (
        key,
        randomness.uniform(key, Stream.GREY, 1, 7),
        randomness.normal(key, Stream.BLUR, 1, 7),
    )


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_functions_draw_the_same_bits_as_eager_code(compiled):
    positions = tf.range(100, dtype=tf.int64)
    key, uniform, normal = everything(positions)
    other = tf.function(everything, jit_compile=compiled)(positions)
    np.testing.assert_array_equal(other[0], key)
    np.testing.assert_array_equal(other[1], uniform)
    # The compiler's logarithm and cosine differ by a few units in the last place, and by up to 1e-5 near a root of the cosine.
    np.testing.assert_allclose(other[2], normal, rtol=1e-5, atol=1e-5)


def test_a_dataset_draws_the_same_bits_as_eager_code():
    key, uniform, _ = everything(tf.range(20, dtype=tf.int64))
    elements = tf.data.Dataset.range(20).map(everything, num_parallel_calls=4)
    for index, (one_key, one_uniform, _) in enumerate(elements):
        np.testing.assert_array_equal(one_key, key[index])
        np.testing.assert_array_equal(one_uniform, uniform[index])


def test_draws_of_an_image_do_not_depend_on_its_batch():
    key = randomness.image_key(0, 0, tf.range(16))
    batched = randomness.uniform(key, Stream.CROP, 1, 4).numpy()
    np.testing.assert_array_equal(randomness.uniform(key[5], Stream.CROP, 1, 4), batched[5])
    np.testing.assert_array_equal(randomness.uniform(key[::-1], Stream.CROP, 1, 4), batched[::-1])


def test_more_draws_begin_with_the_same_numbers():
    key = randomness.image_key(0, 0, tf.range(3))
    few, many = (
        randomness.uniform(key, Stream.CROP, 1, 4),
        randomness.uniform(key, Stream.CROP, 1, 9),
    )
    np.testing.assert_array_equal(many[:, :4], few)


def test_keys_depend_on_both_halves_of_the_run_seed():
    keys = {
        tuple(randomness.image_key(seed, 0, 0).numpy().tolist())
        for seed in (0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64 - 1)
    }
    assert len(keys) == 7


def test_keys_of_all_images_and_epochs_differ():
    keys = np.concatenate([randomness.image_key(0, epoch, tf.range(5000)) for epoch in range(4)])
    assert keys.dtype == np.int32
    # Two of 20000 random 64-bit numbers are equal once in 1e11 trials.
    assert len(np.unique(keys, axis=0)) == 20000


def draws_of(seed=0, epoch=0, stream=Stream.CROP, view=1, count=1):
    key = randomness.image_key(seed, epoch, tf.range(20000))
    return randomness.uniform(key, stream, view, count).numpy()


def test_no_two_streams_and_views_share_a_number():
    numbers = [stream + view - 1 for stream in Stream for view in (1, 2)]
    assert len(set(numbers)) == 2 * len(Stream)


def test_uniform_draws_are_multiples_of_two_to_the_minus_24_below_one():
    draws = draws_of(count=10)
    assert draws.dtype == np.float32
    assert draws.min() >= 0 and draws.max() < 1
    scaled = draws.astype(np.float64) * 2**24
    np.testing.assert_array_equal(scaled, np.round(scaled))
    # Half of the 200000 draws are odd multiples; the bound is five standard deviations.
    assert abs((scaled % 2).mean() - 0.5) < 5 * 0.5 / np.sqrt(draws.size)


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("stream", [Stream.CROP, Stream.RAND_AUGMENT_MAGNITUDE])
def test_draws_are_uniform(epoch, stream):
    draws = draws_of(epoch=epoch, stream=stream)
    counts, _ = np.histogram(draws, bins=100, range=(0, 1))
    chi_square = ((counts - 200.0) ** 2 / 200).sum()
    # Chi-square with 99 degrees of freedom has mean 99 and standard deviation 14.1; the bounds are five standard deviations.
    assert 28 < chi_square < 170


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"stream": Stream.JITTER}, id="streams"),
        pytest.param({"view": 2}, id="views"),
        pytest.param({"epoch": 1}, id="epochs"),
        pytest.param({"seed": 1}, id="low half of the seed"),
        pytest.param({"seed": 1 << 32}, id="high half of the seed"),
    ],
)
def test_draws_are_independent_between(other):
    draws, others = draws_of()[:, 0], draws_of(**other)[:, 0]
    # The bound is five standard deviations of a sample correlation of 20000 independent pairs.
    bound = 5 / np.sqrt(20000)
    assert abs(np.corrcoef(draws, others)[0, 1]) < bound
    # The distance from the middle reveals dependence that the first correlation does not.
    assert abs(np.corrcoef(abs(draws - 0.5), abs(others - 0.5))[0, 1]) < bound


def test_draws_of_one_image_and_of_neighbouring_images_are_independent():
    draws = draws_of(count=6)
    between_places = np.corrcoef(draws, rowvar=False) - np.eye(6)
    neighbours = np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]
    assert abs(between_places).max() < 5 / np.sqrt(20000)
    assert abs(neighbours) < 5 / np.sqrt(20000)


def test_normal_draws_are_normal():
    key = randomness.image_key(0, 0, tf.range(20000))
    draws = randomness.normal(key, Stream.BLUR, 1, 2).numpy().astype(np.float64)
    assert draws.shape == (20000, 2) and np.isfinite(draws).all()
    # The moments of the standard normal are 0, 1, 0, 3; the bounds are five standard deviations of the sample moments of 40000 draws.
    root = np.sqrt(draws.size)
    assert abs(draws.mean()) < 5 / root
    assert abs((draws**2).mean() - 1) < 5 * np.sqrt(2) / root
    assert abs((draws**3).mean()) < 5 * np.sqrt(15) / root
    assert abs((draws**4).mean() - 3) < 5 * np.sqrt(96) / root
    assert abs(np.corrcoef(draws, rowvar=False)[0, 1]) < 5 / np.sqrt(20000)
