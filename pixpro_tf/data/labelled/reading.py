"""Images and masks of evaluations that cannot be read: one line that names the files, or the others without them."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.data.images import suffixes_of
from pixpro_tf.data.labelled.user_files import OF_OWN_FILES
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources import FileSource, bad_images, find_bad_images, open_source
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.errors import (
    RunError,
    UserError,
    first_line,
    is_of_full_disk,
    listed,
    why_unwritable,
)
from pixpro_tf.ops.cores import num_cores

_NAMED = 3


@contextlib.contextmanager
def reading(dataset: str, of: str = "dataset", channels: Channels = RGB) -> Iterator[None]:
    """Turns errors of images or masks that cannot be read, and of too little memory, into a one-line `RunError`.

    Args:
        dataset: name of the data. A command whose data have one of the prefixes `folder:`, `zip:`, `tfrecord:` and `voc:` has the flag `--on_bad_image`.
        of: flag that names it.
        channels: channels of the images.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if is_of_full_disk(error):
            raise RunError(why_unwritable(error)) from error
        raise RunError("out of memory; use a smaller batch size or smaller images") from error
    except tf.errors.OpError as error:
        # TensorFlow's message ends with the exception of a Python function, such as the one that reads masks.
        raised = re.findall(r"^\w+Error: (.+)$", str(error), re.MULTILINE)
        reason = raised[-1] if raised else first_line(error)
        bad, removable = _bad_images(dataset, channels)
        names = f"{listed(bad, _NAMED)}: " if bad else ""
        # Images that can be read may have a mask that cannot.
        removable = removable or bool(raised and not bad)
        if removable and dataset.startswith(OF_OWN_FILES):
            reason += "; fix the files, or leave them out with --on_bad_image=skip"
        raise RunError(f"{dataset} cannot be read: {names}{reason}", of=of) from error
    except PermissionError as error:
        raise RunError(
            f"{dataset} cannot be read: {error.filename}: {error.strerror}", of=of
        ) from error


def readable(
    files: Sequence[tuple[str, str]], decode: Callable[..., Any], dataset: str
) -> list[tuple[str, str]]:
    """Decodes all examples of a split once, and returns those that can be read; prints how many cannot, and the first ones.

    Args:
        files: path of the image of each example, and its class or the path of its mask.
        decode: function from these two, as string tensors, to the decoded example.
        dataset: name of the dataset, for messages.

    Raises:
        RunError: if none of the examples can be read.
    """
    print(f"Decoding {len(files)} images once to find those that cannot be read ...")
    columns = tuple(tf.constant([*map(os.fsencode, each)]) for each in zip(*files, strict=True))

    def decoded(index: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, Any]:
        # The result must depend on the pixels: graph rewriting drops a decoding that nothing needs.
        return index, tf.nest.map_structure(tf.shape, decode(*example))

    examples = tf.data.Dataset.from_tensor_slices(columns).enumerate()
    good = examples.map(decoded, num_parallel_calls=num_cores()).ignore_errors()
    found = {int(index) for index, _ in untuned(good).as_numpy_iterator()}
    bad = [os.fsencode(each[0]) for index, each in enumerate(files) if index not in found]
    bad_images.report(bad, len(files), dataset)
    return [each for index, each in enumerate(files) if index in found]


def _bad_images(dataset: str, channels: Channels) -> tuple[list[str], bool]:
    """Decodes all images of a dataset of files.

    Returns:
        Names of those that cannot be decoded, and whether they can be left out; files with a damaged record cannot.
    """
    with contextlib.suppress(UserError, tf.errors.OpError):
        source = _source_of(dataset, channels)
        if source is not None:
            records = source.epoch(0, tf.constant(0, tf.int64))
            try:
                bad = [os.fsdecode(name) for name in find_bad_images(records, source)]
                return bad, bool(bad)
            except tf.errors.OpError:
                # Only shards cannot be read beyond a damaged record.
                return source.damaged_shards() if isinstance(source, ShardSource) else [], False
    return [], False


def _source_of(dataset: str, channels: Channels) -> FileSource | None:
    """Returns the images of a dataset, or of a list of image files; None for a TFDS dataset or a file of labels."""
    kind, _, path = dataset.partition(":")
    if kind in ("folder", "voc"):
        return FolderSource(path, channels=channels)
    if kind in ("zip", "tfrecord"):
        return open_source(dataset, data_dir="", split="", shuffle_buffer=1, channels=channels)
    suffixes = suffixes_of(channels)
    files = [
        os.fsencode(file)
        for file in dataset.split(",")
        if file.lower().endswith(suffixes) and os.path.isfile(file)
    ]
    return FolderSource(os.curdir, files, channels) if files else None
