"""Evaluations name the image or mask that cannot be read."""

import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from pixpro_tf.cli import write_tfrecords
from pixpro_tf.errors import printable
from pixpro_tf.evaluation import correspondence, dense, linear, visualize

FROM = "--from=random:resnet10w0.5"


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


def error_of(main, flags, capsys):
    assert main([FROM, *flags]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    return line


@pytest.mark.parametrize("what", ["images/1.jpg", "masks/2.png"])
@pytest.mark.parametrize("odd", ["", "\udcff"])
def test_segmentation(tmp_path, capsys, what, odd):
    place = tmp_path / f"data{odd}"
    for split in ("train", "validation"):
        folder = place / split
        write_images(folder / "images", ["0.jpg", "1.jpg", "2.jpg"], folder / "masks")
    (place / "classes.txt").write_text("thing\nstuff\n")
    cut(place / "validation" / what)
    flags = [f"--dataset=folder:{place}", "--crop_size=32", "--epochs=1", "--batch_size=3"]
    line = error_of(dense.main, [*flags, "--rates=0.1"], capsys)
    assert f"/validation/{what}" in line and (not odd or "data\\udcff" in line)


def test_classification(tmp_path, capsys):
    for split in ("train", "validation"):
        for name in ("a", "b"):
            write_images(tmp_path / split / name, ["0.jpg", "1.jpg"])
    cut(tmp_path / "train" / "b" / "1.jpg")
    flags = [f"--dataset=folder:{tmp_path}", "--image_size=32", "--epochs=1", "--batch_size=2"]
    assert str(tmp_path / "train" / "b" / "1.jpg") in error_of(linear.main, flags, capsys)


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
        write_tfrecords.write(f"folder:{folder}", str(tmp_path / "shards"), per_shard=9)
        dataset, name = f"tfrecord:{tmp_path}/shards/*", "00001.tfrecord#"
    line = error_of(correspondence.main, [f"--dataset={dataset}", "--image_size=64"], capsys)
    assert (
        line.startswith(f"error: --dataset={printable(dataset)} cannot be read: ") and name in line
    )


@pytest.mark.parametrize("kind", ["folder", "files"])
def test_figures(tmp_path, capsys, kind):
    folder = tmp_path / "images"
    write_images(folder, ["0.jpg", "1.jpg"])
    cut(folder / "1.jpg")
    images = f"folder:{folder}" if kind == "folder" else f"{folder}/0.jpg,{folder}/1.jpg"
    flags = [f"--images={images}", f"--output={tmp_path / 'out'}", "--image_size=64"]
    line = error_of(visualize.main, flags, capsys)
    assert line.startswith(f"error: --images={images} cannot be read: {folder}/1.jpg: ")
    assert not (tmp_path / "out").exists()
