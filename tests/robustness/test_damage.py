"""Files that are cut, flipped, overwritten or extended at random places: the same result, an older one that is named, or one line."""

import dataclasses
import faulthandler
import pathlib
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import pixpro_tf
from pixpro_tf import pretrained
from pixpro_tf.cli import write_tfrecords
from pixpro_tf.data.sources import find_bad_images, open_source
from pixpro_tf.errors import UserError
from pixpro_tf.export.commands import savedmodel
from pixpro_tf.export.commands import torch as torch_command
from pixpro_tf.storage import trained_weights
from pixpro_tf.storage.checkpoints import CheckpointStore
from tests.support import tiny_run
from tests.support.models import make_model, make_run

BACKBONE = "resnet10w0.5"
# A reader that takes longer hangs; the process then ends with the places of all threads.
SECONDS = 120
# Beginnings and ends of files contain most of what readers interpret.
EDGE = 4096


class Older(Exception):
    """The reader went on from something older, and said so."""


@dataclasses.dataclass(frozen=True)
class Reader:
    """File, and a function that reads it and returns what can be compared.

    Attributes:
        checked: whether the format has checksums, so that no damage passes unnoticed.
    """

    path: pathlib.Path
    read: Callable[[], Any]
    checked: bool = True


def damaged(data, rng):
    """Returns the contents of a file with one damage, and a description of it."""
    edge = rng.integers(3)
    span = min(EDGE, len(data))
    place = int(rng.integers(span if edge else len(data))) + (len(data) - span if edge == 2 else 0)
    kind = rng.choice(["cut", "flipped", "noise", "zeros", "inserted", "doubled"])
    changed = bytearray(data)
    if kind == "cut":
        del changed[place:]
    elif kind == "flipped":
        changed[place] ^= 1 << int(rng.integers(8))
    elif kind == "noise":
        changed[place : place + 16] = rng.bytes(min(16, len(data) - place))
    elif kind == "zeros":
        changed[place : place + 512] = bytes(min(512, len(data) - place))
    elif kind == "inserted":
        changed[place:place] = rng.bytes(int(rng.integers(1, 9)))
    else:
        changed[place:place] = changed[place : place + 512]
    return bytes(changed), f"{kind} at {place} of {len(data)}"


def equal(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, np.ndarray):
        return first.shape == second.shape and first.tobytes() == second.tobytes()
    return first == second


def values(layer):
    return [variable.numpy() for variable in layer.variables]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run", backbone=BACKBONE)


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "saved"
    assert savedmodel.main([f"--from={run}", f"--output={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    tiny_run.write_photos(folder)
    for path in sorted(folder.iterdir())[6:]:
        path.unlink()
    return folder


def resumed(folder, suffix):
    model = make_model(BACKBONE)
    model.optimizer.build(model.trainable_variables)
    store = CheckpointStore(str(folder), model)
    for step in (1, 2):
        model.optimizer.iterations.assign(step)
        model.trainable_variables[0].assign_add(tf.ones_like(model.trainable_variables[0]))
        store.save()

    def read():
        again = CheckpointStore(str(folder), model)
        if again.restore() == 1:
            assert list(again.damaged) == [f"{folder}/step-2"]
            raise Older
        return values(model)

    return Reader(folder / f"step-2.{suffix}", read)


def of_dataset(path, dataset):
    def read():
        source = open_source(dataset, data_dir="", split="", shuffle_buffer=9)
        records = source.epoch(0, tf.constant(0, tf.int64))
        try:
            if source.passed_over or find_bad_images(records, source):
                raise Older
        except tf.errors.OpError:
            # Training and evaluations report it; see test_named_files.py.
            raise Older from None
        return source.images_digest(), [source.encoded(record).numpy() for record in records]

    return Reader(path, read)


def make_reader(kind, run, export, images, tmp_path):
    if kind.startswith("checkpoint"):
        return resumed(tmp_path, kind.partition(".")[2])
    if kind.startswith("zip"):
        path = tmp_path / "images.zip"
        with zipfile.ZipFile(path, "w", getattr(zipfile, f"ZIP_{kind[4:].upper()}")) as archive:
            for file in sorted(images.iterdir()):
                archive.write(file, file.name)
        return of_dataset(path, f"zip:{path}")
    if kind == "tfrecord":
        write_tfrecords.write(f"folder:{images}", str(tmp_path / "shards"), per_shard=9)
        (path,) = (tmp_path / "shards").iterdir()
        return of_dataset(path, f"tfrecord:{path}")
    if kind.startswith("saved"):
        folder = tmp_path / "saved"
        shutil.copytree(export, folder)
        name = kind.removeprefix("saved ")
        image = tf.random.stateless_uniform([1, 64, 64, 3], [0, 0])

        def load():
            tf.keras.backend.clear_session()
            return pixpro_tf.load_backbone(str(folder))(image).numpy()

        return Reader(folder / name, load)
    if kind == "tar.gz":
        path = tmp_path / "saved.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for each in export.iterdir():
                archive.add(each, each.name)
        return Reader(path, lambda: values(trained_weights.restore_backbone(str(path))))
    if kind == "safetensors":
        path = tmp_path / "weights.safetensors"
        assert torch_command.main([f"--from={run}", f"--output={path}"]) == 0
        return Reader(path, lambda: pretrained.read(str(path)).arrays)
    torch = pytest.importorskip("torch")
    from pixpro_tf.interop.torch import files

    path, converted = tmp_path / "weights.pth", tmp_path / "converted"
    weights = {"conv1.weight": torch.randn(8, 3, 7, 7), "bn1.weight": torch.ones(8)}
    is_zip = kind == "pth"
    torch.save({"model": weights, "epoch": 3}, path, _use_new_zipfile_serialization=is_zip)

    def convert():
        # In a process of its own, as `files.read` does it, this would take seconds.
        files._convert(str(path), str(converted))
        with open(converted, "rb") as file:
            return pickle.load(file)

    return Reader(path, convert, checked=is_zip)


# Number of damages of each kind of file.
KINDS = {
    "checkpoint.index": 100,
    "checkpoint.data-00000-of-00001": 100,
    "zip_stored": 60,
    "zip_deflated": 60,
    "tfrecord": 150,
    "saved saved_model.pb": 30,
    "saved fingerprint.pb": 20,
    "saved model_card.json": 60,
    "saved variables/variables.index": 20,
    "saved variables/variables.data-00000-of-00001": 20,
    "tar.gz": 60,
    "safetensors": 150,
    "pth": 200,
    "old pth": 200,
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in ("pth", "tfrecord") else pytest.mark.thorough)
        for kind in KINDS
    ],
)
def test_damaged_files(kind, run, export, images, tmp_path, record_property):
    reader = make_reader(kind, run, export, images, tmp_path)
    data, wanted = reader.path.read_bytes(), reader.read()
    rng = np.random.default_rng(0)
    counts = {"same": 0, "older": 0, "rejected": 0, "different": 0}
    for _ in range(KINDS[kind]):
        content, what = damaged(data, rng)
        reader.path.write_bytes(content)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            found = reader.read()
        except Older:
            counts["older"] += 1
        except UserError as error:
            assert error.line and "\n" not in error.line, what
            counts["rejected"] += 1
        else:
            outcome = "same" if equal(found, wanted) else "different"
            assert outcome == "same" or not reader.checked, what
            counts[outcome] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()
    assert counts["older"] + counts["rejected"]
    row = "  ".join(f"{count:4} {outcome}" for outcome, count in counts.items())
    record_property("robustness", f"damaged {kind:<46} {row}")
