"""Images in a zip archive, read individually without unpacking it."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from pixpro_tf.data import limits
from pixpro_tf.data.images import by_python, is_hidden, is_image_name, passed_over, suffixes_of
from pixpro_tf.data.sources.listed import ListedSource, Record
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import RunError, printable

# Header before a member's data; its last two numbers are the lengths of the name and of the extra field that follows it.
_HEADER = struct.Struct("<4s5H3I2H")
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED, _UTF8 = 0x1, 0x800


class ZipSource(ListedSource):
    """Images in a zip archive, in any of its folders.

    Members are selected by their names, as `FolderSource` selects files; if several members have the same name, the last one counts. Stored
    and deflated members are supported, in archives of any size. Reads do not need a lock, so all threads can read at the same time.

    Args:
        path: path of a local file.
        members: members that contain the images, if they have been listed already.
        channels: channels of the images.

    Raises:
        RunError: if the file is not a supported zip archive, or contains no images.
    """

    def __init__(
        self,
        path: str,
        members: Iterable[zipfile.ZipInfo] | None = None,
        channels: Channels = RGB,
    ) -> None:
        self.path = path
        if members is None:
            members, self.passed_over = _list_members(path, suffixes_of(channels))
        self._members = list(members)
        if not self._members:
            raise RunError(
                f"zip:{path} contains no images; looked for {', '.join(suffixes_of(channels))} in all of its folders",
                of="dataset",
            )
        super().__init__([_name_of(member) for member in self._members], channels)
        # The file is never closed, because reads may continue until the process ends.
        self._file = os.open(os.path.expanduser(path), os.O_RDONLY)

    def _origin(self) -> bytes:
        places = np.array(
            [
                (each.header_offset, each.compress_size, each.CRC, _is_deflated(each))
                for each in self._members
            ],
            np.int64,
        )
        return os.fsencode(os.path.abspath(os.path.expanduser(self.path))) + places.tobytes()

    def _names_in_dataset(self) -> list[bytes]:
        return [b"%d %s" % (each.CRC, _name_of(each)) for each in self._members]

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the contents of the image file."""
        return tf.ensure_shape(by_python(self._read, record["index"], tf.string), [])

    def _read(self, index: np.ndarray) -> bytes:
        """Unpacks a member; raises `ValueError` if it is damaged."""
        member = self._members[int(index)]
        offset = member.header_offset
        header = os.pread(self._file, _HEADER.size, offset)
        if len(header) < _HEADER.size or not header.startswith(_SIGNATURE):
            raise ValueError(f"{printable(self.path)} does not contain a member at byte {offset}")
        *_, name_length, extra_length = _HEADER.unpack(header)
        start = offset + _HEADER.size
        name = os.pread(self._file, name_length, start)
        # Names have no checksum, but stand here and in the directory of the archive.
        if name != member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437"):
            raise ValueError(
                f"{printable(self.path)} has two names for the member at byte {offset}"
            )
        data = os.pread(self._file, member.compress_size, start + name_length + extra_length)
        if _is_deflated(member):
            # The data are raw, without zlib's own header, and may be larger than the directory says.
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.file_size + 1)
            except zlib.error:
                raise ValueError(f"{printable(self.path)} is damaged at byte {offset}") from None
        if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
            raise ValueError(f"{printable(self.path)} is damaged at byte {offset}")
        return data

    def without(self, names: Iterable[bytes]) -> "ZipSource":
        """Returns the same source without the images of these names."""
        left_out = set(names)
        members = [each for each in self._members if _name_of(each) not in left_out]
        return ZipSource(self.path, members, self.channels)


def _is_deflated(member: zipfile.ZipInfo) -> bool:
    return member.compress_type == zipfile.ZIP_DEFLATED


def _name_of(member: zipfile.ZipInfo) -> bytes:
    return member.filename.encode(errors="surrogateescape")


def _list_members(path: str, suffixes: tuple[str, ...]) -> tuple[list[zipfile.ZipInfo], str]:
    """Lists the images, and returns the message about the other files."""
    what = f"zip:{path}"
    if "://" in path:
        raise RunError(f"{what} is a remote path; copy the archive to this machine", of="dataset")
    try:
        with zipfile.ZipFile(os.path.expanduser(path)) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except OSError as error:
        raise RunError(f"{what} cannot be read: {error.strerror or error}", of="dataset") from None
    except Exception as error:
        # A damaged directory can be unreadable in many ways.
        raise RunError(
            f"{what} is not a zip archive, or is truncated: {error}", of="dataset"
        ) from None
    found, others = [], []
    for name, member in sorted(members.items()):
        *folders, file = name.split("/")
        if not file or any(map(is_hidden, folders)):
            continue
        if not is_image_name(file, suffixes):
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
        try:
            limits.check_bytes(max(member.file_size, member.compress_size))
        except limits.TooLarge as error:
            raise RunError(f"{what} cannot be read: {name}: {error}", of="dataset") from None
        found.append(member)
    return found, passed_over(others, suffixes)
