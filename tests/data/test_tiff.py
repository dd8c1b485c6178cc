"""Kinds of TIFF whose pixels Pillow reads in another way than they are meant, as photographs and as stored values."""

import io

import numpy as np
import pytest
from PIL import Image

from pixpro_tf.data import channel_statistics, pillow_images, stored_values
from pixpro_tf.errors import UserError

tifffile = pytest.importorskip("tifffile")


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def ramp(shape, high):
    return np.linspace(0, high, int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("rows", [None, 4])
def test_planes_of_16_bits_are_decoded_or_refused(rows):
    """Pillow takes each byte of such a plane for a pixel, unless it is compressed."""
    values = ramp([3, 16, 20], 65535).astype(np.uint16)
    options = {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": rows}
    with pytest.raises(ValueError, match="stored as planes without compression; save it"):
        pillow_images.decode(tiff(values, **options))
    wanted = (values >> 8).astype(np.uint8).transpose(1, 2, 0)
    side_by_side = tiff(values.transpose(1, 2, 0), photometric="rgb")
    np.testing.assert_array_equal(pillow_images.decode(side_by_side), wanted)
    of_bytes = tiff((values >> 8).astype(np.uint8), **options)
    np.testing.assert_array_equal(pillow_images.decode(of_bytes), wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_may_be_zero(dtype):
    high = np.iinfo(dtype).max
    values = ramp([16, 20], high).astype(dtype)
    black, white = (
        tiff(stored, photometric=name)
        for stored, name in ((values, "minisblack"), (high - values, "miniswhite"))
    )
    np.testing.assert_array_equal(pillow_images.decode(black), pillow_images.decode(white))
    np.testing.assert_array_equal(stored_values.read(black), stored_values.read(white))
    assert stored_values.read(white).dtype == dtype


def twelve_bits(values):
    """TIFF of one strip with two pixels in three bytes, as cameras write it."""
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    content = np.stack([packed >> 16, packed >> 8, packed], axis=1).astype(np.uint8).tobytes()
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1)]
    entries += [(278, height), (279, len(content))]
    fields = b"".join(
        tag.to_bytes(2, "little")
        + b"\4\0"
        + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, value in entries
    )
    place = 8 + len(content)
    header = b"II*\0" + place.to_bytes(4, "little")
    return header + content + len(entries).to_bytes(2, "little") + fields + bytes(4)


def test_twelve_bits_are_as_bright_as_sixteen():
    values = ramp([16, 20], 4095).astype(np.uint16)
    found = pillow_images.decode(twelve_bits(values))
    np.testing.assert_array_equal(found[..., 0], values >> 4)


def test_three_channels_that_training_would_read_otherwise_are_not_measured(tmp_path):
    """Training decodes three channels of 8 bits as RGB: of bands in pages, it would see the first one."""
    generator = np.random.default_rng(0)
    for number in range(4):
        pixels = generator.integers(0, 256, [24, 32, 3], np.uint8)
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels, photometric="rgb")
    found, count = channel_statistics.measure(f"folder:{tmp_path}")
    assert found.is_photograph and count == 4
    pages = generator.integers(0, 256, [3, 24, 32], np.uint8)
    tifffile.imwrite(tmp_path / "pages.tif", pages, photometric="minisblack")
    with pytest.raises(UserError, match=r"pages\.tif.* are not stored as RGB"):
        channel_statistics.measure(f"folder:{tmp_path}")
    _, count = channel_statistics.measure(f"folder:{tmp_path}", skip_bad=True)
    assert count == 4


def test_images_of_8_and_of_16_bits_have_no_common_range(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, [4, 24, 32])
    for number, each in enumerate(grey):
        Image.fromarray(each.astype(np.uint8)).save(tmp_path / f"{number}.png")
    Image.fromarray((grey[0] * 257).astype(np.uint16)).save(tmp_path / "x-ray.png")
    with pytest.raises(UserError, match=r"\(4 and 1 of 5\).*convert the fewer ones: .*x-ray\.png"):
        channel_statistics.measure(f"folder:{tmp_path}")
    (tmp_path / "x-ray.png").unlink()
    found, _ = channel_statistics.measure(f"folder:{tmp_path}")
    assert (found.low, found.high) == ((0.0,), (255.0,))
