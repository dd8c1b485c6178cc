"""Commands name the image or mask that cannot be read, or leave it out with `--on_bad_image=skip`."""

import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf import statistics, tfrecords
from pixpro_tf.cli.shards import example_of
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.sources import open_source
from pixpro_tf.data.views.channels import Channels
from pixpro_tf.errors import RunError, printable
from pixpro_tf.evaluation import compare, correspondence, dense, linear, visualize
from pixpro_tf.evaluation.sources import load_backbone, load_backbone_and_neck
from pixpro_tf.storage import trained_weights

FROM = "--from=random:resnet10w0.5"
SKIP = "--on_bad_image=skip"
ADVICE = f"; fix the files, or leave them out with {SKIP}"


def write_images(folder, names, masks=None):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in names:
        pixels = rng.integers(0, 255, [70, 80, 3], np.uint8)
        Image.fromarray(pixels).save(folder / name)
        if masks:
            masks.mkdir(parents=True, exist_ok=True)
            mask = Image.fromarray(np.zeros([70, 80], np.uint8))
            mask.save(masks / f"{os.path.splitext(name)[0]}.png")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_damaged_shard(folder, output):
    """Writes the images of a folder without decoding them, unlike `write_tfrecords`."""
    output.mkdir()
    with tf.io.TFRecordWriter(str(output / "images-00000-of-00001.tfrecord")) as file:
        for path in sorted(folder.iterdir()):
            features = {"image/encoded": path.read_bytes(), "image/filename": path.name.encode()}
            file.write(example_of(features).SerializeToString())


