"""Errors of evaluations that read images: one line that names the files."""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.data.sources import FileSource, find_bad_images, open_source
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.errors import RunError, UserError, first_line, listed

_NAMED = 3


@contextlib.contextmanager
def reading(dataset: str, of: str = "dataset") -> Iterator[None]:
    """Turns errors of images or masks that cannot be read, and of too little memory, into a one-line `RunError`.

    Args:
        dataset: name of the data.
        of: flag that names it.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise RunError("out of memory; use a smaller batch size or smaller images") from error
    except tf.errors.OpError as error:
        # TensorFlow's message ends with the exception of a Python function, such as the one that reads masks.
        raised = re.findall(r"^\w+Error: (.+)$", str(error), re.MULTILINE)
        reason = raised[-1] if raised else first_line(error)
        bad = _bad_images(dataset)
        names = f"{listed(bad, _NAMED)}: " if bad else ""
        raise RunError(f"{dataset} cannot be read: {names}{reason}", of=of) from error
    except PermissionError as error:
        raise RunError(
            f"{dataset} cannot be read: {error.filename}: {error.strerror}", of=of
        ) from error


def _bad_images(dataset: str) -> list[str]:
    """Decodes all images of a dataset of files, and returns the names of those that cannot be decoded."""
    with contextlib.suppress(UserError, tf.errors.OpError):
        source = _source_of(dataset)
        if source is not None:
            records = source.epoch(0, tf.constant(0, tf.int64))
            try:
                return [os.fsdecode(name) for name in find_bad_images(records, source)]
            except tf.errors.OpError:
                # Only shards cannot be read beyond a damaged record.
                return source.damaged_shards() if isinstance(source, ShardSource) else []
    return []


def _source_of(dataset: str) -> FileSource | None:
    """Returns the images of a dataset, or of a list of files; None if it is one of TFDS."""
    kind, _, path = dataset.partition(":")
    if kind in ("folder", "voc"):
        return FolderSource(path)
    if kind in ("zip", "tfrecord"):
        return open_source(dataset, data_dir="", split="", shuffle_buffer=1)
    files = [os.fsencode(file) for file in dataset.split(",") if os.path.isfile(file)]
    return FolderSource(os.curdir, files) if files else None
