"""Images in zip archives: which members count, how they are read, and errors of archives that cannot be read."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf.data import sources
from pixpro_tf.data.images import decode
from pixpro_tf.data.pipeline import training_dataset
from pixpro_tf.data.sources import zip_archives
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.data.sources.zip_archives import ZipSource
from pixpro_tf.errors import RunError


def epoch_of(number):
    return tf.constant(number, tf.int64)


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full([4, 5, 3], value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make_archive(path, members, compression=zipfile.ZIP_DEFLATED, mode="w"):
    with zipfile.ZipFile(path, mode, compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def names_of(source):
    return sorted(record["name"].numpy() for record in source.epoch(0, epoch_of(0)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_as_zipfile_reads_them(tmp_path, compression):
    members = {f"train/class {index % 3}/{index}.png": png(index) for index in range(20)}
    path = make_archive(tmp_path / "images.zip", members, compression)
    source = sources.open_source(f"zip:{path}", data_dir="", split="", shuffle_buffer=1)
    assert isinstance(source, ZipSource) and source.num_images == 20
    records = source.epoch(3, epoch_of(1))
    read = records.map(
        lambda record: (record["name"], source.encoded(record)), num_parallel_calls=4
    )
    found = {name.decode(): data for name, data in read.as_numpy_iterator()}
    with zipfile.ZipFile(path) as archive:
        assert found == {name: archive.read(name) for name in members}


def test_the_header_before_the_data_determines_where_the_data_begin(tmp_path):
    """The header can be longer than the archive's directory says: members of a stream have other extra fields there."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        # Only the header reserves space for 64-bit sizes.
        with archive.open("large.png", "w", force_zip64=True) as member:
            member.write(png(7))
        archive.writestr("small.png", png(8))
    source = ZipSource(str(path))
    values = {
        record["name"].numpy(): int(decode(source.encoded(record))[0, 0, 0])
        for record in source.epoch(0, epoch_of(0))
    }
    assert values == {b"large.png": 7, b"small.png": 8}


