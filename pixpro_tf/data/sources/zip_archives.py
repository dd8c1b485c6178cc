"""Images in a zip archive, read individually without unpacking it."""

import os
import zipfile
from collections.abc import Iterable

import tensorflow as tf

from pixpro_tf.data.images import IMAGE_SUFFIXES, is_hidden, is_image_name, passed_over
from pixpro_tf.data.sources.listed import ListedSource, Record
from pixpro_tf.errors import RunError

# Size and first bytes of the header before a member's data.
_HEADER_SIZE = 30
_SIGNATURE = b"PK\x03\x04"
# Header of a gzip file without name and time, and the largest block of deflate that is not compressed.
_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(7)
_BLOCK = 0xFFFF
_BYTES = [bytes([value]) for value in range(256)]
_ENCRYPTED = 0x1


class ZipSource(ListedSource):
    """Images in a zip archive, in any of its folders.

    Members are selected by their names, as `FolderSource` selects files; if several members have the same name, the last one counts. Stored
    and deflated members are supported, in archives of any size.

    Args:
        path: path of a local file.

    Raises:
        RunError: if the file is not a supported zip archive, or contains no images.
    """

    def __init__(self, path: str, members: Iterable[zipfile.ZipInfo] | None = None) -> None:
        self.path = path
        if members is None:
            members, self.passed_over = _list_members(path)
        self._members = list(members)
        if not self._members:
            raise RunError(
                f"zip:{path} contains no images; looked for {', '.join(IMAGE_SUFFIXES)} in all of its folders",
                of="dataset",
            )
        super().__init__([_name_of(member) for member in self._members])
        # Offset of the header, sizes in the archive and unpacked, checksum of the unpacked data and compression method of each member.
        self._places = tf.constant(
            [
                (
                    member.header_offset,
                    member.compress_size,
                    member.file_size,
                    member.CRC,
                    member.compress_type == zipfile.ZIP_DEFLATED,
                )
                for member in self._members
            ],
            tf.int64,
        )

    def _origin(self) -> bytes:
        return (
            os.fsencode(os.path.abspath(os.path.expanduser(self.path)))
            + self._places.numpy().tobytes()
        )

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the contents of the image file; fails if the archive is damaged there."""
        # Everything is an operation without state: with deterministic operations, tf.data does not run others in parallel.
        archive = _Archive(self.path)
        offset, size, unpacked, checksum, deflated = tf.unstack(self._places[record["index"]])
        with tf.control_dependencies([archive.assert_member_at(offset)]):
            data = archive.read(offset + archive.header_size(offset), size)
        blocks = tf.cond(deflated == 1, lambda: data, lambda: _stored_blocks(data))
        # As a gzip file, whose checksum TensorFlow checks.
        framed = [_GZIP_HEADER, blocks, _little_endian(checksum, 4), _little_endian(unpacked, 4)]
        return tf.io.decode_compressed(tf.strings.join(framed), "GZIP")

    def without(self, names: Iterable[bytes]) -> "ZipSource":
        """Returns the same source without the images of these names."""
        left_out = set(names)
        return ZipSource(
            self.path, [each for each in self._members if _name_of(each) not in left_out]
        )


class _Archive:
    """Bytes of a local file, which operations read at any place.

    Args:
        path: path of the file.
    """

    def __init__(self, path: str) -> None:
        path = os.path.abspath(os.path.expanduser(path))
        self._path = path
        # Maps the file into memory, and reads only what is used. Fails if the file becomes shorter.
        self._bytes = tf.raw_ops.ImmutableConst(
            dtype=tf.uint8, shape=[os.path.getsize(path)], memory_region_name=path
        )

    def read(self, offset: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Returns `size` bytes from `offset` on, a string scalar."""
        # The serialized tensor ends with the bytes.
        serialized = tf.io.serialize_tensor(self._bytes[offset : offset + size])
        size = tf.cast(size, tf.int32)
        return tf.strings.substr(serialized, tf.strings.length(serialized) - size, size)

    def assert_member_at(self, offset: tf.Tensor) -> tf.Operation:
        """Fails if no member begins at an offset."""
        found = self.read(offset, tf.constant(len(_SIGNATURE), tf.int64))
        place = tf.strings.as_string(offset)
        return tf.debugging.Assert(
            found == _SIGNATURE,
            [tf.strings.join([f"{self._path} does not contain a member at byte ", place])],
        )

    def header_size(self, offset: tf.Tensor) -> tf.Tensor:
        """Size of the header at an offset, int64; its last two numbers are the lengths of the name and of an extra field after it."""
        lengths = tf.cast(self._bytes[offset + _HEADER_SIZE - 4 : offset + _HEADER_SIZE], tf.int64)
        return _HEADER_SIZE + tf.reduce_sum(lengths * [1, 256, 1, 256])


def _stored_blocks(data: tf.Tensor) -> tf.Tensor:
    """Divides bytes into blocks in the format of deflate, without compressing them."""
    count = tf.maximum((tf.strings.length(data) + _BLOCK - 1) // _BLOCK, 1)
    begins = tf.range(count) * _BLOCK
    parts = tf.strings.substr(tf.repeat(data, count), begins, tf.repeat(_BLOCK, count))
    sizes = tf.cast(tf.strings.length(parts), tf.int64)
    is_last = tf.where(tf.range(count) == count - 1, b"\x01", b"\x00")
    headers = [is_last, _little_endian(sizes, 2), _little_endian(0xFFFF - sizes, 2)]
    return tf.strings.reduce_join(tf.strings.join([*headers, parts]))


def _little_endian(numbers: tf.Tensor, size: int) -> tf.Tensor:
    """Bytes of each int64 number, from the least significant one on, as strings of a length."""
    parts = tf.expand_dims(numbers, -1) // [256**place for place in range(size)] % 256
    return tf.strings.reduce_join(tf.gather(_BYTES, parts), -1)


def _name_of(member: zipfile.ZipInfo) -> bytes:
    return member.filename.encode(errors="surrogateescape")


def _list_members(path: str) -> tuple[list[zipfile.ZipInfo], str]:
    """Lists the images, and returns the message about the other files."""
    what = f"zip:{path}"
    if "://" in path:
        raise RunError(f"{what} is a remote path; copy the archive to this machine", of="dataset")
    try:
        with zipfile.ZipFile(os.path.expanduser(path)) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except OSError as error:
        raise RunError(f"{what} cannot be read: {error.strerror or error}", of="dataset") from None
    except zipfile.BadZipFile as error:
        raise RunError(
            f"{what} is not a zip archive, or is truncated: {error}", of="dataset"
        ) from None
    found, others = [], []
    for name, member in sorted(members.items()):
        *folders, file = name.split("/")
        if not file or any(map(is_hidden, folders)):
            continue
        if not is_image_name(file):
            others.append(file)
            continue
        if member.flag_bits & _ENCRYPTED:
            raise RunError(
                f"{what} is encrypted ({name}); use an archive without encryption", of="dataset"
            )
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RunError(
                f"{what} uses compression method {member.compress_type} ({name}), which is not supported; use deflate or no compression",
                of="dataset",
            )
        found.append(member)
    return found, passed_over(others)
