"""TFRecord files of `tf.train.Example`s with one encoded image each: their image feature and number of records."""

import contextlib
import os
import struct
from typing import Any

import tensorflow as tf

from pixpro_tf.data import limits
from pixpro_tf.data.images import decode
from pixpro_tf.data.progress import counted
from pixpro_tf.errors import ConfigError, RunError, first_line, listed

# Names of the image feature in the TensorFlow Models, the Object Detection API and TFDS; they are tried in this order.
FEATURES = ("image/encoded", "image", "encoded")
# Number of records of a file that are searched for an image.
_SEARCHED = 100
# A record is preceded by its length and the checksum of the length, and followed by the checksum of the record.
_BEFORE, _AFTER = struct.Struct("<QI"), 4


def find_shards(pattern: str) -> tuple[list[tuple[str, int, int]], str]:
    """Finds the TFRecord files that match a pattern.

    Args:
        pattern: file pattern with `*`, `?` and `[...]` as in a shell, local or in any file system that TensorFlow reads.

    Returns:
        `(file, 0, records)` for each file that contains records, sorted by name, and the name of the image feature.

    Raises:
        ConfigError: if the pattern does not match any file, or matches a folder.
        RunError: if a file is not a TFRecord file, or the records contain no images.
    """
    what = f"tfrecord:{pattern}"
    try:
        files = sorted(tf.io.gfile.glob(os.path.expanduser(pattern)))
    except UnicodeError:
        raise RunError(
            f"{what} cannot be read: its path is not valid UTF-8, which TensorFlow requires; rename it",
            of="dataset",
        ) from None
    except tf.errors.OpError as error:
        raise RunError(f"{what} cannot be read: {first_line(error)}", of="dataset") from None
    if not files:
        raise ConfigError(
            f"{what} does not match any file; use a pattern such as /data/images-*.tfrecord",
            of="dataset",
        )
    if folder := next((file for file in files if tf.io.gfile.isdir(file)), None):
        raise ConfigError(
            f"{what} matches the folder {folder}; use a pattern that matches files, such as {folder}/*.tfrecord",
            of="dataset",
        )
    progress = counted(files, len(files), "files counted")
    counts = [(file, 0, _count_records(what, file)) for file in progress]
    instructions = [each for each in counts if each[-1]]
    if not instructions:
        raise RunError(f"{what} contains no records in any of its files", of="dataset")
    return instructions, _image_feature(what, instructions[0][0])


def _count_records(what: str, file: str) -> int:
    """Counts the records of a file by their lengths, without reading the records themselves."""
    count, place = 0, 0
    try:
        with _opened(file) as records:
            size = tf.io.gfile.stat(file).length
            while place < size:
                records.seek(place)
                head = records.read(_BEFORE.size)
                length = _BEFORE.unpack(head)[0] if len(head) == _BEFORE.size else size
                if place + length < size:
                    limits.check_bytes(length)
                place += _BEFORE.size + length + _AFTER
                count += 1
    except limits.TooLarge as error:
        raise RunError(f"{what} cannot be read: {file}#{count}: {error}", of="dataset") from None
    except (tf.errors.OpError, OSError) as error:
        raise RunError(
            f"{what} cannot be read: {file}: {first_line(error)}", of="dataset"
        ) from None
    if place != size:
        reason = "is not a TFRecord file, or is truncated"
        if _is_compressed(file):
            reason = "is compressed; write it again without compression, which images do not need"
        raise RunError(f"{what} cannot be read: {file} {reason}", of="dataset")
    return count


def _opened(file: str) -> Any:
    """Opens a file for reading; a local one without a buffer, because TensorFlow reads half a megabyte for each length."""
    return tf.io.gfile.GFile(file, "rb") if "://" in file else open(file, "rb", buffering=0)


def _is_compressed(file: str) -> bool:
    """Returns whether a file is that of a `TFRecordWriter` with compression."""
    for kind in ("GZIP", "ZLIB"):
        with contextlib.suppress(tf.errors.OpError):
            next(iter(tf.data.TFRecordDataset(file, compression_type=kind)), None)
            return True
    return False


def _image_feature(what: str, file: str) -> str:
    """Returns the name of the feature that contains the image, in the first record of a file that has one."""
    problems = []
    try:
        for record in tf.data.TFRecordDataset(file).take(_SEARCHED).as_numpy_iterator():
            try:
                return _feature_of(record)
            except ValueError as error:
                problems.append(str(error))
    except tf.errors.OpError as error:
        problems.append(first_line(error))
    raise RunError(f"{what} cannot be read: {file}: {problems[0]}", of="dataset")


def _feature_of(record: bytes) -> str:
    """Returns the name of the feature with the image of a record; raises `ValueError` without one."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except Exception as error:
        raise ValueError(f"the records are not tf.train.Examples: {first_line(error)}") from None
    # Asking for a feature would create it.
    found = [each for each in FEATURES if each in features and features[each].bytes_list.value]
    if not found:
        names = listed(sorted(features), 10)
        raise ValueError(
            f"none of the features {', '.join(FEATURES)} contains an image; the features are {names or 'none'}"
        )
    try:
        decode(tf.constant(features[found[0]].bytes_list.value[0]))
    except tf.errors.OpError as error:
        raise ValueError(
            f"the feature {found[0]} is not an encoded image: {first_line(error)}"
        ) from None
    return found[0]
