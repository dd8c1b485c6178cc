"""Images with any number of channels: stored values, their range and statistics, and augmentation without colour."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.data import images, pillow_images, stored_values
from pixpro_tf.data.channel_statistics import measure
from pixpro_tf.data.sources import find_bad_images, open_source
from pixpro_tf.data.views import photometric, randomness
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation.pictures import as_rgb
from pixpro_tf.statistics import main

tifffile = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 7, 9


def values_of(count, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=[HEIGHT, WIDTH, count]).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, [HEIGHT, WIDTH, count], dtype, endpoint=True)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack", **options)
    return file.getvalue()


def by_pillow(array, kind="PNG", mode=None, **options):
    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, kind, **options)
    return file.getvalue()


# Stored values


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "i4", "f4", ">f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_files_are_read_with_the_channels_last(dtype, order):
    wanted = values_of(4, np.dtype(dtype).newbyteorder("=")).astype(dtype)
    for stored in (wanted, wanted.transpose(2, 0, 1)):
        found = stored_values.read(npy(np.asarray(stored, order=order)), 4)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(
            stored_values.read(npy(np.asarray(stored, order=order))), wanted
        )
    single = stored_values.read(npy(np.asarray(wanted[..., 0], order=order)), 1)
    np.testing.assert_array_equal(single, wanted[..., :1])


def test_the_last_axis_of_a_numpy_file_is_preferred():
    square = np.arange(4 * 5 * 4).reshape(4, 5, 4).astype(np.uint8)
    np.testing.assert_array_equal(stored_values.read(npy(square), 4), square)


@pytest.mark.parametrize("count", [3, 6, 9, 224])
def test_images_of_an_array_are_square_or_have_few_channels(count, tmp_path):
    wanted = np.arange(6 * 6 * count).reshape(6, 6, count)
    for stored in (wanted, wanted.transpose(2, 0, 1)) if count != 6 else (wanted,):
        np.testing.assert_array_equal(stored_values.read(npy(stored)), wanted)
    wide = np.arange(5 * 6 * 224).reshape(5, 6, 224)
    np.testing.assert_array_equal(stored_values.read(npy(wide), 224), wide)
    (tmp_path / "tiles").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        np.save(tmp_path / "tiles" / f"{number}.npy", rng.integers(0, 999, [5, 6, 224]))
    channels, _ = measure(f"folder:{tmp_path / 'tiles'}", channels=224)
    assert channels.count == 224


def test_palettes_and_orientations_of_tiffs_are_resolved():
    colours = Image.fromarray(values_of(3, np.uint8)).quantize(16)
    wanted = np.asarray(colours.convert("RGB"))
    file = io.BytesIO()
    colours.save(file, "TIFF")
    np.testing.assert_array_equal(stored_values.read(file.getvalue()), wanted)
    for orientation in range(1, 9):
        values = values_of(3)
        encoded = tiff(values, planarconfig="contig", extratags=[(274, 3, 1, orientation, True)])
        turn = pillow_images._TURNS.get(orientation)
        planes = [Image.fromarray(plane) for plane in np.moveaxis(values, -1, 0)]
        shown = [plane.transpose(turn) if turn is not None else plane for plane in planes]
        np.testing.assert_array_equal(stored_values.read(encoded), np.stack(shown, axis=-1))


def test_metadata_that_pillow_cannot_write_are_no_damage():
    # The orientation 6, and a resolution that is a text.
    entries = struct.pack("<HHHIIHHI4s", 2, 274, 3, 1, 6, 282, 2, 3, b"72\0\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entries + bytes(4)
    file = io.BytesIO()
    picture = Image.fromarray(values_of(3, np.uint8))
    picture.save(file, "PNG", exif=exif)
    turned = np.asarray(picture.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(stored_values.read(file.getvalue()), turned)


def test_eight_bits_keep_their_range_where_values_are_missing(tmp_path):
    for number in range(3):
        values = values_of(4, np.uint8, number)
        values[0, 0] = 0
        options = {"planarconfig": "contig", "extrasamples": ["unspecified"] * 3}
        (tmp_path / f"{number}.tif").write_bytes(
            tiff(values, extratags=[(42113, 2, 0, "0", True)], **options)
        )
    channels, _ = measure(f"folder:{tmp_path}")
    assert channels.low == (0.0,) * 4 and channels.high == (255.0,) * 4


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("count", [1, 2, 4, 13])
def test_tiffs_are_read_however_the_bands_are_stored(count, compression, dtype):
    wanted = values_of(count, dtype)
    pixels, planes = wanted, wanted.transpose(2, 0, 1)
    if count == 1:
        pixels = planes = wanted[..., 0]
    extra = ["unspecified"] * (count - 1)
    stored = [
        tiff(pixels, planarconfig="contig", extrasamples=extra, compression=compression),
        tiff(planes, compression=compression),  # one page per band
        tiff(pixels, bigtiff=True, planarconfig="contig", extrasamples=extra),
        tiff(pixels, byteorder=">", planarconfig="contig", extrasamples=extra),
        tiff(pixels, planarconfig="contig", extrasamples=extra, tile=(16, 16)),
    ]
    if count > 1:
        stored.append(
            tiff(planes, planarconfig="separate", extrasamples=extra, compression=compression)
        )
    for encoded in stored:
        np.testing.assert_array_equal(stored_values.read(encoded, count), wanted)


def test_missing_values_of_a_geotiff_do_not_count():
    wanted = values_of(2, np.int16)
    wanted[2, 3] = -9999
    encoded = tiff(
        wanted.transpose(2, 0, 1), planarconfig="separate", extratags=[(42113, "s", 0, "-9999", 1)]
    )
    found = stored_values.read(encoded, 2)
    assert np.isnan(found[2, 3]).all() and np.isnan(found).sum() == 2
    np.testing.assert_array_equal(found[3:], wanted[3:])
    low, high = (-32768.0, -32768.0), (32767.0, 32767.0)
    assert (stored_values.scaled(found, low, high)[2, 3] == 0).all()


@pytest.mark.parametrize(
    ("count", "encoded"),
    [
        (1, by_pillow(values_of(1, np.uint8)[..., 0])),
        (1, by_pillow(values_of(1, np.uint8)[..., 0], "BMP")),
        (1, by_pillow(values_of(1, np.uint16)[..., 0])),
        (2, by_pillow(values_of(2, np.uint8), mode="LA")),
        (3, by_pillow(values_of(3, np.uint8))),
        (3, by_pillow(values_of(3, np.uint8), "WEBP", lossless=True)),
        (4, by_pillow(values_of(4, np.uint8))),
    ],
)
def test_other_formats_keep_their_values(count, encoded):
    dtype = np.uint16 if b"IHDR" in encoded[:20] and encoded[24] == 16 else np.uint8
    found = stored_values.read(encoded, count)
    np.testing.assert_array_equal(found, values_of(count, dtype))


def test_images_of_palettes_are_resolved_and_turned_upright():
    grey = Image.fromarray(values_of(1, np.uint8)[..., 0])
    file = io.BytesIO()
    grey.convert("RGB").quantize(256).save(file, "PNG")
    found = stored_values.read(file.getvalue(), 3)
    np.testing.assert_array_equal(found[..., 0], np.asarray(grey))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = by_pillow(np.asarray(grey), "WEBP", lossless=True, exif=exif)
    assert stored_values.read(turned, 3).shape == (WIDTH, HEIGHT, 3)


def forged(shape):
    """Header of a NumPy file for an array that does not follow."""
    header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (npy(values_of(3)), "the image has 3 channels instead of 4"),
        (npy(values_of(4)[..., None]), "the shape [7, 9, 4, 1]"),
        (npy(np.zeros([0, 9, 4])), "empty"),
        (npy(np.zeros([2, 2, 4], complex)), "its values have the type complex128"),
        (npy(np.zeros([2, 2, 4], bool)), "its values have the type bool"),
        (npy(np.full([2, 2, 4], None)), "Python objects"),
        (forged((10**6, 10**6, 4)), "1000000 x 1000000 pixels of 4 channels, more than"),
        (forged((8000, 8000, 4)), "8000 x 8000 pixels of 4 channels, more than"),
        (forged((3000, 3000, 4)), "damaged: ValueError: buffer"),
        (forged((-1, 4, 4)), "empty"),
        (
            tiff(np.zeros([4, 9000, 9000], np.uint8), compression="zlib"),
            "9000 x 9000 pixels of 4 channels, more than --max_megapixels=100",
        ),
        (tiff(np.zeros([2, 3, 8, 8], np.uint8)), "it has the axes "),
        (tiff(values_of(3).transpose(2, 0, 1)), "the image has 3 channels instead of 4"),
        (by_pillow(values_of(3, np.uint8)), "the image has 3 channels instead of 4"),
        (by_pillow(values_of(4, np.uint8), "JPEG", mode="CMYK"), "its colour mode CMYK"),
        (b"GIF89a", "damaged, or not a"),
        (b"", "damaged, or not a"),
    ],
)
def test_other_images_are_rejected(encoded, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        stored_values.read(encoded, 4)
    assert "\n" not in str(caught.value)


def test_colours_of_16_bits_are_rejected_in_a_png():
    # Pillow reads their upper 8 bits without saying so.
    def chunk(kind, data):
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    header = (4).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    rows = zlib.compress(bytes(4 * (1 + 4 * 6)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="PNGs with 16 bits and several channels"):
        stored_values.read(png, 3)


@pytest.mark.parametrize("kind", ["npy", "tiff", "zlib", "png"])
def test_damaged_files_are_rejected_or_read(kind):
    values = values_of(4, np.uint8)
    planes = values.transpose(2, 0, 1)
    encoded = {
        "npy": npy(values),
        "tiff": tiff(planes),
        "zlib": tiff(planes, compression="zlib"),
        "png": by_pillow(values),
    }[kind]
    rng = np.random.default_rng(0)
    for place in rng.choice(len(encoded), size=min(150, len(encoded)), replace=False):
        flipped = bytearray(encoded)
        flipped[place] ^= 1 << int(rng.integers(8))
        for damaged in (encoded[:place], bytes(flipped)):
            try:
                found = stored_values.read(damaged, 4)
            except ValueError as error:
                assert "\n" not in str(error)
            else:
                assert found.ndim == 3 and found.shape[-1] == 4


# Range


def test_values_are_scaled_to_the_range():
    low, high = (-100.0, 0.0, 1000.0), (500.0, 4095.0, 60000.0)
    values = np.random.default_rng(0).uniform(-5000, 70000, [50, 60, 3])
    values[0, 0] = np.nan, np.inf, -np.inf
    found = stored_values.scaled(values, low, high)
    exact = 255 * (values - np.array(low)) / (np.array(high) - np.array(low))
    exact[0, 0, 0] = 0
    assert found.dtype == np.uint8
    # Rounded to the nearest integer, computed in float32.
    np.testing.assert_allclose(found, np.clip(exact, 0, 255), atol=0.501)
    np.testing.assert_array_equal(found[0, 0], [0, 255, 0])


def test_eight_bits_stay_as_they_are():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(stored_values.scaled(values, (0.0,), (255.0,)), values)


TWO = Channels((0.0, 100.0), (1000.0, 600.0), (0.3, 0.4), (0.1, 0.2))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Images with two channels as NumPy files and TIFF, and other files."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for index in range(12):
        values = rng.uniform([0, 200], [1000, 400], [40, 50, 2]).astype(np.uint16)
        stored = npy(values) if index % 2 else tiff(values.transpose(2, 0, 1))
        (folder / f"{index:02d}.{'npy' if index % 2 else 'tif'}").write_bytes(stored)
    (folder / "notes.txt").write_text("none")
    return folder


def test_a_folder_lists_numpy_files_only_with_channels(tiles):
    def opened(channels):
        return open_source(
            f"folder:{tiles}", data_dir="", split="", shuffle_buffer=1, channels=channels
        )

    source = opened(TWO)
    assert (
        source.num_images == 12 and source.passed_over == "Skipped files of other types: 1 (1 .txt)"
    )
    assert source.without([source._files[0]]).channels == TWO
    assert not find_bad_images(source.epoch(0, tf.constant(0, tf.int64)), source)
    assert opened(RGB).num_images == 6
    # All are bad with another number of channels.
    three = Channels(*((each,) * 3 for each in (0.0, 9.0, 0.5, 0.1)))
    source = opened(three)
    assert len(find_bad_images(source.epoch(0, tf.constant(0, tf.int64)), source)) == 12
    with pytest.raises(
        ConfigError, match=r"dataset=scenes/128 is read as 8-bit RGB; .* require folder:"
    ):
        open_source("scenes/128", data_dir="", split="", shuffle_buffer=1, channels=TWO)


def test_decoded_images_have_the_scaled_values(tiles):
    path = tiles / "01.npy"
    expected = stored_values.scaled(np.load(path), TWO.low, TWO.high)
    decode = tf.function(lambda encoded: images.decode(encoded, channels=TWO))
    found = decode(tf.constant(path.read_bytes()))
    assert found.shape[-1] == 2 and found.dtype == tf.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(images.decode(path.read_bytes(), channels=TWO), expected)
    for function in (decode, lambda encoded: images.decode(encoded, channels=TWO)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="3 channels instead of 2"):
            function(tf.constant(npy(values_of(3))))


# Statistics


def test_statistics_are_those_of_the_images(tiles):
    channels, count = measure(f"folder:{tiles}", outliers=1.0)
    assert count == 12 and channels.count == 2
    # Uniform in [0, 1000] and [200, 400]; 12 000 pixels were sampled.
    np.testing.assert_allclose(channels.low, [10, 202], atol=4)
    np.testing.assert_allclose(channels.high, [990, 398], atol=4)
    np.testing.assert_allclose(channels.mean, [0.5, 0.5], atol=0.01)
    np.testing.assert_allclose(channels.std, [12**-0.5] * 2, atol=0.01)
    assert measure(f"folder:{tiles}", outliers=1.0)[0] == channels
    assert measure(f"folder:{tiles}", max_images=3)[1] == 3


def test_photographs_keep_their_range(tmp_path):
    for index in range(5):
        (tmp_path / f"{index}.png").write_bytes(by_pillow(values_of(3, np.uint8, index) // 2))
    channels, _ = measure(f"folder:{tmp_path}")
    assert channels.is_photograph and channels.has_colour
    every = np.stack([values_of(3, np.uint8, index) // 2 for index in range(5)]) / 255
    # A sample of 5000 of 315 pixels.
    np.testing.assert_allclose(channels.mean, every.mean((0, 1, 2)), atol=0.01)
    np.testing.assert_allclose(channels.std, every.std((0, 1, 2)), atol=0.01)


def test_the_command_writes_a_flagfile(tiles, tmp_path, capsys):
    output = tmp_path / "tiles.flags"
    arguments = [f"--images=folder:{tiles}", f"--output={output}"]
    assert main(arguments) == 0
    assert f"add --flagfile={output}" in capsys.readouterr().out
    config = command_line.parse(Config, [f"--flagfile={output}", f"--dataset=folder:{tiles}"])
    assert config.image_channels == measure(f"folder:{tiles}")[0]
    assert main(arguments) == 2 and "already exists" in capsys.readouterr().err


def test_images_that_cannot_be_measured_are_named(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    with pytest.raises(RunError, match=r"images=folder:.*mixed contains no images"):
        measure(f"folder:{folder}")
    for index in range(3):
        (folder / f"{index}.npy").write_bytes(npy(values_of(2 + (index == 1))))
    for seed in range(4):
        with pytest.raises(
            RunError,
            match=r"images=.* contains images with another number of channels than most, which have 2: .*mixed/1\.npy; .*=skip$",
        ):
            measure(f"folder:{folder}", seed=seed)
    for index in range(3):
        constant = values_of(2)
        constant[..., 1] = 7
        (folder / f"{index}.npy").write_bytes(npy(constant))
    with pytest.raises(RunError, match="is almost constant in channel 2"):
        measure(f"folder:{folder}")


def test_photographs_of_all_modes_are_measured_as_rgb(tmp_path, capsys):
    # As many channels as most images have, whichever image is the first of the sample.
    rgb = [values_of(3, np.uint8, seed) for seed in range(5)]
    for index, pixels in enumerate(rgb):
        (tmp_path / f"{index}.png").write_bytes(by_pillow(pixels))
    others = [Image.fromarray(values_of(3, np.uint8, seed)) for seed in range(5, 10)]
    modes = ("L", "RGBA", "P", "LA", "1")
    for mode, image in zip(modes, others, strict=True):
        image.convert(mode).save(tmp_path / f"mode_{mode}.png")
    others[0].convert("CMYK").save(tmp_path / "CMYK.tif")
    pixels = [
        np.asarray(image.convert(mode).convert("RGB"))
        for mode, image in zip(modes, others, strict=True)
    ]
    pixels.append(np.asarray(others[0].convert("CMYK").convert("RGB")))
    every = np.stack([*rgb, *pixels]) / 255
    for seed in range(6):
        channels, count = measure(f"folder:{tmp_path}", seed=seed)
        assert count == 11 and channels.is_photograph
        # A sample of 11 000 of 693 pixels.
        np.testing.assert_allclose(channels.mean, every.mean((0, 1, 2)), atol=0.015)
        np.testing.assert_allclose(channels.std, every.std((0, 1, 2)), atol=0.015)
    assert "Skipped" not in capsys.readouterr().out


def test_images_with_other_channels_are_not_called_unreadable(tmp_path, capsys):
    for index in range(4):
        (tmp_path / f"{index}.png").write_bytes(by_pillow(values_of(3, np.uint8, index)))
    (tmp_path / "five.npy").write_bytes(npy(values_of(5)))
    (tmp_path / "damaged.png").write_bytes(by_pillow(values_of(3, np.uint8))[:-60])
    for seed in range(4):
        channels, count = measure(f"folder:{tmp_path}", seed=seed, skip_bad=True)
        assert count == 4 and channels.is_photograph
        lines = capsys.readouterr().out.splitlines()
        assert f"Skipped unreadable images: 1 of 6 ({tmp_path}/damaged.png)" in lines
        line = (
            f"Skipped images with another number of channels than 3: 1 of 6 ({tmp_path}/five.npy)"
        )
        assert line in lines
    with pytest.raises(RunError, match=r"cannot be read: .*damaged\.png: damaged: .*=skip$"):
        measure(f"folder:{tmp_path}")


def test_other_images_than_photographs_keep_their_number_of_channels(tmp_path, capsys):
    # RGB is not converted to grey, and 16 bits are not reduced to 8.
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(by_pillow(values_of(1, np.uint16, index)[..., 0]))
    (tmp_path / "colour.png").write_bytes(by_pillow(values_of(3, np.uint8)))
    channels, count = measure(f"folder:{tmp_path}", skip_bad=True)
    assert (channels.count, count) == (1, 3) and channels.high[0] > 255
    assert "another number of channels than 1: 1 of 4 (" in capsys.readouterr().out


def test_the_channels_of_an_array_are_the_axis_with_their_number(tmp_path):
    for index in range(3):
        (tmp_path / f"{index}.npy").write_bytes(npy(values_of(5, seed=index)))
    # Three channels of 9 x 5 pixels, or five of 3 x 9.
    (tmp_path / "unclear.npy").write_bytes(npy(values_of(5)[:3]))
    channels, count = measure(f"folder:{tmp_path}")
    assert (channels.count, count) == (5, 4)


# Augmentation


def planes(array):
    return tf.transpose(tf.constant(array, tf.float32), [0, 3, 1, 2])


@pytest.mark.parametrize(
    ("kind", "enhance"), [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast)]
)
def test_blends_of_single_channels_equal_those_of_pillow(kind, enhance):
    grey = np.random.default_rng(0).integers(0, 256, [3, 16, 16, 1], np.uint8)
    found = photometric._blend(planes(grey), tf.fill([3], kind), tf.fill([3], 0.7))
    for image, blended in zip(grey[..., 0], found[:, 0], strict=True):
        expected = np.asarray(enhance(Image.fromarray(image)).enhance(0.7)).astype(int)
        # Pillow truncates, and rounds the mean grey.
        assert abs(blended.numpy() - expected).max() <= 1.3


@pytest.mark.parametrize("policy", ["byol", "simclr", "inst_disc"])
def test_each_channel_is_augmented_as_if_it_were_alone(policy):
    pixels = np.random.default_rng(0).integers(0, 256, [6, 16, 16, 5], np.uint8)
    key = randomness.image_key(3, 0, tf.range(6))
    augment = photometric._augment.python_function
    for view in (1, 2):
        together = augment(tf.constant(pixels), key, policy, view, (0.5,) * 5, (0.2,) * 5)
        assert np.any(abs(together * 0.2 + 0.5 - pixels / 255) > 0.01)
        for channel in range(5):
            alone = tf.constant(pixels[..., channel : channel + 1])
            expected = augment(alone, key, policy, view, (0.5,), (0.2,))
            np.testing.assert_allclose(together[..., channel : channel + 1], expected, atol=1e-4)


def test_policies_of_colour_need_colour():
    for policy in ("simclr_grey", "rand_augment"):
        with pytest.raises(ValueError, match="needs images with three channels"):
            photometric.Photometric(policy, TWO)


def test_views_are_normalised_with_the_statistics_of_the_channels():
    pixels = np.random.default_rng(0).integers(0, 256, [2, 16, 16, 2], np.uint8)
    key = randomness.image_key(0, 0, tf.range(2))
    found = photometric.Photometric("none", TWO)(tf.constant(pixels), key, 1)
    np.testing.assert_allclose(found, (pixels / 255 - TWO.mean) / TWO.std, atol=1e-5)
    np.testing.assert_allclose(photometric.denormalize(found, TWO), pixels / 255, atol=1e-6)


@pytest.mark.parametrize(("count", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (5, [0, 1, 2])])
def test_figures_show_three_channels(count, shown):
    pixels = values_of(count)
    np.testing.assert_array_equal(as_rgb(pixels), pixels[..., shown])
