"""Images in TFRecord files: files of this package and of others, and errors of files that are not TFRecord files."""

import functools
import io
import os
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf import tfrecords
from pixpro_tf.cli import write_tfrecords
from pixpro_tf.cli.shards import example_of
from pixpro_tf.data import sources
from pixpro_tf.data.images import decode
from pixpro_tf.data.sources import tfrecords as shard_files
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.errors import ConfigError, RunError
from tests.support.runs import error_line

COUNT = 23


def epoch_of(number):
    return tf.constant(number, tf.int64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of grey images; the level encodes the index of the image."""
    path = tmp_path_factory.mktemp("images")
    for index in range(COUNT):
        Image.fromarray(np.full([4, 5, 3], index, np.uint8)).save(path / f"{index:02d}.png")
    return path


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("shards") / "made"
    assert write_tfrecords.write(f"folder:{folder}", str(path), per_shard=5, num_workers=1) == COUNT
    return path


def open_tfrecords(pattern, shuffle_buffer=1000):
    source = sources.open_source(
        f"tfrecord:{pattern}", data_dir="", split="", shuffle_buffer=shuffle_buffer
    )
    assert isinstance(source, ShardSource)
    return source


def levels(source, epoch=0):
    records = source.epoch(0, epoch_of(epoch))
    return [int(decode(source.encoded(record))[0, 0, 0]) for record in records]


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path)) as file:
        for record in records:
            file.write(record)


def example(**features):
    return example_of(
        {name.replace("_", "/"): value for name, value in features.items()}
    ).SerializeToString()


def test_shards_contain_the_bytes_and_names_of_the_files(folder, shards):
    assert sorted(os.listdir(shards)) == [
        f"images-{shard:05d}-of-00005.tfrecord" for shard in range(5)
    ]
    found, counts = {}, []
    for path in sorted(shards.iterdir()):
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        counts.append(len(records))
        for record in records:
            features = tf.train.Example.FromString(record).features.feature
            (name,) = features["image/filename"].bytes_list.value
            (found[os.path.basename(name.decode())],) = features["image/encoded"].bytes_list.value
            # Features are in a fixed order, which protobuf guarantees only on request.
            assert record.index(b"image/encoded") < record.index(b"image/filename")
    assert counts == [5, 5, 5, 5, 3]
    assert found == {path.name: path.read_bytes() for path in folder.iterdir()}
    # Each shard is a random sample of the files, not a part of the sorted list.
    assert list(found) != sorted(found)


def test_shards_contain_what_only_pillow_reads_as_png(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, [3, 6, 7, 3], np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    for name, image in zip(("a.tif", "b.webp", "c.png"), pixels, strict=True):
        Image.fromarray(image).save(folder / name, **({"lossless": True} if "webp" in name else {}))
    write = functools.partial(write_tfrecords.write, f"folder:{folder}", per_shard=5, num_workers=1)
    assert write(str(tmp_path / "made")) == 3
    found = {}
    source = open_tfrecords(tmp_path / "made" / "*")
    for record in source.epoch(0, epoch_of(0)):
        name = record["name"].numpy().decode()
        found[name] = decode(source.encoded(record), pillow=False).numpy()
    assert sorted(image.tolist() for image in found.values()) == sorted(pixels.tolist())
    (folder / "b.webp").write_bytes(b"RIFF1234WEBP")
    with pytest.raises(RunError, match=r"b\.webp: damaged, or not a GIF, WEBP, TIFF or BMP"):
        write(str(tmp_path / "other"))


def test_files_of_other_types_are_counted(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.heic").write_bytes(b"")
    write_tfrecords.write(
        f"folder:{tmp_path / 'images'}", str(tmp_path / "made"), per_shard=5, num_workers=1
    )
    assert "Skipped files of other types: 1 (1 .heic)" in capsys.readouterr().out


def test_no_empty_shard_is_written_if_the_count_divides_evenly(folder, tmp_path):
    write_tfrecords.write(
        f"folder:{folder}", str(tmp_path / "made"), per_shard=COUNT, num_workers=1
    )
    assert os.listdir(tmp_path / "made") == ["images-00000-of-00001.tfrecord"]


@pytest.mark.slow
@pytest.mark.parametrize("shuffle_buffer", [1, 1000])
def test_each_image_occurs_once_per_epoch(shards, shuffle_buffer):
    source = open_tfrecords(shards / "*", shuffle_buffer)
    assert source.num_images == COUNT
    orders = [levels(source, epoch) for epoch in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(COUNT))
    assert orders[0] != orders[1] and levels(source, 1) == orders[1]


def test_without_leaves_images_out(shards):
    source = open_tfrecords(shards / "*")
    names = [record["name"].numpy() for record in source.epoch(0, epoch_of(0))]
    rest = source.without(names[:3])
    assert len(set(names)) == COUNT and rest.num_images == COUNT - 3
    assert sorted(levels(rest)) == sorted(levels(source)[3:])


@pytest.mark.parametrize("feature", ["image_encoded", "image", "encoded"])
def test_records_with_other_feature_names_are_read(folder, tmp_path, feature):
    data = [path.read_bytes() for path in sorted(folder.iterdir())]
    write_records(tmp_path / "empty", [])
    for part in (0, 1):
        records = [example(**{feature: each, "label": b"x"}) for each in data[part::2]]
        write_records(tmp_path / f"part{part}", records)
    assert sorted(levels(open_tfrecords(tmp_path / "*"))) == list(range(COUNT))


def test_an_archive_can_be_converted_to_shards(folder, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    assert tfrecords.main([f"--images=zip:{path}", f"--output={tmp_path / 'made'}"]) == 0
    assert sorted(levels(open_tfrecords(tmp_path / "made" / "*"))) == list(range(COUNT))


def test_the_seed_changes_the_order(folder, shards, tmp_path):
    def first_shard(path):
        return (path / "images-00000-of-00005.tfrecord").read_bytes()

    for seed in (0, 1):
        write_tfrecords.write(
            f"folder:{folder}", str(tmp_path / str(seed)), per_shard=5, seed=seed, num_workers=1
        )
    assert first_shard(tmp_path / "0") == first_shard(shards) != first_shard(tmp_path / "1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--images=folder:/not/there"],
            "--images=folder:/not/there cannot be read: /not/there: No such file",
        ),
        (["--images=zip:/not/there"], "--images=zip:/not/there cannot be read: No such file"),
        (["--images=scenes/128"], "--images=scenes/128 must be folder:PATH or zip:FILE"),
        (["--images_per_shard=0"], "--images_per_shard=0 is too small; the minimum is 1"),
        (["--output=."], "--output=. is the working directory or contains it"),
    ],
)
def test_mistakes_are_reported_in_one_line(folder, tmp_path, capsys, flags, message):
    output = tmp_path / "made"
    assert tfrecords.main([f"--images=folder:{folder}", f"--output={output}", *flags]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not output.exists()


def test_an_unreadable_image_leaves_no_output(folder, tmp_path, capsys):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
        damaged = archive.namelist()[0]
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    assert tfrecords.main([f"--images=zip:{path}", f"--output={tmp_path / 'made'}"]) == 1
    error = capsys.readouterr().err
    assert f"--images=zip:{path} cannot be read: {damaged}: " in error and error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["images.zip"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"no records, but a text of some length",
            "is not a TFRecord file, or is truncated",
        ),
        (b"short", "is not a TFRecord file, or is truncated"),
        (b"", "contains no records in any of its files"),
    ],
)
def test_files_without_records_are_rejected(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RunError, match=rf"^dataset=tfrecord:.*{message}"):
        open_tfrecords(tmp_path / "file")


@pytest.mark.parametrize("kind", ["GZIP", "ZLIB"])
def test_compressed_records_are_rejected_as_such(tmp_path, kind):
    with tf.io.TFRecordWriter(str(tmp_path / "file"), kind) as records:
        for number in range(20):
            records.write(bytes([number]) * 50)
    with pytest.raises(RunError, match=r"/file is compressed; write it again without compression"):
        open_tfrecords(tmp_path / "file")


def test_a_truncated_file_is_rejected(shards, tmp_path):
    data = next(iter(shards.iterdir())).read_bytes()
    (tmp_path / "file").write_bytes(data[:-3])
    with pytest.raises(RunError, match="or is truncated"):
        open_tfrecords(tmp_path / "file")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            example(text=b"a", label=b"b"),
            "none of the features image/encoded, image, encoded contains an image; the features are label, text",
        ),
        (example(image=b"no image"), "the feature image is not an encoded image: "),
        (b"\xff\xff\xff", "the records are not tf.train.Examples: "),
    ],
    # The ids are not the bytes, because protobuf serialises them differently in every process.
    ids=["no image", "not encoded", "no example"],
)
def test_records_without_images_are_rejected(tmp_path, record, message):
    write_records(tmp_path / "file", [record])
    with pytest.raises(RunError, match=message) as error:
        open_tfrecords(tmp_path / "file")
    assert "\n" not in str(error.value)


def _of_two_images(data):
    made = tf.train.Example()
    made.features.feature["image"].bytes_list.value.extend([data, data])
    return made.SerializeToString()


def _of_a_number(data):
    made = tf.train.Example()
    made.features.feature["image"].int64_list.value.append(3)
    return made.SerializeToString()


ODD_RECORDS = {
    "no image": lambda data: example(label=b"a"),
    "two images": _of_two_images,
    "a number": _of_a_number,
    "no example": lambda data: b"\xff\xff\xff",
    "not encoded": lambda data: example(image=b"no image"),
}


@pytest.mark.parametrize("place", [0, 7])
@pytest.mark.parametrize("kind", ODD_RECORDS)
def test_a_record_without_an_image_is_identified_by_its_position(folder, tmp_path, kind, place):
    data = [path.read_bytes() for path in sorted(folder.iterdir())]
    records = [example(image=each) for each in data]
    records[place] = ODD_RECORDS[kind](data[place])
    write_records(tmp_path / "part", records)
    source = open_tfrecords(tmp_path / "part")
    name = b"part#%d" % place
    assert sources.find_bad_images(source.epoch(0, epoch_of(0)), source) == [name]
    assert sorted(levels(source.without([name]))) == [*range(place), *range(place + 1, COUNT)]


def test_a_pattern_that_matches_a_folder_is_rejected(shards, tmp_path):
    (tmp_path / "more").mkdir()
    with pytest.raises(
        ConfigError, match=r"matches the folder .*/more; use a pattern that matches files"
    ):
        open_tfrecords(tmp_path / "*")


def test_a_pattern_that_matches_no_file_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="does not match any file"):
        open_tfrecords(tmp_path / "*")


@pytest.mark.slow
def test_training_on_a_damaged_record_ends_with_one_line(shards, tmp_path, train, tiny_flags):
    for path in shards.iterdir():
        data = bytearray(path.read_bytes())
        if path.name.startswith("images-00001"):
            data[len(data) // 2] ^= 1
        (tmp_path / path.name).write_bytes(data)
    flags = [f"--dataset=tfrecord:{tmp_path}/*", f"--run_dir={tmp_path / 'run'}"]
    result = train(*tiny_flags, *flags, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    said = f"is damaged, and its shards must be created again: {tmp_path}/images-00001-of-"
    assert said in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("on_bad_image", ["stop", "skip"])
def test_training_on_a_record_without_an_image(folder, tmp_path, train, tiny_flags, on_bad_image):
    data = [path.read_bytes() for path in sorted(folder.iterdir())]
    write_records(tmp_path / "part", [example(image=each) for each in data] + [example(label=b"a")])
    flags = [f"--dataset=tfrecord:{tmp_path}/part", f"--run_dir={tmp_path / 'run'}"]
    flags += [f"--on_bad_image={on_bad_image}", "--max_steps=6"]
    result = train(*tiny_flags, *flags, check=False)
    assert "Traceback" not in result.stderr
    if on_bad_image == "stop":
        assert result.returncode == 1
        assert f" failed on unreadable images: part#{COUNT} (" in error_line(result)
    else:
        assert result.returncode == 0
        assert f"Skipped unreadable images: 1 of {COUNT + 1} (part#{COUNT})" in result.stdout


def parts(source, hosts, epoch=0):
    """Returns the positions and levels that each host reads."""
    found = []
    for host in range(hosts):
        records = source.part(7, epoch_of(epoch), hosts, host)
        found.append(
            [
                (int(position), int(decode(source.encoded(record))[0, 0, 0]))
                for position, record in records
            ]
        )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [0, 4])
@pytest.mark.parametrize("hosts", [2, 3, 5])
def test_hosts_share_one_order(shards, hosts, left_out):
    source = open_tfrecords(shards / "*", shuffle_buffer=10)
    names = [record["name"].numpy() for record in source.epoch(1, epoch_of(0))]
    source = source.without(names[:left_out])
    (whole,) = parts(source, 1)
    assert [position for position, _ in whole] == list(range(COUNT - left_out))
    assert len({level for _, level in whole}) == COUNT - left_out
    shares = parts(source, hosts)
    for host, share in enumerate(shares):
        assert share == whole[host::hosts]


@pytest.mark.slow
def test_a_host_does_not_read_the_shards_of_other_hosts(folder, tmp_path):
    write_tfrecords.write(f"folder:{folder}", str(tmp_path / "made"), per_shard=6, num_workers=1)
    source = open_tfrecords(tmp_path / "made" / "*")

    def shards_of(host):
        records = source.part(0, epoch_of(0), 4, host)
        return {record["name"].numpy().decode().partition("#")[0] for _, record in records}

    # The shards have 6, 6, 6 and 5 images, as have the lanes. A host reads one shard, or two if the small shard comes early.
    read = [shards_of(host) for host in range(4)]
    assert max(map(len, read)) <= 2
    for path in (tmp_path / "made").iterdir():
        path.rename(tmp_path / "away")
        for host in range(4):
            if path.name in read[host]:
                with pytest.raises(tf.errors.NotFoundError):
                    shards_of(host)
            else:
                assert shards_of(host) == read[host]
        (tmp_path / "away").rename(path)


@pytest.mark.slow
def test_many_shards_are_divided_into_lanes(tmp_path):
    def png(level):
        return tf.io.encode_png(np.full([1, 1, 3], level, np.uint8)).numpy()

    # There are 70 shards of one to three images; some shards lie in two lanes.
    levels_of = np.split(np.arange(140), np.cumsum([1 + index % 3 for index in range(69)]))
    for index, of_shard in enumerate(levels_of):
        write_records(tmp_path / f"{index:02d}", [example(image=png(level)) for level in of_shard])
    source = open_tfrecords(tmp_path / "*", shuffle_buffer=1)
    assert source.num_lanes == 64 and source.num_images == 140
    for epoch in range(2):
        (whole,) = parts(source, 1, epoch)
        assert sorted(level for _, level in whole) == list(range(140))
        assert [share[:3] for share in parts(source, 32, epoch)] == [
            whole[host::32][:3] for host in range(32)
        ]
    assert parts(source, 1, 0) != parts(source, 1, 1)


def test_counting_local_records_reads_their_lengths_only(tmp_path, monkeypatch):
    """TensorFlow's own files read half a megabyte at each place, which is most of a data set."""
    path = tmp_path / "large"
    write_records(path, [example(image=bytes(100_000)) for _ in range(20)])
    read = []

    class Counted(io.FileIO):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    monkeypatch.setattr(shard_files, "_opened", Counted)
    assert shard_files._count_records("tfrecord:large", str(path)) == 20
    assert sum(read) == 20 * 12
