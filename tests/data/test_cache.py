"""Cache in memory or on disk: the batches are the same and come from the cache, not from the original files."""

import io
import shutil
import zipfile

import pytest
import tensorflow as tf

from pixpro_tf.data import pipeline, sources
from pixpro_tf.data.sources import cache
from pixpro_tf.errors import RunError
from tests.support.batches import assert_same, write_noise

COUNT = 23


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Folder that contains a folder, an archive and shards of the same images."""
    root = tmp_path_factory.mktemp("originals")
    write_noise(root, COUNT)
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        for path in (root / "folder").iterdir():
            archive.write(path, path.name)
    return root


@pytest.fixture
def images(originals, tmp_path):
    """Copy of the images that a test may damage."""
    return shutil.copytree(originals, tmp_path / "images")


def open_source(images, kind):
    name = {
        "folder": "folder:{}/folder",
        "zip": "zip:{}/archive.zip",
        "tfrecord": "tfrecord:{}/shards/*",
    }
    return sources.open_source(name[kind].format(images), data_dir="", split="", shuffle_buffer=10)


def batches(source, host=0):
    # The batches pass the end of an epoch.
    dataset = pipeline.training_dataset(
        source, batch_size=4, image_size=16, min_crop_area=0.2, seed=5, num_hosts=2, host=host
    )
    return list(dataset.take(8).as_numpy_iterator())


def assert_all_same(streams, others):
    for batch, other in zip(streams, others, strict=True):
        assert_same(batch, other)


def spoil(images):
    """Empties all files; only their names are left."""
    for path in images.rglob("*.*"):
        path.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "zip", "tfrecord"])
@pytest.mark.parametrize("where", ["ram", "disk"])
def test_batches_are_the_same_and_come_from_the_cache(images, tmp_path, kind, where):
    source = open_source(images, kind)
    expected = [batches(source, host) for host in range(2)]
    lines = []
    kept = cache.keep(source, kind, where, str(tmp_path / "cache"), lines.append)
    assert kept.num_images == COUNT
    (line,) = lines
    assert line.startswith(f"Reading {COUNT} images into ")
    spoil(images)
    for host in range(2):
        assert_all_same(batches(kept, host), expected[host])


def test_files_of_the_cache_can_be_read_by_those_who_can_read_the_folder(tmp_path):
    store = cache.FolderStore(str(tmp_path))
    store.put([3, 4], [b"a", b"b"])
    (tmp_path / "other").write_bytes(b"")
    usual = (tmp_path / "other").stat().st_mode
    files = [path for path in tmp_path.rglob("*") if path.name.isdecimal() and path.is_file()]
    assert sorted(path.name for path in files) == ["3", "4"]
    assert {path.stat().st_mode for path in files} == {usual}
    (tmp_path / "other").unlink()
    assert cache.FolderStore(str(tmp_path)).found == {3, 4}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["ram", "disk"])
def test_images_that_were_left_out_stay_left_out(images, tmp_path, where):
    source = open_source(images, "tfrecord")
    records = source.epoch(0, tf.constant(0, tf.int64))
    left_out = sorted(record["name"].numpy() for record in records)[7:9]
    source = source.without(left_out)
    expected = batches(source)
    kept = cache.keep(source, "shards", where, str(tmp_path / "cache"))
    assert kept.num_images == COUNT - 2
    spoil(images)
    assert_all_same(batches(kept), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "zip", "tfrecord"])
def test_nothing_is_read_if_an_earlier_run_cached_all_images(images, tmp_path, kind):
    source = open_source(images, kind)
    expected = batches(source)
    cache.keep(source, kind, "disk", str(tmp_path / "cache"))
    spoil(images)
    lines = []
    assert_all_same(
        batches(cache.keep(source, kind, "disk", str(tmp_path / "cache"), lines.append)), expected
    )
    assert not lines


def test_images_missing_from_an_earlier_cache_are_read(images, tmp_path):
    source = open_source(images, "folder")
    expected = batches(source)
    folder = tmp_path / "cache"
    cache.keep(source, "folder", "disk", str(folder))
    (kept,) = folder.glob("*/0")
    (kept / "3").unlink()
    # Files like these remain after a process was killed while it wrote, and after a power cut.
    (kept / "4").rename(kept / "tmp1234")
    (kept / "5").write_bytes(b"")
    for path in images.rglob("*.png"):
        if path.stem not in ("03", "04", "05"):
            path.write_bytes(b"")
    lines = []
    assert_all_same(
        batches(cache.keep(source, "folder", "disk", str(folder), lines.append)), expected
    )
    assert lines == [f"Reading 3 images into {kept.parent} ..."]


def test_other_images_with_the_same_names_have_their_own_folder(images, tmp_path, monkeypatch):
    shutil.copytree(images, tmp_path / "others" / "images")
    path = str(images / "same size.zip")
    digests = set()
    for content in (b"1234", b"4321"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("00.png", content)
        source = sources.open_source(f"zip:{path}", data_dir="", split="", shuffle_buffer=1)
        digests.add(source.digest())
    names = ("folder:folder", "zip:archive.zip", "tfrecord:shards/*")
    for root in (images, tmp_path / "others" / "images"):
        # Relative paths are distinguished, too.
        monkeypatch.chdir(root)
        for name in names:
            source = sources.open_source(name, data_dir="", split="", shuffle_buffer=1)
            digests.add(source.digest())
    assert len(digests) == 2 + 2 * len(names)


def test_unreadable_images_are_reported(images, tmp_path):
    source = open_source(images, "folder")
    (images / "folder" / "07.png").unlink()
    with pytest.raises(RunError, match=r"^dataset=folder:x cannot be read: .*07\.png"):
        cache.keep(source, "folder:x", "ram", "")


def test_images_that_exceed_the_memory_are_rejected_early():
    store = cache.MemoryStore(num_images=100, memory=1000)
    store.put([0, 1], [b"1234567", b"123456789"])
    with pytest.raises(
        RunError, match=r"^cache=ram needs about 0.0 GiB, more than 80 % of .*; use --cache=disk$"
    ):
        store.put([2], [b"123456789"])


def test_an_unwritable_folder_is_reported(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^cache_dir=.*file/.* cannot be written: Not a directory"):
        cache.keep(open_source(images, "folder"), "x", "disk", str(tmp_path / "file"))


@pytest.mark.parametrize("kind", ["folder", "zip", "tfrecord"])
def test_records_are_identified_by_their_index(images, kind):
    source = open_source(images, kind)
    epoch = tf.constant(2, tf.int64)
    named = [
        {int(record["index"]): record["name"].numpy() for record in each.epoch(1, epoch)}
        for each in (source, source.without_contents())
    ]
    assert named[0] == named[1] and sorted(named[0]) == list(range(COUNT))
    assert len(set(named[0].values())) == COUNT


def test_the_memory_limit_of_a_container_counts(monkeypatch):
    assert 0 < cache.memory_bytes() <= 2**50
    monkeypatch.setattr("builtins.open", lambda *_: io.StringIO("1000000\n"))
    assert cache.memory_bytes() == 1000000


@pytest.mark.parametrize("kind", ["folder", "zip", "tfrecord", "ram", "disk"])
def test_images_are_read_by_operations_without_state(images, tmp_path, kind):
    """With deterministic operations, as is the default, tf.data does not run anything in parallel that has a state."""
    source = open_source(images, kind if kind in ("folder", "zip", "tfrecord") else "folder")
    if kind in ("ram", "disk"):
        source = cache.keep(source, "images", kind, str(tmp_path / "cache"))
    (record,) = source.epoch(0, tf.constant(0, tf.int64)).take(1)
    graph = tf.function(source.encoded).get_concrete_function(record).graph
    with_state = {op.type for op in all_operations(graph) if op.op_def.is_stateful}
    # tf.data knows that assertions do not depend on their order.
    assert with_state <= {"Assert", "Placeholder"}
    assert len(all_operations(graph)) > 2 or kind == "tfrecord"


def all_operations(graph):
    """Returns the operations of a graph and of the branches in it."""
    branches = [
        branch
        for op in graph.get_operations()
        if op.type == "StatelessIf"
        for branch in op_graphs(op)
    ]
    return [*graph.get_operations(), *(op for each in branches for op in all_operations(each))]


def op_graphs(op):
    names = [op.get_attr(name).name for name in ("then_branch", "else_branch")]
    return [op.graph._get_function(name).graph for name in names]