def error_of(main, flags, capsys):
    assert main([FROM, *flags]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    return line


def skipped(main, flags, capsys):
    """Runs a command that skips bad images, and returns the line about them, which it prints once."""
    assert main([*flags, SKIP]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Skipped" in line]
    assert line.startswith("Skipped unreadable images: 1 of ") and line.endswith(")")
    return line.removesuffix(")")


@pytest.mark.parametrize("what", ["images/1.jpg", "masks/2.png"])
@pytest.mark.parametrize("odd", ["", "\udcff"])
def test_segmentation(tmp_path, capsys, what, odd):
    place = tmp_path / f"data{odd}"
    for split in ("train", "validation"):
        folder = place / split
        write_images(folder / "images", ["0.jpg", "1.jpg", "2.jpg"], folder / "masks")
    (place / "classes.txt").write_text("thing\nstuff\n")
    cut(place / "validation" / what)
    flags = [f"--dataset=folder:{place}", "--crop_size=32", "--epochs=1", "--batch_size=2"]
    line = error_of(dense.main, [*flags, "--rates=0.1"], capsys)
    assert f"/validation/{what}" in line and (not odd or "data\\udcff" in line)
    assert line.endswith(ADVICE)
    said = skipped(dense.main, [FROM, *flags, "--rates=0.1"], capsys)
    number = os.path.splitext(os.path.basename(what))[0]
    assert said.endswith(f"/validation/images/{number}.jpg") and (not odd or "data\\udcff" in said)
    if not odd:
        others = [FROM, "--from=random", "--task=segmentation", "--seeds=2"]
        assert skipped(compare.main, [*others, *flags], capsys) == said


def test_classification(tmp_path, capsys):
    for split in ("train", "validation"):
        for name in ("a", "b"):
            write_images(tmp_path / split / name, ["0.jpg", "1.jpg"])
    cut(tmp_path / "train" / "b" / "1.jpg")
    flags = [f"--dataset=folder:{tmp_path}", "--image_size=32", "--epochs=1", "--batch_size=2"]
    line = error_of(linear.main, flags, capsys)
    assert str(tmp_path / "train" / "b" / "1.jpg") in line and line.endswith(ADVICE)
    said = skipped(linear.main, [FROM, *flags], capsys)
    assert said.endswith(f"({tmp_path}/train/b/1.jpg")


@pytest.mark.parametrize("kind", ["folder", "zip", "tfrecord"])
def test_matching(tmp_path, capsys, kind):
    folder = tmp_path / "images"
    write_images(folder, ["0.jpg", "1.jpg", "2.jpg"])
    cut(folder / "1.jpg")
    dataset, name = f"folder:{folder}", str(folder / "1.jpg")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, file.name)
        os.rename(tmp_path / "images.zip", tmp_path / "images\udcff.zip")
        dataset, name = f"zip:{tmp_path}/images\udcff.zip", "1.jpg"
    elif kind == "tfrecord":
        write_damaged_shard(folder, tmp_path / "shards")
        dataset, name = f"tfrecord:{tmp_path}/shards/*", "00001.tfrecord#"
    line = error_of(correspondence.main, [f"--dataset={dataset}", "--image_size=64"], capsys)
    assert (
        line.startswith(f"error: --dataset={printable(dataset)} cannot be read: ") and name in line
    )
    assert line.endswith(ADVICE)
    flags = [FROM, f"--dataset={dataset}", "--image_size=64", "--pairs=4"]
    name = "1.jpg" if kind != "tfrecord" else "images-00000-of-00001.tfrecord#1"
    assert skipped(correspondence.main, flags, capsys).endswith(f"({name}")


def test_a_damaged_record_cannot_be_left_out(tmp_path, capsys):
    write_images(tmp_path / "images", ["0.jpg", "1.jpg"])
    write_damaged_shard(tmp_path / "images", tmp_path / "shards")
    (shard,) = (tmp_path / "shards").iterdir()
    content = bytearray(shard.read_bytes())
    content[len(content) // 4] ^= 1
    shard.write_bytes(content)
    flags = [f"--dataset=tfrecord:{shard}", "--image_size=64", SKIP]
    line = error_of(correspondence.main, flags, capsys)
    assert f"cannot be read: {shard}" in line and SKIP not in line


def test_images_with_other_channels_are_named(tmp_path):
    channels = Channels((0.0,) * 4, (9.0,) * 4, (0.5,) * 4, (0.1,) * 4)
    for name, count in (("good.npy", 4), ("bad.npy", 3)):
        np.save(tmp_path / name, np.zeros([8, 8, count]))
    with pytest.raises(RunError) as error, reading(f"folder:{tmp_path}", channels=channels):
        raise tf.errors.InvalidArgumentError(None, None, "odd")
    assert error.value.message.startswith(f"folder:{tmp_path} cannot be read: {tmp_path}/bad.npy:")


def test_a_file_of_labels_is_not_taken_for_an_image(tmp_path):
    (tmp_path / "labels.json").write_text("{}")
    with pytest.raises(RunError) as error, reading(f"{tmp_path}/labels.json", "labels"):
        raise tf.errors.InvalidArgumentError(None, None, "odd")
    assert error.value.line == f"--labels={tmp_path}/labels.json cannot be read: odd"


@pytest.mark.parametrize(
    "error",
    [PermissionError(13, "denied", "/w"), tf.errors.DataLossError(None, None, "/w: denied")],
)
def test_weights_that_cannot_be_read_are_no_bad_images(monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(trained_weights, "open_weights", refuse)
    for load in (load_backbone, load_backbone_and_neck):
        message = r"^--from=mine cannot be read: /w: denied$"
        with pytest.raises(RunError, match=message), reading("photographs"):
            load("mine")


@pytest.mark.parametrize("kind", ["folder", "files"])
def test_figures(tmp_path, capsys, kind):
    folder = tmp_path / "images"
    write_images(folder, ["0.jpg", "1.jpg", "2.jpg"])
    cut(folder / "1.jpg")
    images = f"folder:{folder}" if kind == "folder" else f"{folder}/0.jpg,{folder}/1.jpg"
    flags = [f"--images={images}", f"--output={tmp_path / 'out'}", "--image_size=64"]
    line = error_of(visualize.main, flags, capsys)
    assert line.startswith(f"error: --images={images} cannot be read: {folder}/1.jpg: ")
    # Files that are listed one by one cannot be left out by the flag.
    assert line.endswith(ADVICE) == (kind == "folder")
    assert not (tmp_path / "out").exists()
    flags = [FROM, *flags]
    if kind == "folder":
        assert skipped(visualize.main, flags, capsys).endswith("(1.jpg")
        assert (tmp_path / "out").is_dir()
    else:
        assert visualize.main([*flags, SKIP]) == 2
        assert f"{SKIP} is unused with --images={images}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["images", "\udcff", "a\nb"])
def test_statistics(tmp_path, capsys, name):
    folder = tmp_path / name
    write_images(folder, ["0.jpg", "1.jpg", "2.jpg"])
    cut(folder / "1.jpg")
    flags = [f"--images=folder:{folder}", f"--output={tmp_path / 'measured.flags'}"]
    assert statistics.main(flags) == 1
    assert f": {printable(str(folder))}/1.jpg: " in capsys.readouterr().err
    assert not (tmp_path / "measured.flags").exists()
    assert skipped(statistics.main, flags, capsys).endswith(f"({printable(str(folder))}/1.jpg")
    first, *others = (tmp_path / "measured.flags").read_text().splitlines()
    assert "measured on 2 images" in first and all(line.startswith("--") for line in others)


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("name", ["1.jpg", "1.webp", "\udcff.png"])
def test_shards(tmp_path, capsys, kind, name):
    folder = tmp_path / "images"
    write_images(folder, ["0.jpg", name, "2.png", "3.gif"])
    cut(folder / name)
    images = f"folder:{folder}"
    if kind == "zip":
        images = f"zip:{tmp_path}/images.zip"
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for file in sorted(folder.iterdir()):
                # A member's name is text, so a byte that is not UTF-8 cannot be written.
                archive.write(file, file.name.replace("\udcff", "é"))
        name = name.replace("\udcff", "é")
    output = tmp_path / "shards"
    flags = [f"--images={images}", f"--output={output}", "--images_per_shard=2", "--num_workers=1"]
    assert tfrecords.main(flags) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert line.startswith(f"error: --images={images} cannot be read: ")
    assert f"{printable(name)}: " in line and line.endswith("with --on_bad_image=skip")
    assert not output.exists()
    assert skipped(tfrecords.main, flags, capsys).endswith(printable(name))
    source = open_source(f"tfrecord:{output}/*", data_dir="", split="", shuffle_buffer=9)
    assert source.num_images == 3 and len(list(output.iterdir())) == 2
    assert [each.name for each in tmp_path.iterdir() if "partial" in each.name] == []


def test_all_images_are_bad(tmp_path, capsys):
    write_images(tmp_path / "images", ["0.jpg", "1.jpg"])
    for path in (tmp_path / "images").iterdir():
        cut(path)
    images = f"folder:{tmp_path}/images"
    flags = [f"--images={images}", f"--output={tmp_path / 'shards'}", SKIP]
    assert tfrecords.main(flags) == 1
    line = f"error: --images={images} contains no files that can be read as images\n"
    assert capsys.readouterr().err.endswith(line)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_datasets_of_tfds_are_not_decoded_first(capsys):
    for main, dataset in ((linear.main, "imagenet2012"), (dense.main, "scenes/128")):
        assert main([FROM, f"--dataset={dataset}", SKIP]) == 2
        assert f"{SKIP} is unused with --dataset={dataset}; remove it" in capsys.readouterr().err
