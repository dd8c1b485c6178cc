"""Images of a source that cannot be read or decoded: found by decoding all of them once, named, and left out."""

import os
from collections.abc import Sequence

import tensorflow as tf

from pixpro_tf.data.images import decode
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources.base import Source
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.data.sources.listed import ListedSource, Record
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.errors import RunError, first_line, listed, printable
from pixpro_tf.ops.cores import num_cores

FileSource = ListedSource | ShardSource

_NAMED = 20


def find_bad_images(records: tf.data.Dataset, source: Source) -> list[bytes]:
    """Returns the names of the records whose images cannot be read or decoded.

    Args:
        records: records of `source.epoch`.
        source: source of the records.
    """

    def decoded(record: Record) -> tuple[tf.Tensor, tf.Tensor]:
        # The result must depend on the image: graph rewriting drops a decoding that only a control dependency needs.
        image = decode(source.encoded(record), channels=source.channels)
        return record["name"], tf.shape(image)

    names = {record["name"] for record in untuned(records).as_numpy_iterator()}
    good = records.map(decoded, num_parallel_calls=num_cores()).ignore_errors()
    return sorted(names - {name for name, _ in untuned(good).as_numpy_iterator()})


def decode_all(source: FileSource) -> list[bytes]:
    """Decodes all images of a source, and returns the names of the bad ones; those of a folder are without its place, which may change."""
    print(f"Decoding {source.num_images} files once to find those that are not images ...")
    bad = find_bad_images(source.epoch(0, tf.constant(0, tf.int64)), source)
    return (
        [source.name_in_folder(name) for name in bad] if isinstance(source, FolderSource) else bad
    )


def leave_out(source: FileSource, bad: Sequence[bytes], dataset: str) -> FileSource:
    """Returns a source without bad images, and prints how many there are, with the names of the first ones.

    Args:
        source: source of the images.
        bad: names that `decode_all` has returned.
        dataset: name of the source, for the message.

    Raises:
        RunError: if all images are bad.
    """
    report(bad, source.num_images, dataset)
    return source.without(bad) if bad else source


def report(bad: Sequence[bytes], total: int, dataset: str) -> None:
    """Prints how many of a dataset's images are bad, with the names of the first ones; raises `RunError` if all of them are."""
    if bad:
        print(f"Skipped unreadable images: {len(bad)} of {total} ({names_of_images(bad)})")
        if len(bad) == total:
            raise RunError(f"{dataset} contains no files that can be read as images", of="dataset")


def unreadable(names: Sequence[bytes], error: Exception, images: str) -> RunError:
    """Returns the error of a command with `--images` and `--on_bad_image` for images that cannot be read.

    Args:
        names: names of these images; empty if they are unknown.
        error: why they cannot be read.
        images: name of the source.
    """
    named = f"{names_of_images(names)}: " if names else ""
    return RunError(
        f"{images} cannot be read: {named}{first_line(error)}; fix the file, or leave out such files with --on_bad_image=skip",
        of="images",
    )


def names_of_images(names: Sequence[bytes]) -> str:
    """Returns names as one line of text; only the first ones if there are many."""
    return listed([printable(os.fsdecode(name)) for name in names], _NAMED)