def test_members_are_selected_by_their_names(tmp_path):
    members = {
        "a.PNG": png(1),
        "deep/er/b.jpeg": png(2),
        "notes.txt": b"text",
        ".hidden.png": b"",
        "__MACOSX/._a.png": b"",
        ".git/c.png": b"",
        "folder.png/": b"",
        "ärger.png": png(3),
    }
    source = ZipSource(make_archive(tmp_path / "images.zip", members))
    assert names_of(source) == sorted(
        name.encode() for name in ("a.PNG", "deep/er/b.jpeg", "ärger.png")
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_member_of_a_name_counts(tmp_path):
    path = make_archive(tmp_path / "images.zip", {"a.png": png(1)})
    make_archive(path, {"a.png": png(2)}, mode="a")
    source = ZipSource(path)
    (record,) = source.epoch(0, epoch_of(0))
    assert int(decode(source.encoded(record))[0, 0, 0]) == 2


def test_without_leaves_images_out(tmp_path):
    members = {f"{index}.png": png(index) for index in range(6)}
    source = ZipSource(make_archive(tmp_path / "images.zip", members))
    rest = source.without([b"2.png", b"nothing"]).without([b"4.png"])
    assert names_of(rest) == [b"0.png", b"1.png", b"3.png", b"5.png"]
    for record in rest.epoch(0, epoch_of(0)):
        value = int(decode(rest.encoded(record))[0, 0, 0])
        assert record["name"].numpy() == b"%d.png" % value


def test_a_changed_byte_of_a_stored_member_is_detected(tmp_path):
    """A stored member can be read whatever its bytes are; only the checksum reveals the change."""
    path = make_archive(tmp_path / "images.zip", {"a.png": png(7)}, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.infolist()
    content = bytearray((tmp_path / "images.zip").read_bytes())
    content[30 + len("a.png") + member.compress_size // 2] ^= 1
    (tmp_path / "images.zip").write_bytes(content)
    source = sources.open_source(f"zip:{path}", data_dir="", split="", shuffle_buffer=1)
    (record,) = source.epoch(0, epoch_of(0))
    with pytest.raises(tf.errors.InvalidArgumentError, match="is damaged at byte 0"):
        source.encoded(record)


def test_a_changed_name_is_detected(tmp_path):
    """It would change the order of the images, and names have no checksum."""
    path = tmp_path / "images.zip"
    make_archive(path, {"ä.png": png(7), "b.png": png(8)})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"b.png")] ^= 1
    path.write_bytes(content)
    source = ZipSource(str(path))
    assert names_of(source) == [b"c.png", "ä.png".encode()]
    assert sources.find_bad_images(source.epoch(0, epoch_of(0)), source) == [b"c.png"]


def test_a_member_that_is_larger_than_declared_is_not_unpacked(tmp_path):
    path = tmp_path / "images.zip"
    make_archive(path, {"a.png": bytes(10**8)})
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    source = ZipSource(str(path))
    (record,) = source.epoch(0, epoch_of(0))
    tracemalloc.start()
    with pytest.raises(tf.errors.InvalidArgumentError, match="is damaged at byte 0"):
        source.encoded(record)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_is_an_error_of_tensorflow_outside_graphs_too(tmp_path, compression):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.png", b"content " * 99)
        place = archive.infolist()[0].header_offset + 30 + len("a.png")
    content = bytearray(path.read_bytes())
    content[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    source = sources.open_source(f"zip:{path}", data_dir="", split="", shuffle_buffer=1)
    (record,) = source.epoch(0, tf.constant(0, tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="is damaged at byte 0"):
        source.encoded(record)


def test_damaged_members_are_found_by_name(tmp_path):
    members = {f"{index}.png": os.urandom(50) + png(index) for index in range(3)}
    members |= {f"good {index}.png": png(index) for index in range(3)}
    for name, compression in (("a.zip", zipfile.ZIP_STORED), ("b.zip", zipfile.ZIP_DEFLATED)):
        path = make_archive(tmp_path / name, members, compression)
        with zipfile.ZipFile(path) as archive:
            start = archive.getinfo("good 1.png").header_offset
        with open(path, "r+b") as file:
            file.seek(start + 45)
            byte = file.read(1)
            file.seek(start + 45)
            file.write(bytes([byte[0] ^ 1]))
        source = ZipSource(path)
        bad = sources.find_bad_images(source.epoch(0, epoch_of(0)), source)
        assert bad == [b"0.png", b"1.png", b"2.png", b"good 1.png"]


def cut(path):
    """Removes the end of an archive, which contains the directory of its members."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def misspell(path):
    """Makes the last name in the directory invalid."""
    content = path.read_bytes()
    place = content.rindex("ä".encode())
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])


@pytest.mark.parametrize(
    ("members", "compression", "spoil", "message"),
    [
        ({"notes.txt": b""}, zipfile.ZIP_STORED, None, "contains no images"),
        ({"a.png": png(0)}, zipfile.ZIP_LZMA, None, r"uses compression method 14 \(a.png\)"),
        ({"a.png": png(0)}, zipfile.ZIP_STORED, cut, "is not a zip archive, or is truncated"),
        ({"ä.png": png(0)}, zipfile.ZIP_STORED, misspell, "or is truncated: 'utf-8' codec"),
        ({"a.png": png(0)}, zipfile.ZIP_STORED, os.remove, "cannot be read: No such file"),
    ],
)
def test_unreadable_archives_are_rejected_in_one_line(
    tmp_path, members, compression, spoil, message
):
    path = tmp_path / "images.zip"
    make_archive(path, members, compression)
    if spoil:
        spoil(path)
    with pytest.raises(RunError, match=rf"^dataset=zip:.*{message}") as error:
        ZipSource(str(path))
    assert "\n" not in str(error.value)


def test_an_encrypted_archive_is_rejected(tmp_path, monkeypatch):
    path = make_archive(tmp_path / "images.zip", {"a.png": png(0)})
    data = bytearray((tmp_path / "images.zip").read_bytes())
    # These are the flags in the archive's directory.
    data[data.rindex(b"PK\x01\x02") + 8] |= zip_archives._ENCRYPTED
    (tmp_path / "images.zip").write_bytes(data)
    with pytest.raises(RunError, match=r"is encrypted \(a.png\)"):
        ZipSource(path)


def test_a_remote_path_is_rejected():
    with pytest.raises(RunError, match="is a remote path; copy the archive"):
        ZipSource("gs://bucket/images.zip")


def test_an_archive_has_the_same_batches_as_the_folder_that_it_contains(photos, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(photos.iterdir()):
            archive.write(file, file.name)

    def batches(source):
        settings = {"batch_size": 4, "image_size": 32, "min_crop_area": 0.2, "seed": 1}
        return training_dataset(source, **settings).take(3).as_numpy_iterator()

    pairs = zip(batches(FolderSource(str(photos))), batches(ZipSource(str(path))), strict=True)
    for expected, found in pairs:
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def test_an_archive_that_becomes_shorter_is_an_error(tmp_path):
    source = ZipSource(make_archive(tmp_path / "images.zip", {"a.png": png(7), "b.png": png(8)}))
    os.truncate(tmp_path / "images.zip", 10)
    for record in source.epoch(0, epoch_of(0)):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="does not contain a member at byte"
        ):
            source.encoded(record)


def test_an_archive_of_more_than_four_gigabytes_is_read(tmp_path):
    """Most of the file is a hole, which takes no space."""
    with open(tmp_path / "images.zip", "wb") as file:
        file.truncate(5 * 2**30)
    make_archive(tmp_path / "images.zip", {"a.png": png(7)}, mode="a")
    source = ZipSource(str(tmp_path / "images.zip"))
    (record,) = source.epoch(0, epoch_of(0))
    assert int(decode(source.encoded(record))[0, 0, 0]) == 7
