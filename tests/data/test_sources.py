"""Sources: which files and shards count, their order, how images are decoded, and errors of missing datasets."""

import errno
import io
import os
import re
import shlex
import shutil
import struct
import subprocess
import tarfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf
import tensorflow_datasets as tfds

from pixpro_tf.config import Config
from pixpro_tf.data import image_headers, pillow_images, pipeline, sources
from pixpro_tf.data.images import decode
from pixpro_tf.data.sources import find_bad_images, tfds_datasets
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.training import inputs
from tests.support import warm


def epoch_of(number):
    return tf.constant(number, tf.int64)


def names_of(source, seed=0, epoch=0):
    return [record["name"].numpy() for record in source.epoch(seed, epoch_of(epoch))]


def picture(size=(24, 16), seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encode(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def write(path, data=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(encode(picture(), "PNG") if data is None else data)


def listed(folder):
    """Sorted names of the images, relative to the folder."""
    prefix = os.fsencode(str(folder)) + b"/"
    return sorted(name.removeprefix(prefix) for name in names_of(FolderSource(str(folder))))


# Folders: which files


def test_folders_are_searched_at_any_depth_for_suffixes_in_any_case(tmp_path):
    for name in (
        "a.jpg",
        "b/c/d/e.JPEG",
        "b/f.Png",
        "g.GIF",
        "h.bmp",
        "b/i.txt",
        "jpg",
        "k.jpg.txt",
    ):
        write(tmp_path / name)
    expected = [b"a.jpg", b"b/c/d/e.JPEG", b"b/f.Png", b"g.GIF", b"h.bmp"]
    assert listed(tmp_path) == expected


def test_hidden_files_and_folders_are_skipped(tmp_path):
    for name in (".a.jpg", "._b.jpg", ".thumbnails/c.jpg", "d/.cache/e/f.jpg", "d/g.jpg"):
        write(tmp_path / name)
    assert listed(tmp_path) == [b"d/g.jpg"]


def test_the_folder_itself_may_be_hidden(tmp_path):
    write(tmp_path / ".images" / "a.jpg")
    assert listed(tmp_path / ".images") == [b"a.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        b"with spaces.jpg",
        b"new\nline.jpg",
        b"quotes'\".jpg",
        "Größe 画像.jpg".encode(),
        b"latin-1 \xe4\xff.jpg",
        b"star*[0]?{a}.jpg",
        b"percent%20 $HOME `x`.jpg",
        b"C:\\a.jpg",
        b"ftp:\\a#b.jpg",
    ],
)
def test_odd_names_are_listed_and_read(tmp_path, name):
    path = os.path.join(os.fsencode(str(tmp_path)), name)
    try:
        write(path)
    except OSError:
        pytest.skip("this file system has no such names")
    source = FolderSource(str(tmp_path))
    (record,) = source.epoch(0, epoch_of(0))
    assert record["name"].numpy() == path
    np.testing.assert_array_equal(decode(source.encoded(record)), picture())


def test_links_to_files_and_folders_are_followed(tmp_path):
    write(tmp_path / "elsewhere" / "a.jpg")
    write(tmp_path / "elsewhere" / "deep" / "b.jpg")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "file.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (folder / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    (folder / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    assert listed(folder) == [b"file.jpg", b"link/b.jpg"]
    assert (
        FolderSource(str(folder)).passed_over
        == "Skipped files of other types: 1 (1 .jpg (broken link))"
    )


def test_link_loops_end_and_each_folder_counts_once(tmp_path):
    write(tmp_path / "a" / "x.jpg")
    write(tmp_path / "y.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert listed(tmp_path) == [b"a/x.jpg", b"y.jpg"]


def test_files_in_a_folder_without_permission_are_named(tmp_path, monkeypatch):
    """Their names can be listed in a folder of mode 444, and nothing else."""
    write(tmp_path / "a.jpg")
    write(tmp_path / "locked" / "b.jpg")

    def stat(path):
        if "locked" in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return os.lstat(path)

    monkeypatch.setattr("pixpro_tf.data.sources.folders.os.stat", stat)
    with pytest.raises(RunError) as error:
        FolderSource(str(tmp_path))
    reason = f"cannot be read: {tmp_path}/locked/b.jpg: Permission denied"
    assert error.value.line == f"--dataset=folder:{tmp_path} {reason}"


def test_a_folder_named_like_an_image_is_not_an_image(tmp_path):
    write(tmp_path / "folder.jpg" / "a.png")
    assert listed(tmp_path) == [b"folder.jpg/a.png"]


@pytest.mark.parametrize("kind", ["empty", "missing", "file"])
def test_a_folder_without_images_is_rejected_in_one_line(tmp_path, kind):
    path = tmp_path / kind
    if kind == "empty":
        write(path / "notes.txt", b"")
    elif kind == "file":
        write(path)
    said = {
        "empty": "contains no images",
        "missing": "No such file or directory",
        "file": "Not a directory",
    }
    with pytest.raises(RunError, match=said[kind]) as error:
        sources.open_source(f"folder:{path}", data_dir="", split="", shuffle_buffer=1)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_an_unreadable_folder_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.jpg")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    # The user who runs the tests may have permission to read everything.
    monkeypatch.setattr(os, "scandir", refusing)
    message = f"cannot be read: {tmp_path}/locked: Permission denied$"
    with pytest.raises(RunError, match=message):
        FolderSource(str(tmp_path))


def test_files_that_are_not_images_are_counted_by_suffix(tmp_path):
    for name in ("a.jpg", "b.heic", "c/d.HEIC", "e.cr2", "README", ".hidden", ".git/config"):
        write(tmp_path / name)
    said = "Skipped files of other types: 4 (2 .heic, 1 .cr2, 1 without a suffix)"
    counted = FolderSource(str(tmp_path)).passed_over
    assert sorted(counted.split(": ")[1].split(", ")) == sorted(said.split(": ")[1].split(", "))
    assert counted.startswith("Skipped files of other types: 4 (2 .heic")
    (tmp_path / "only").mkdir()
    write(tmp_path / "only" / "a.jpg")
    assert FolderSource(str(tmp_path / "only")).passed_over == ""


def test_other_file_systems_of_tensorflow_are_listed():
    for name in ("a.jpg", "b/c.PNG", ".d.jpg", ".e/f.jpg", "g.txt"):
        path = f"ram://listing/{name}"
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(encode(picture(), "PNG"))
    source = FolderSource("ram://listing")
    assert sorted(names_of(source)) == [b"ram://listing/a.jpg", b"ram://listing/b/c.PNG"]
    assert not sources.find_bad_images(source.epoch(0, epoch_of(0)), source)


# Folders: order


def numbered(count):
    return FolderSource("somewhere", [b"%04d" % index for index in range(count)])


def test_the_order_does_not_depend_on_the_order_of_directory_entries(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c/d.jpg", "e/f.jpg", "e/g.jpg"):
        write(tmp_path / name)
    expected = names_of(FolderSource(str(tmp_path)))
    walk = os.walk

    def reversed_walk(*arguments, **options):
        for folder, subfolders, files in walk(*arguments, **options):
            subfolders.reverse()
            yield folder, subfolders, files[::-1]

    monkeypatch.setattr(os, "walk", reversed_walk)
    assert names_of(FolderSource(str(tmp_path))) == expected


@pytest.mark.parametrize("count", [1, 2, 7, 64, 65])
def test_each_image_occurs_once_per_epoch(count):
    for epoch in range(3):
        assert sorted(names_of(numbered(count), epoch=epoch)) == [
            b"%04d" % index for index in range(count)
        ]


def test_orders_differ_between_epochs_and_seeds_and_are_repeatable():
    orders = [
        names_of(numbered(50), seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert names_of(numbered(50), 1, 1) == orders[3]


def test_the_order_does_not_depend_on_the_global_seed():
    expected = names_of(numbered(50))
    tf.random.set_seed(123)
    assert names_of(numbered(50)) == expected


def test_orders_are_as_random_as_permutations():
    count, epochs = 400, 6
    orders = np.array(
        [[int(name) for name in names_of(numbered(count), 0, e)] for e in range(epochs)]
    )
    identity = np.arange(count)
    # The bound is five standard deviations of the rank correlation of independent orders.
    correlation = np.corrcoef(np.concatenate([identity[None], orders])) - np.eye(epochs + 1)
    assert abs(correlation).max() < 5 / np.sqrt(count - 1)
    # About two pairs of neighbours in the list stay neighbours in an order (a Poisson number with mean 2).
    together = (abs(np.diff(orders, axis=1)) == 1).sum(axis=1)
    assert together.max() <= 12


def test_images_left_out_stay_left_out():
    source = numbered(10).without([b"0003", b"not there"]).without([b"0007", b"0003"])
    assert source.num_images == 8
    assert sorted(names_of(source)) == [
        b"%04d" % index for index in range(10) if index not in (3, 7)
    ]


def test_a_source_without_remaining_images_is_rejected():
    with pytest.raises(RunError):
        numbered(1).without([b"0000"])


# Decoding, compared with Pillow


def rgb(image):
    return np.asarray(image.convert("RGB")).astype(int)


def decoded(data):
    image = decode(tf.constant(data))
    assert image.dtype == tf.uint8
    return image.numpy().astype(int)


LOSSLESS = {
    "PNG": (picture(), "PNG", {}),
    "BMP": (picture(), "BMP", {}),
    "palette BMP": (picture().convert("P", palette=Image.Palette.ADAPTIVE), "BMP", {}),
    "palette BMP of few colours": (picture((13, 5)).quantize(7), "BMP", {}),
    "grey BMP": (picture((5, 3)).convert("L"), "BMP", {}),
    "grey PNG": (picture().convert("L"), "PNG", {}),
    "grey with alpha": (picture().convert("LA"), "PNG", {}),
    "palette": (picture().convert("P", palette=Image.Palette.ADAPTIVE), "PNG", {}),
    "palette of few bits": (picture().quantize(4), "PNG", {"bits": 2}),
    "black and white": (picture().convert("1"), "PNG", {}),
    "GIF": (picture().quantize(16), "GIF", {}),
    "single pixel": (picture((1, 1)), "PNG", {}),
    "WebP": (picture(), "WEBP", {"lossless": True}),
    "lossy WebP": (picture(), "WEBP", {"quality": 80}),
    "animated WebP": (
        picture(),
        "WEBP",
        {"save_all": True, "append_images": [picture(seed=3)], "lossless": True},
    ),
    "WebP with alpha": (picture().convert("RGBA"), "WEBP", {"lossless": True}),
    "TIFF": (picture(), "TIFF", {}),
    "TIFF with LZW": (picture(), "TIFF", {"compression": "tiff_lzw"}),
    "TIFF with JPEG": (picture(), "TIFF", {"compression": "jpeg"}),
    "TIFF of several pages": (
        picture(),
        "TIFF",
        {"save_all": True, "append_images": [picture(seed=3)]},
    ),
    "big TIFF": (picture(), "TIFF", {"big_tiff": True}),
    "grey TIFF": (picture().convert("L"), "TIFF", {}),
    "palette TIFF": (picture().convert("P", palette=Image.Palette.ADAPTIVE), "TIFF", {}),
    "black and white TIFF": (picture().convert("1"), "TIFF", {"compression": "group4"}),
    "TIFF with alpha": (picture().convert("RGBA"), "TIFF", {}),
    "CMYK TIFF": (picture().convert("CMYK"), "TIFF", {}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_images_equal_those_of_pillow(name):
    image, file_format, options = LOSSLESS[name]
    data = encode(image, file_format, **options)
    np.testing.assert_array_equal(decoded(data), rgb(Image.open(io.BytesIO(data))))


def with_size(file_format, width, height):
    """Returns a small file whose header declares another size."""
    data = bytearray(encode(picture((8, 8)), file_format))
    if file_format == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif file_format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif file_format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    else:
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


# A negative height of a BMP means that its rows are stored from top to bottom.
@pytest.mark.parametrize(
    ("file_format", "height"),
    [("JPEG", 20_000), ("PNG", 20_000), ("GIF", 20_000), ("BMP", 20_000), ("BMP", -20_000)],
)
def test_the_declared_size_is_checked_before_anything_is_decoded(file_format, height):
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        decode(tf.constant(with_size(file_format, 23_000, height)))
    said = "the image has 23000 x 20000 pixels, more than --max_megapixels=100 allows"
    assert said in str(raised.value)


def test_an_image_at_the_pixel_limit_is_decoded():
    # A file with a single colour has only a hundred kilobytes.
    data = encode(Image.new("L", (10_000, 10_000)), "PNG")
    assert decode(tf.constant(data)).shape == (10_000, 10_000, 3)


def test_a_run_length_encoded_bmp_is_decoded():
    plain = encode(Image.new("L", (4, 2), 9), "BMP")
    # Each row is 4 pixels of the value 9 and its end; after the last one, the end of the image.
    rows = bytes([4, 9, 0, 0, 4, 9, 0, 0, 0, 1])
    packed = bytearray(plain[: int.from_bytes(plain[10:14], "little")] + rows)
    packed[30], packed[34:38] = 1, len(rows).to_bytes(4, "little")
    np.testing.assert_array_equal(decoded(bytes(packed)), np.full([2, 4, 3], 9))


@pytest.mark.parametrize("file_format", ["WEBP", "TIFF", "BMP"])
def test_other_processes_reject_what_only_pillow_decodes(file_format):
    data = encode(picture().quantize(7), file_format)
    assert pillow_images.is_one(data)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not supported by data services"):
        decode(tf.constant(data), pillow=False)
    for plain in (encode(picture(), "BMP"), encode(picture(), "PNG"), b"", b"BM"[:1]):
        assert not pillow_images.is_one(plain)


def test_alpha_is_dropped_without_blending():
    image = picture().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    np.testing.assert_array_equal(decoded(encode(image, "PNG")), np.asarray(image)[..., :3])


def test_sixteen_bits_are_reduced_to_the_upper_eight():
    values = np.random.default_rng(0).integers(0, 2**16, (9, 7), np.uint16)
    data = encode(Image.fromarray(values), "PNG")
    assert Image.open(io.BytesIO(data)).mode.startswith("I")
    np.testing.assert_array_equal(decoded(data), np.repeat((values >> 8)[..., None], 3, axis=-1))


# Both use libjpeg-turbo with the accurate transform; colour conversion and chroma upsampling may round differently.
@pytest.mark.parametrize(
    ("mode", "options", "tolerance"),
    [
        pytest.param("RGB", {"quality": 90}, 2, id="baseline"),
        pytest.param("RGB", {"quality": 90, "subsampling": 0}, 2, id="full chroma"),
        pytest.param("RGB", {"quality": 90, "progressive": True}, 2, id="progressive"),
        pytest.param("L", {"quality": 90}, 1, id="grey"),
        # Both multiply the inverted CMYK values, with different roundings.
        pytest.param("CMYK", {"quality": 95}, 3, id="CMYK"),
    ],
)
def test_jpeg_images_equal_those_of_pillow(mode, options, tolerance):
    data = encode(picture((40, 30)).convert(mode), "JPEG", **options)
    assert abs(decoded(data) - rgb(Image.open(io.BytesIO(data)))).max() <= tolerance


@pytest.mark.parametrize("file_format", ["GIF", "PNG"])
def test_the_first_frame_of_an_animation_is_decoded(file_format):
    first, second = picture(seed=1).quantize(32), picture(seed=2).quantize(32)
    data = encode(first, file_format, save_all=True, append_images=[second], duration=100)
    with Image.open(io.BytesIO(data)) as animation:
        assert animation.n_frames == 2
        expected = rgb(animation)
    np.testing.assert_array_equal(decoded(data), expected)


def with_orientation(orientation, file_format="JPEG", **others):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for tag, value in others.items():
        exif[int(tag.removeprefix("tag_"))] = value
    options = {"quality": 95} if file_format == "JPEG" else {"lossless": True}
    return encode(
        picture((24, 16)), file_format, exif=exif, **({} if file_format == "TIFF" else options)
    )


def test_images_are_turned_as_their_orientation_says():
    for orientation in range(10):
        for file_format in ("JPEG", "WEBP", "TIFF"):
            data = with_orientation(orientation, file_format)
            expected = rgb(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
            found = decoded(data)
            assert found.shape == expected.shape, (orientation, file_format)
            assert np.abs(found - expected).max() <= 1, (orientation, file_format)


def exif_data(order, entries, place=8):
    """Returns EXIF data with a directory of `(tag, type, count, value)` in the given order of bytes, "<" or ">"."""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, place)
    start += bytes(place - 8) + struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", value)
        start += struct.pack(f"{order}HHI", tag, kind, count) + packed
    return start + bytes(4)


def segment(kind, data):
    return b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data


ORIENTATION = (0x0112, 3, 1, 8)
OTHERS = [(0x0100 + place, 4, 1, place) for place in range(40)]
# JPEG has its EXIF data in one of the first segments, in either order of bytes, and anything may be in the others.
SEGMENTS = {
    "little-endian": ([segment(0xE1, b"Exif\0\0" + exif_data("<", [ORIENTATION]))], 8),
    "big-endian": ([segment(0xE1, b"Exif\0\0" + exif_data(">", [ORIENTATION]))], 8),
    "after other segments": (
        [
            segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
            segment(0xE1, b"Exif\0\0" + exif_data(">", [ORIENTATION])),
        ],
        8,
    ),
    "after a comment": (
        [
            segment(0xFE, b"made by hand"),
            segment(0xE1, b"Exif\0\0" + exif_data("<", [ORIENTATION])),
        ],
        8,
    ),
    "after many segments": (
        [segment(0xE0 + number % 16 or 1, b"any" * 10) for number in range(2, 16)]
        + [segment(0xE1, b"Exif\0\0" + exif_data("<", [ORIENTATION]))],
        8,
    ),
    "after long segments": (
        [
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x/>" * 5000),
            segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)),
            segment(0xE1, b"Exif\0\0" + exif_data("<", [ORIENTATION])),
        ],
        8,
    ),
    "after other tags": (
        [segment(0xE1, b"Exif\0\0" + exif_data("<", [*OTHERS[:18], ORIENTATION, *OTHERS[19:]]))],
        8,
    ),
    "in a directory further on": (
        [segment(0xE1, b"Exif\0\0" + exif_data("<", [ORIENTATION], place=30))],
        8,
    ),
    "no such tag": ([segment(0xE1, b"Exif\0\0" + exif_data("<", OTHERS[:3]))], 1),
    "unknown value": (
        [segment(0xE1, b"Exif\0\0" + exif_data("<", [(0x0112, 3, 1, 77)]))],
        1,
    ),
    "cut off": ([segment(0xE1, b"Exif\0\0II")], 1),
    "a directory beyond the end": (
        [segment(0xE1, b"Exif\0\0II" + struct.pack("<HI", 42, 2**31))],
        1,
    ),
    "an entry beyond the count": (
        [
            segment(
                0xE1,
                b"Exif\0\0" + exif_data("<", [OTHERS[0], ORIENTATION]).replace(b"\2\0", b"\1\0", 1),
            )
        ],
        1,
    ),
    "not EXIF": ([segment(0xE1, b"Exit\0\0" + exif_data("<", [ORIENTATION]))], 1),
    "none": ([], 1),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_the_orientation_is_found_in_any_segment(name):
    segments, expected = SEGMENTS[name]
    plain = encode(picture((24, 16)), "JPEG")
    data = plain[:2] + b"".join(segments) + plain[2:]
    assert int(image_headers.jpeg_orientation(tf.constant(data))) == expected
    with Image.open(io.BytesIO(data)) as image:
        assert expected in (1, image.getexif().get(0x0112))
    assert decoded(data).shape == ((24, 16, 3) if expected == 8 else (16, 24, 3))


def test_any_bytes_have_an_orientation():
    rng = np.random.default_rng(0)
    found = tf.function(
        image_headers.jpeg_orientation, input_signature=[tf.TensorSpec([], tf.string)]
    )
    plain = with_orientation(6)
    for _ in range(300):
        data = bytearray(plain[: rng.integers(0, 120)])
        for place in rng.integers(0, max(len(data), 1), 3) if data else []:
            data[place] = rng.integers(0, 256)
        assert 1 <= int(found(tf.constant(bytes(data)))) <= 8


def test_metadata_that_end_too_early_are_damage():
    # A BigTIFF header without the offset that it announces.
    file = io.BytesIO()
    Image.new("RGB", (24, 16)).save(file, "WEBP", exif=b"Exif\0\0II+\0\x08\0\0\0")
    with (
        pytest.raises(ValueError, match=r"^damaged: "),
        pillow_images.opened(file.getvalue()) as image,
    ):
        pillow_images.orientation_of(image)


def test_upper_bits_of_16_bit_images_are_used():
    values = np.random.default_rng(0).integers(0, 2**16, [16, 24]).astype(np.uint16)
    image = Image.fromarray(values)
    for file_format in ("PNG", "TIFF"):
        found = decoded(encode(image, file_format))
        np.testing.assert_array_equal(found, np.stack([values >> 8] * 3, axis=-1))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_tiffs_with_pixels_of_32_bits_are_rejected(kind):
    data = encode(Image.fromarray(np.ones([4, 4], kind)), "TIFF")
    with pytest.raises(tf.errors.InvalidArgumentError, match="its pixels have 32 bits; save"):
        decode(tf.constant(data))


def test_large_and_damaged_images_of_pillow_are_rejected():
    data = bytearray(encode(picture((8, 8)), "TIFF"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="damaged"):
        decode(tf.constant(bytes(data[:50])))
    webp = encode(picture((64, 64)), "WEBP")
    with pytest.raises(tf.errors.InvalidArgumentError, match="damaged"):
        decode(tf.constant(webp[: len(webp) // 2]))
    large = encode(Image.new("L", (10_001, 10_000)), "TIFF", compression="tiff_lzw")
    with pytest.raises(tf.errors.InvalidArgumentError, match="has 10001 x 10000 pixels, more than"):
        decode(tf.constant(large))


def test_folders_and_archives_know_whether_pillow_is_needed(tmp_path):
    write(tmp_path / "a.jpg", encode(picture(), "JPEG"))
    assert not FolderSource(str(tmp_path)).needs_pillow
    write(tmp_path / "b.TIFF", encode(picture(), "TIFF"))
    source = FolderSource(str(tmp_path))
    assert source.needs_pillow and source.num_images == 2
    assert not source.without([os.fsencode(tmp_path / "b.TIFF")]).needs_pillow
    assert find_bad_images(source.epoch(0, tf.constant(0, tf.int64)), source) == []


def test_views_are_made_of_images_of_all_formats(tmp_path):
    for place, file_format in enumerate(("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")):
        suffix = {"JPEG": "jfif", "TIFF": "tif"}.get(file_format, file_format.lower())
        write(tmp_path / f"{place}.{suffix}", encode(picture((40, 30)), file_format))
    source = FolderSource(str(tmp_path))
    assert source.num_images == 6 and source.passed_over == ""
    dataset = pipeline.training_dataset(
        source, batch_size=6, image_size=16, min_crop_area=0.5, seed=0
    )
    (batch,) = dataset.take(1)
    assert batch["view_1"].shape == [6, 16, 16, 3]


def test_bad_images_are_found_by_name(tmp_path):
    jpeg = encode(picture((64, 64)), "JPEG")
    png = encode(picture((64, 64)), "PNG")
    bad = {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "text.jpg": b"this is no image\n",
        "empty.png": b"",
        "truncated.png": png[: len(png) // 2],
        "page.jpeg": b"<!DOCTYPE html><html></html>",
        "magic.jpg": jpeg[:3],
        "bad \udcff.jpg": b"no image either",
    }
    for name, data in bad.items():
        write(os.fsencode(str(tmp_path / name)), data)
    # The suffix does not determine the format.
    for name, data in {"good.jpg": jpeg, "png.jpg": png, "jpeg.png": jpeg}.items():
        write(tmp_path / name, data)
    source = FolderSource(str(tmp_path))
    found = sources.find_bad_images(source.epoch(0, epoch_of(0)), source)
    assert found == sorted(os.fsencode(str(tmp_path / name)) for name in bad)
    rest = source.without(found)
    assert rest.num_images == 3
    assert sources.find_bad_images(rest.epoch(0, epoch_of(0)), rest) == []


# TFDS

COUNTS = {
    "2001": {"train": 50, "validation": 7, "test": 5},
    "2002": {"train": 30, "validation": 5, "test": 5},
}


class TinyConfig(tfds.core.BuilderConfig):
    pass


class PixproTiny(tfds.core.GeneratorBasedBuilder):
    """Dataset of grey images; the level encodes the index of the image."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [TinyConfig(name=name) for name in COUNTS]

    def _info(self):
        features = {"image": tfds.features.Image(encoding_format="png"), "label": tf.int64}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        counts = COUNTS[self.builder_config.name]
        return {split: self._generate_examples(count) for split, count in counts.items()}

    def _generate_examples(self, count):
        for index in range(count):
            level = index + (100 if self.builder_config.name == "2002" else 0)
            yield index, {"image": np.full([4, 5, 3], level, np.uint8), "label": index}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    for name in COUNTS:
        builder = PixproTiny(data_dir=folder, config=name)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(num_shards=5, verify_ssl=True)
        )
        assert builder.info.splits["train"].num_shards == 5
    return folder


def open_tiny(data_dir, name="pixpro_tiny/2001", split="", shuffle_buffer=1000):
    return sources.open_source(name, data_dir=data_dir, split=split, shuffle_buffer=shuffle_buffer)


def level_of(source, record):
    """Returns the grey level of a record, which identifies the image."""
    return int(decode(source.encoded(record))[0, 0, 0])


def levels(source, seed=0, epoch=0):
    """Returns the grey levels of an epoch, which identify the images."""
    return [level_of(source, record) for record in source.epoch(seed, epoch_of(epoch))]


@pytest.mark.slow
@pytest.mark.parametrize("shuffle_buffer", [1, 10, 1000])
def test_each_image_of_a_tfds_dataset_occurs_once_per_epoch(data_dir, shuffle_buffer):
    source = open_tiny(data_dir, shuffle_buffer=shuffle_buffer)
    assert source.num_images == 50
    orders = [levels(source, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    tf.random.set_seed(99)
    assert levels(open_tiny(data_dir, shuffle_buffer=shuffle_buffer)) == orders[0]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 3])
def test_a_shard_with_too_few_records_ends_an_epoch(data_dir, tmp_path, kept):
    """An empty shard would be read again and again, forever, if this were not checked."""
    shutil.copytree(f"{data_dir}/pixpro_tiny", tmp_path / "pixpro_tiny")
    (shard,) = (tmp_path / "pixpro_tiny" / "2001" / "1.0.0").glob("*train.tfrecord-00002-of-*")
    records = list(tf.data.TFRecordDataset(str(shard)).take(kept).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(shard)) as file:
        for record in records:
            file.write(record)
    source = open_tiny(str(tmp_path))
    assert source.short_shards() == [str(shard)]
    with pytest.raises(tf.errors.FailedPreconditionError) as raised:
        levels(source)
    config = Config(dataset="pixpro_tiny/2001")
    error = inputs.missing_records(config, source, raised.value)
    assert isinstance(error, RunError)
    assert re.search(r"is damaged, .*: records are missing in .*-00002-of", str(error))


def test_names_of_a_tfds_dataset_are_unique_and_the_same_in_each_epoch(data_dir):
    source = open_tiny(data_dir)
    names = [names_of(source, epoch=epoch) for epoch in (0, 1)]
    assert len(set(names[0])) == 50 and set(names[0]) == set(names[1])


@pytest.mark.slow
# The expected levels are those that TFDS itself reads.
@pytest.mark.parametrize(
    ("split", "count"),
    [
        ("train", 50),
        ("train[:50%]", 25),
        ("train[7:31]", 24),
        ("train[-3:]", 3),
        ("train[13:14]", 1),
        ("train+validation", 57),
        ("train[:10%]+test", 10),
        ("train[:10]+train[20:]", 40),
    ],
)
def test_splits_have_the_same_meaning_as_in_tfds(data_dir, split, count):
    source = open_tiny(data_dir, split=split)
    builder = PixproTiny(data_dir=data_dir, config="2001")
    dataset = builder.as_dataset(split=split, shuffle_files=False)
    expected = sorted(int(example["image"][0, 0, 0]) for example in dataset)
    assert source.num_images == len(expected) == count
    records = list(source.epoch(0, epoch_of(0)))
    assert sorted(level_of(source, record) for record in records) == expected
    # A cache identifies images by their indices.
    assert sorted(int(record["index"]) for record in records) == list(range(count))


def test_two_configurations_are_combined_and_image_names_are_unique(data_dir):
    source = open_tiny(data_dir, "pixpro_tiny/2001+2002")
    assert source.num_images == 80
    assert sorted(levels(source)) == [*range(50), *range(100, 130)]
    names = names_of(source)
    assert len(set(names)) == 80
    rest = source.without(names[:3]).without([names[4], names[0]])
    assert rest.num_images == 76
    assert sorted(names_of(rest)) == sorted([names[3], *names[5:]])


@pytest.mark.parametrize("split", ["all[:50%]", "train[:50%]+all[3:]"])
def test_parts_of_all_splits_together_are_rejected(data_dir, split):
    with pytest.raises(ConfigError, match="is not a split of pixpro_tiny/2001; use one of"):
        open_tiny(data_dir, split=split)


def test_names_from_elsewhere_are_not_in_shards(data_dir):
    assert open_tiny(data_dir).without([b"x.jpg", b"a#b.jpg"]).num_images == 50


def test_an_image_is_left_out_of_one_of_two_parts_of_a_shard(data_dir):
    source = open_tiny(data_dir, split="train[:10]+train[20:]")
    for name in names_of(source):
        rest = source.without([name])
        assert rest.num_images == len(names_of(rest)) == 39


def test_images_of_a_tfds_dataset_can_be_left_out(data_dir):
    source = open_tiny(data_dir)
    left_out = names_of(source)[:5]
    rest = source.without([*left_out, left_out[0]])
    assert rest.num_images == 45
    assert set(names_of(rest)) == set(names_of(source)) - set(left_out)


def refusal(data_dir, error_class, **kwargs):
    with pytest.raises(error_class) as error:
        open_tiny(data_dir, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_dataset_is_rejected_with_a_suggestion(data_dir):
    message = refusal(data_dir, ConfigError, name="imagenet2013")
    assert "did you mean imagenet2012?" in message
    assert "did you mean scenes?" in refusal(data_dir, ConfigError, name="scnes")
    assert "did you mean" not in refusal(data_dir, ConfigError, name="qqqqqqqqqqqq")


@pytest.mark.parametrize("name", ["pixpro_tiny/2003", "pixpro_tiny/2001+2003"])
def test_an_unknown_configuration_is_rejected_with_a_list(data_dir, name):
    message = refusal(data_dir, ConfigError, name=name)
    assert "'2003'" in message and "2001, 2002" in message


@pytest.mark.parametrize("name", ["imagenet2012:9.9.9", "pixpro_tiny/2001:9.0.0"])
def test_an_unknown_version_is_rejected(data_dir, name):
    assert name in refusal(data_dir, ConfigError, name=name)


@pytest.mark.parametrize("name", ["", "imagenet 2012", "a:b:c", "/path/to/images"])
def test_a_malformed_name_is_rejected(data_dir, name):
    assert "dataset=" in refusal(data_dir, ConfigError, name=name)


@pytest.mark.parametrize(
    "split", ["training", "train[:", "train[:200%]", "train[50:40]", "train[:0]"]
)
def test_an_unknown_or_empty_split_is_rejected_with_a_list(data_dir, split):
    message = refusal(data_dir, ConfigError, split=split)
    assert f"split={split}" in message and "train" in message and "validation" in message


@pytest.mark.parametrize("name", ["imagenet2012", "voc/2007+2012", "cifar10"])
def test_the_error_of_an_unprepared_dataset_says_how_to_prepare_it(tmp_path, name):
    message = refusal(str(tmp_path), RunError, name=name)
    first = name.partition("+")[0]
    assert f"tfds.builder('{first}', data_dir='{tmp_path}', file_format='tfrecord')" in message
    assert "scenes/128" in message and "folder:PATH" in message
    if name == "imagenet2012":
        assert "ILSVRC2012_img_train.tar" in message
        assert str(tmp_path / "downloads" / "manual") in message


def add_to_tar(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def jpeg(level):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (level,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def test_imagenet_prepared_as_the_error_says_is_read(tmp_path):
    """The archives are like those of image-net.org: the training archive contains one archive for each class."""
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    with tarfile.open(manual / "ILSVRC2012_img_train.tar", "w") as archive:
        for number, synset in enumerate(("n01440764", "n01443537")):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as of_class:
                for index in range(3):
                    level = 100 * number + 10 * index
                    add_to_tar(of_class, f"{synset}_{index}.JPEG", jpeg(level))
            add_to_tar(archive, f"{synset}.tar", buffer.getvalue())
    with tarfile.open(manual / "ILSVRC2012_img_val.tar", "w") as archive:
        add_to_tar(archive, "ILSVRC2012_val_00000001.JPEG", jpeg(255))

    message = refusal(str(tmp_path), RunError, name="imagenet2012")
    python, *arguments = shlex.split(message.split("`")[1])
    assert python == "python"
    subprocess.run(warm.python(*arguments), check=True, capture_output=True)
    assert sorted(levels(open_tiny(str(tmp_path), "imagenet2012"))) == [0, 10, 20, 100, 110, 120]


def test_voc_trains_on_train_and_validation():
    class Voc:
        # Whatever version or configuration the user has named.
        name = "voc"

        class info:
            splits = {"train": None, "validation": None, "test": None}

    assert tfds_datasets._training_split(Voc) == "train+validation"
    Voc.name = "imagenet2012"
    assert tfds_datasets._training_split(Voc) == "train"


def test_remote_storage_is_asked_about_folders_only(monkeypatch):
    """An inquiry takes as long as the way to a bucket; there may be a million images."""
    tf.io.gfile.makedirs("ram://asked/deep/.hidden")
    for name in ("a.jpg", "deep/b.PNG", "deep/notes.txt", "deep/.hidden/c.jpg", ".d.jpg"):
        with tf.io.gfile.GFile(f"ram://asked/{name}", "w") as file:
            file.write("image")
    asked = []
    is_folder = tf.io.gfile.isdir

    def isdir(path):
        asked.append(path)
        return is_folder(path)

    monkeypatch.setattr(tf.io.gfile, "isdir", isdir)
    source = FolderSource("ram://asked")
    assert sorted(names_of(source)) == [b"ram://asked/a.jpg", b"ram://asked/deep/b.PNG"]
    assert source.passed_over == "Skipped files of other types: 1 (1 .txt)"
    assert not [path for path in asked if path.lower().endswith((".jpg", ".png"))]
