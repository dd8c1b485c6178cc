"""Conversion of first convolutions to other channels: features of the same stored values, in layouts with and without zero padding."""

import numpy as np
import pytest

from pixpro_tf.backbones import resnet
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.storage import stems
from tests.support.models import FOUR_CHANNELS, settle

TWELVE_BITS = Channels(*(FOUR_CHANNELS[f"channel_{key}"] for key in ("low", "high", "mean", "std")))
OTHER_RANGE = Channels(
    (0.0, 100.0, 20.0, 300.0), (3500.0, 4000.0, 3000.0, 4095.0), (0.2, 0.6, 0.4, 0.5), (0.2,) * 4
)
OTHER_MEAN = Channels(RGB.low, RGB.high, (0.1, 0.7, 0.4), (0.05, 0.3, 0.1))
GREY = Channels((0.0,), (255.0,), (0.3,), (0.1,))
DARK = Channels((50.0,) * 3, (4000.0,) * 3, (0.2, 0.1, 0.3), (0.1, 0.05, 0.2))


def normalised(shares, channels, of=None):
    """Returns the input of a network for stored values at these shares of the range of `of`."""
    low, high, mean, std = (np.float64(each) for each in vars(channels).values())
    if of is not None:
        shares = (of.low + shares * np.subtract(of.high, of.low) - low) / (high - low)
    return ((shares - mean) / std).astype(np.float32)


def images(count, side=64):
    coarse = np.random.default_rng(0).uniform(0.1, 0.9, [2, side // 4, side // 4, count])
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def source_for(channels, layout):
    backbone = resnet.build("resnet10w0.5", layout, channels=channels)
    settle(backbone)
    return backbone


def converted(source, wanted):
    backbone = resnet.build("resnet10w0.5", source.layout, channels=wanted)
    for variable, value in zip(backbone.variables, source.variables, strict=True):
        if variable.shape == value.shape:
            variable.assign(value)
    stems.convert(backbone, source.channels, wanted, source=source)
    return backbone


@pytest.mark.parametrize(
    ("found", "wanted"),
    [(RGB, OTHER_MEAN), (OTHER_MEAN, RGB), (TWELVE_BITS, OTHER_RANGE)],
    ids=["to other means", "to ImageNet", "range"],
)
def test_features_of_the_same_values_are_equal_without_zero_padding(found, wanted):
    source = source_for(found, "mirror")
    shares = images(found.count)
    expected = source(normalised(shares, found))["c5"]
    result = converted(source, wanted)(normalised(shares, wanted, of=found))["c5"]
    np.testing.assert_allclose(result, expected, atol=2e-4 * np.abs(expected).max())
    # Without a conversion, they would be others.
    raw = source(normalised(shares, wanted, of=found))["c5"]
    assert np.linalg.norm(raw - expected) > 0.1 * np.linalg.norm(expected)


def test_features_differ_only_along_the_border_with_zero_padding():
    source = source_for(RGB, "torchvision")
    shares = images(3, side=128)
    expected = source(normalised(shares, RGB))["c2"].numpy()
    result = converted(source, OTHER_MEAN)(normalised(shares, OTHER_MEAN))["c2"].numpy()
    errors = np.abs(result - expected) / np.abs(expected).max()
    # A bin of c2 sees 21 pixels to each side at most, which are within 6 bins.
    assert errors[:, 6:-6, 6:-6].max() < 1e-4 < errors.max()


@pytest.mark.parametrize(
    ("found", "wanted"), [(OTHER_MEAN, GREY), (GREY, OTHER_MEAN)], ids=["to grey", "from grey"]
)
def test_grey_images_keep_their_features_with_another_number_of_channels(found, wanted):
    source = source_for(found, "mirror")
    shares = images(1)
    expected = source(normalised(shares.repeat(found.count, axis=-1), found))["c5"]
    result = converted(source, wanted)(
        normalised(shares.repeat(wanted.count, axis=-1), wanted, of=None)
    )["c5"]
    np.testing.assert_allclose(result, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("found", "wanted"), [(RGB, DARK), (DARK, RGB)], ids=["from", "to"])
def test_eight_bits_fill_the_range_of_other_values(found, wanted):
    """255 is not the value 255 of 4000, but as bright as 4000."""
    source = source_for(found, "mirror")
    shares = images(3)
    expected = source(normalised(shares, found))["c5"]
    result = converted(source, wanted)(normalised(shares, wanted))["c5"]
    np.testing.assert_allclose(result, expected, atol=2e-4 * np.abs(expected).max())


def test_other_numbers_of_channels_are_adapted_only():
    source = source_for(TWELVE_BITS, "torchvision")
    backbone = converted(source, RGB)
    kernel = source.stem[0].kernel.numpy()
    np.testing.assert_array_equal(backbone.stem[0].kernel, stems.adapted_kernel(kernel, 3))
    np.testing.assert_array_equal(backbone.stem[1].moving_mean, source.stem[1].moving_mean)


def test_equal_channels_change_no_bit_and_rounded_ones_are_equal():
    source = source_for(OTHER_MEAN, "torchvision")
    rounded = Channels(RGB.low, RGB.high, OTHER_MEAN.mean, (0.05000000001, 0.3, 0.1))
    for wanted in (OTHER_MEAN, rounded):
        assert stems.description(OTHER_MEAN, wanted) == ""
        for ours, theirs in zip(converted(source, wanted).variables, source.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        (RGB, OTHER_MEAN, "converted to --channel_mean, --channel_std of this run"),
        (
            TWELVE_BITS,
            OTHER_RANGE,
            "converted to --channel_low, --channel_high, --channel_mean, --channel_std of this run",
        ),
        (TWELVE_BITS, RGB, "adapted from 4 to 3 channels"),
        (
            RGB,
            GREY,
            "adapted from 3 to 1 channels, converted to --channel_mean, --channel_std of this run",
        ),
        (
            RGB,
            DARK,
            "converted to --channel_mean, --channel_std of this run, 0 to 255 taken as the whole of the other range",
        ),
    ],
    ids=["mean", "range", "four to three", "grey", "dark"],
)
def test_the_description_says_what_is_done(found, wanted, said):
    assert stems.description(found, wanted) == said
