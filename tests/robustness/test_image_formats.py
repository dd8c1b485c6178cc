"""Images of every format and mode that Pillow writes, whatever their names say, and damaged ones: Pillow's pixels, or one line."""

import io

import numpy as np
import pytest
from PIL import Image

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.cli import write_tfrecords
from pixpro_tf.data import pipeline
from pixpro_tf.data.images import decode
from pixpro_tf.data.sources import find_bad_images, open_source
from pixpro_tf.data.sources.folders import FolderSource

Image.init()
SIDE = (31, 23)
# Formats that the project reads, with the largest difference of their pixels: decoders of JPEG round differently, and convert YCCK differently.
READ = {"BMP": 0, "DIB": None, "GIF": 0, "JPEG": 4, "PNG": 0, "TIFF": 0, "WEBP": 0}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
NUMBERS = ("I", "F", "I;16", "I;16B")
OPTIONS = {
    "BMP": [{}],
    "GIF": [{}, {"interlace": 1}, {"save_all": True}],
    "JPEG": [{"quality": 95}, {"progressive": True}, {"subsampling": 2}, {"optimize": True}],
    "PNG": [{}, {"bits": 4}, {"optimize": True}],
    "TIFF": [{"compression": each} for each in (None, "tiff_lzw", "tiff_deflate", "packbits")],
    "WEBP": [{"lossless": True}, {"quality": 70}],
}
DAMAGES_PER_FORMAT = 60


def picture(mode, seed=0):
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (4, 5, 4), np.uint8), "RGBA")
    smooth = smooth.resize(SIDE, Image.Resampling.BICUBIC)
    if mode in NUMBERS:
        values = np.asarray(smooth.convert("L")).astype(np.uint16) * 251
        dtype = {"I": np.int32, "F": np.float32, "I;16": "<u2", "I;16B": ">u2"}[mode]
        return Image.fromarray(values.astype(dtype))
    if mode in ("PA", "RGBa"):
        return smooth.convert({"PA": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    return smooth.convert("RGB").convert(mode) if mode in ("LAB", "HSV") else smooth.convert(mode)


def written(image, file_format, options):
    """Returns a file, or None if Pillow does not write this mode in this format, or only with a program that is not installed."""
    file = io.BytesIO()
    try:
        image.save(file, file_format, **options)
    except Exception:
        return None
    return file.getvalue()


def expected(data):
    """Returns Pillow's pixels as RGB, or None if they have more bits than can be reduced."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode in ("I", "F"):
            return None
        if image.mode.startswith("I;16"):
            upper = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(upper[..., None], 3, axis=-1).astype(int)
        return np.asarray(image.convert("RGB")).astype(int)


def row(name, counts):
    return f"{name:<16} {counts['read']:>4} read {counts['rejected']:>5} rejected"


def outcome(data):
    """Returns the decoded pixels, or the line that says why there are none."""
    try:
        return decode(tf.constant(data)).numpy().astype(int)
    except tf.errors.InvalidArgumentError as error:
        return error.message.splitlines()[0]


@pytest.mark.parametrize("file_format", sorted(Image.SAVE))
def test_every_mode_is_read_as_pillow_does_or_rejected(file_format, record_property):
    tolerance = READ.get(file_format)
    counts = {"read": 0, "rejected": 0}
    for mode in (*MODES, *NUMBERS):
        for options in OPTIONS.get(file_format, [{}]):
            data = written(picture(mode), file_format, options)
            if data is None:
                continue
            what = f"{file_format} of mode {mode} with {options}"
            found = outcome(data)
            if isinstance(found, str):
                assert found, what
                counts["rejected"] += 1
                # All that people have is read; Pillow alone knows the other modes.
                usual = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16")
                assert tolerance is None or mode not in usual or expected(data) is None, (
                    what,
                    found,
                )
                continue
            counts["read"] += 1
            wanted = expected(data)
            assert wanted is not None, what
            allowed = 0 if tolerance is None else tolerance
            assert found.shape == wanted.shape, what
            assert abs(found - wanted).max() <= allowed, (what, abs(found - wanted).max())
    if any(counts.values()):
        record_property("robustness", row(file_format, counts))


@pytest.mark.parametrize("file_format", sorted(OPTIONS))
def test_damaged_files_are_read_or_rejected_in_one_line(file_format, record_property):
    data = written(picture("P" if file_format == "GIF" else "RGB"), file_format, {})
    rng = np.random.default_rng(0)
    counts = {"read": 0, "rejected": 0}
    for _ in range(DAMAGES_PER_FORMAT):
        place = int(rng.integers(len(data)))
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        noise = bytearray(data)
        noise[place : place + 16] = rng.bytes(16)
        for damaged in (data[:place], bytes(flipped), bytes(noise)):
            found = outcome(damaged)
            rejected = isinstance(found, str)
            assert found if rejected else found.shape[-1] == 3
            counts["rejected" if rejected else "read"] += 1
    assert counts["rejected"]
    record_property("robustness", row(f"damaged {file_format}", counts))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_names_need_not_tell_the_format(suffix, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    images = {}
    for seed, file_format in enumerate(sorted(OPTIONS)):
        data = written(picture("RGB", seed).quantize(200), file_format, {})
        data = data or written(picture("RGB", seed), file_format, {})
        (folder / f"{file_format}.{suffix}").write_bytes(data)
        images[file_format] = expected(data)
    source = FolderSource(str(folder))
    assert find_bad_images(source.epoch(0, tf.constant(0, tf.int64)), source) == []
    views = pipeline.training_dataset(
        source, batch_size=len(images), image_size=8, min_crop_area=0.5, seed=0
    )
    assert next(iter(views))["view_1"].shape == [len(images), 8, 8, 3]
    # Records are read without Pillow, so they contain another format where it is needed.
    write_tfrecords.write(f"folder:{folder}", str(tmp_path / "shards"), per_shard=9, num_workers=1)
    shards = open_source(f"tfrecord:{tmp_path}/shards/*", data_dir="", split="", shuffle_buffer=9)
    count = 0
    for record in shards.epoch(0, tf.constant(0, tf.int64)):
        found = decode(shards.encoded(record), pillow=False).numpy().astype(int)
        assert any(abs(found - each).max() <= READ[name] for name, each in images.items())
        count += 1
    assert count == len(images)
