"""Limits for files that others have made: each has a flag and a line, and no image takes more memory than is said."""

import io
import subprocess
import zipfile

import pytest
from PIL import Image

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.cli import command_line
from pixpro_tf.cli.shards import example_of
from pixpro_tf.config import Config
from pixpro_tf.data import limits, pillow_images
from pixpro_tf.data.sources import open_source
from pixpro_tf.errors import RunError
from pixpro_tf.statistics import main as measure
from pixpro_tf.tfrecords import main as write_tfrecords
from tests.conftest import ROOT
from tests.support import warm

SIDE = 9990
# Images of almost 100 megapixels, with which decoders allocate most.
LARGEST = {
    "JPEG": ("RGB", {}),
    "progressive JPEG": ("RGB", {"progressive": True}),
    "turned JPEG": ("RGB", {"turned": True}),
    "PNG": ("L", {}),
    "GIF of 12 frames": ("L", {"frames": 12}),
    "BMP of 8 bits": ("L", {}),
    "turned WEBP": ("RGBA", {"turned": True, "lossless": True}),
    "TIFF": ("RGBA", {"compression": "tiff_deflate"}),
    "turned TIFF": ("CMYK", {"compression": "tiff_deflate", "turned": True}),
}
DECODE = """
import sys
import pixpro_tf
import tensorflow as tf
from pixpro_tf.data.images import decode

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

encoded = tf.constant(open(sys.argv[1], "rb").read())
decoded = tf.data.Dataset.from_tensors(encoded).map(lambda encoded: tf.shape(decode(encoded)))
open("/proc/self/clear_refs", "w").write("5")
before = peak()
assert len(list(decoded)) == 1
print((peak() - before) / 1e6)
"""


@pytest.fixture(autouse=True)
def default_limits():
    yield
    limits.use(limits.Limits())


def write_image(path, size=(8, 8)):
    Image.new("L", size).save(path, "PNG")


def test_every_limit_is_a_flag_of_the_commands_that_need_it():
    text = command_line.help_text(Config, "", [])
    groups = text.split("\n\n")
    assert groups[-1].startswith("Limits:")
    for name, value in vars(limits.Limits()).items():
        assert f"--{name}={value}" in groups[-1]
    assert "max_download" not in write_tfrecords.help_text()
    assert "max_megapixels" in write_tfrecords.help_text()


def test_limits_of_a_command_hold_in_its_other_processes(tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.new("L", (1100, 1000)).save(folder / f"{number}.tif", compression="tiff_deflate")
    flags = [f"--images=folder:{folder}", "--images_per_shard=2", "--num_workers=2"]
    assert write_tfrecords([*flags, f"--output={tmp_path / 'a'}", "--max_megapixels=1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the image has 1100 x 1000 pixels, more than --max_megapixels=1 allows; fix the" in line
    assert write_tfrecords([*flags, f"--output={tmp_path / 'b'}"]) == 0
    assert limits.current() == limits.Limits()


def large_folder(path):
    path.mkdir()
    (path / "large.png").write_bytes(bytes(1_200_000))
    return f"folder:{path}", f"{path}/large.png"


def large_archive(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large.png", bytes(1_200_000))
    return f"zip:{path}", "large.png"


def large_record(path):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    with tf.io.TFRecordWriter(str(path)) as records:
        records.write(example_of({"image": file.getvalue()}).SerializeToString())
        records.write(example_of({"image": bytes(1_200_000)}).SerializeToString())
    return f"tfrecord:{path}", f"{path}#1"


@pytest.mark.parametrize("make", [large_folder, large_archive, large_record])
def test_files_members_and_records_that_are_too_large_are_named(make, tmp_path):
    dataset, name = make(tmp_path / "images")
    limits.use(limits.Limits(max_image_megabytes=1))
    with pytest.raises(RunError) as error:
        open_source(dataset, data_dir="", split="", shuffle_buffer=1)
    reason = "it has 1 MB, more than --max_image_megabytes=1 allows"
    assert error.value.line == f"--dataset={dataset} cannot be read: {name}: {reason}"


def test_statistics_have_the_same_limit(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", (1100, 1000))
    flags = [f"--images=folder:{tmp_path}/images", f"--output={tmp_path / 'out.flags'}"]
    assert measure([*flags, "--max_megapixels=1"]) == 1
    assert "more than --max_megapixels=1 allows" in capsys.readouterr().err


def test_pillows_own_limit_stays_as_it_was(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    file = io.BytesIO()
    Image.new("L", (20_000, 10_000)).save(file, "TIFF", compression="tiff_deflate")
    with pytest.raises(limits.TooLarge, match="20000 x 10000 pixels, more than --max_megapixels"):
        pillow_images.decode(file.getvalue())
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.thorough
@pytest.mark.large
@pytest.mark.parametrize("kind", LARGEST)
def test_an_image_at_the_limit_takes_less_than_two_gigabytes(kind, tmp_path, record_property):
    mode, options = LARGEST[kind]
    options = dict(options)
    exif = Image.Exif()
    if options.pop("turned", False):
        exif[0x0112] = 6
        options["exif"] = exif
    file_format = next(
        each for each in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF") if each in kind
    )
    path = tmp_path / "image"
    if frames := options.pop("frames", 0):
        others = [Image.new("P", (SIDE, SIDE), 1 + number % 2) for number in range(frames - 1)]
        options |= {"save_all": True, "append_images": others}
    Image.new(mode, (SIDE, SIDE)).save(path, file_format, **options)
    done = subprocess.run(
        warm.python("-c", DECODE, path), cwd=ROOT, capture_output=True, text=True, check=True
    )
    gigabytes = float(done.stdout)
    record_property("robustness", f"{kind:<16} {gigabytes:.2f} GB for 100 megapixels")
    assert 0.2 < gigabytes < 2
