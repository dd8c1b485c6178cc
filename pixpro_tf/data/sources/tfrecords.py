"""TFRecord files whose records are `tf.train.Example`s with an encoded image each: where the images are in them, and how many."""

import os
import struct

import tensorflow as tf

from pixpro_tf.data.images import decode
from pixpro_tf.errors import ConfigError, RunError, first_line, listed

# Of the image in a record, as the TensorFlow Models, the Object Detection API and TFDS call it; asked for in this order.
FEATURES = ("image/encoded", "image", "encoded")
# What surrounds a record: its length and that number's checksum before it, and its own after it.
_BEFORE, _AFTER = struct.Struct("<QI"), 4


def find_shards(pattern: str) -> tuple[list[tuple[str, int, int]], str]:
    """What files of TFRecords hold.

    Args:
        pattern: with `*`, `?` and `[...]` as in a shell; local, or of any file system that TensorFlow reads.

    Returns:
        `(file, 0, records)` for each file that has any, in the order of their names, and the name of the image feature.

    Raises:
        ConfigError: if no file has such a name.
        RunError: if they are no TFRecords, or have no image in them.
    """
    what = f"tfrecord:{pattern}"
    try:
        files = sorted(tf.io.gfile.glob(os.path.expanduser(pattern)))
    except tf.errors.OpError as error:
        raise RunError(f"{what} cannot be read: {first_line(error)}", of="dataset") from None
    if not files:
        raise ConfigError(
            f"{what} is the name of no file; give a pattern as /data/images-*.tfrecord",
            of="dataset",
        )
    if folder := next((file for file in files if tf.io.gfile.isdir(file)), None):
        raise ConfigError(
            f"{what}: {folder} is a folder; give a pattern of files, as {folder}/*.tfrecord",
            of="dataset",
        )
    counts = [(file, 0, _count_records(what, file)) for file in files]
    instructions = [each for each in counts if each[-1]]
    if not instructions:
        raise RunError(f"{what} has no record in {len(files)} files", of="dataset")
    return instructions, _image_feature(what, instructions[0][0])


def _count_records(what: str, file: str) -> int:
    """From one length to the next; the records themselves are not read."""
    count, place = 0, 0
    try:
        with tf.io.gfile.GFile(file, "rb") as records:
            size = records.size()
            while place < size:
                records.seek(place)
                head = records.read(_BEFORE.size)
                length = _BEFORE.unpack(head)[0] if len(head) == _BEFORE.size else size
                place += _BEFORE.size + length + _AFTER
                count += 1
    except tf.errors.OpError as error:
        raise RunError(
            f"{what}: {file} cannot be read: {first_line(error)}", of="dataset"
        ) from None
    if place != size:
        raise RunError(
            f"{what}: {file} is no file of TFRecords, or only a part of one", of="dataset"
        )
    return count


def _image_feature(what: str, file: str) -> str:
    try:
        (serialized,) = tf.data.TFRecordDataset(file).take(1).as_numpy_iterator()
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception as error:
        raise RunError(
            f"{what}: {file} has no tf.train.Example in it: {first_line(error)}", of="dataset"
        ) from None
    for name in FEATURES:
        if features[name].bytes_list.value:
            break
    else:
        names = listed(sorted(name for name in features if name not in FEATURES), 10)
        raise RunError(
            f"{what} has no image in {', '.join(FEATURES)}; the features are {names or 'none'}",
            of="dataset",
        )
    try:
        decode(tf.constant(features[name].bytes_list.value[0]))
    except tf.errors.OpError as error:
        raise RunError(
            f"{what}: {name} is no encoded image: {first_line(error)}", of="dataset"
        ) from None
    return name
