"""Encoded images kept where they are read faster: in memory, or in files of this machine. The order of a run stays what it is."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from pixpro_tf.data.parallelism import num_cores, untuned
from pixpro_tf.data.progress import Progress
from pixpro_tf.data.sources.listed import ListedSource, Record
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.errors import RunError, first_line

# Of this machine's memory; the rest is the run's.
_MEMORY_SHARE = 0.8
_CHUNK = 256
_PER_FOLDER = 1000


class CachedSource:
    """A source whose images come from a store.

    Args:
        source: which says their order.
        store: which has all of them.
    """

    def __init__(
        self, source: ListedSource | ShardSource, store: "MemoryStore | FolderStore"
    ) -> None:
        self._source = source.without_contents()
        self._store = store
        self.num_images = source.num_images

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """As the source's."""
        return self._source.epoch(run_seed, epoch)

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """As the source's."""
        return self._source.part(run_seed, epoch, hosts, host)

    def encoded(self, record: Record) -> tf.Tensor:
        """The encoded image."""
        return self._store.get(record["index"])


class MemoryStore:
    """Images in memory.

    Args:
        num_images: that are going to be put there.
        memory: of this machine, in bytes.
    """

    found: frozenset[int] = frozenset()

    def __init__(self, num_images: int, memory: int) -> None:
        self._num_images = num_images
        self._memory = memory
        self._done = self._bytes = 0
        self._table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, "")

    def put(self, indices: Sequence[int], images: Sequence[bytes]) -> None:
        """Takes some images, a sample of all; raises `RunError` once all of them can be foreseen not to fit."""
        self._table.insert(tf.constant(indices, tf.int64), tf.constant(images))
        self._done += len(images)
        self._bytes += sum(map(len, images))
        needed = self._bytes / self._done * self._num_images
        if needed > _MEMORY_SHARE * self._memory:
            raise RunError(
                f"ram needs some {needed / 2**30:.1f} GiB, and this machine has {self._memory / 2**30:.1f}; use disk",
                of="cache",
            )

    def get(self, index: tf.Tensor) -> tf.Tensor:
        """An image that was put there."""
        return tf.ensure_shape(self._table.lookup(index), [])


class FolderStore:
    """Images in files of a folder.

    Args:
        folder: local; made if missing.

    Attributes:
        found: indices of images that were put there before.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, exist_ok=True)
        # A file that a power cut has left is empty.
        self.found = frozenset(
            int(file.name)
            for inner in os.scandir(folder)
            for file in os.scandir(inner)
            if file.name.isdecimal() and file.stat().st_size
        )

    def put(self, indices: Sequence[int], images: Sequence[bytes]) -> None:
        """Takes some images."""
        for index, image in zip(indices, images, strict=True):
            folder = os.path.join(self._folder, str(index // _PER_FOLDER))
            os.makedirs(folder, exist_ok=True)
            # The name comes last, whatever happens, and whoever else is writing the same, from whichever machine.
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                try:
                    file.write(image)
                    file.flush()
                    os.replace(file.name, os.path.join(folder, str(index)))
                except BaseException:
                    os.unlink(file.name)
                    raise

    def get(self, index: tf.Tensor) -> tf.Tensor:
        """An image that was put there."""
        parts = [
            self._folder,
            tf.strings.as_string(index // _PER_FOLDER),
            tf.strings.as_string(index),
        ]
        return tf.io.read_file(tf.strings.join(parts, "/"))


def keep(
    source: ListedSource | ShardSource,
    dataset: str,
    where: str,
    folder: str,
    print_line: Callable[[str], None] = print,
) -> CachedSource:
    """Reads all images of a source once, and gives a source that has them from there.

    Args:
        source: to be read.
        dataset: its name, for lines about it.
        where: "ram", or "disk", which goes on from what an earlier call has left.
        folder: of "disk"; each set of images has a folder of its own in it.
        print_line: takes a line for the user.

    Raises:
        RunError: if images cannot be read, or are too many for the memory or the disk.
    """
    store: MemoryStore | FolderStore
    if where == "ram":
        store, place = MemoryStore(source.num_images, memory_bytes()), "memory"
    else:
        place = os.path.join(os.path.abspath(os.path.expanduser(folder)), source.digest()[:16])
        with _writing_to(place):
            store = FolderStore(place)
    missing = _missing(source, store.found)
    if not missing:
        return CachedSource(source, store)
    print_line(f"Reading {len(missing)} images into {place} ...")
    progress = Progress(len(missing), print_line)
    try:
        for indices, encoded in _read(source, missing):
            with _writing_to(place):
                store.put(indices.tolist(), encoded.tolist())
            progress.add(len(encoded))
    except tf.errors.OpError as error:
        raise RunError(f"{dataset} cannot be read: {first_line(error)}", of="dataset") from None
    return CachedSource(source, store)


def _missing(source: ListedSource | ShardSource, found: frozenset[int]) -> list[int]:
    """Indices of the images that are not among those found, in order; no image is read."""
    records = source.without_contents().epoch(0, tf.constant(0, tf.int64))
    indices = untuned(records.map(lambda record: record["index"]).batch(_CHUNK))
    return sorted(
        {index for chunk in indices.as_numpy_iterator() for index in chunk.tolist()} - found
    )


def _read(
    source: ListedSource | ShardSource, missing: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices and images, some at a time, in a random order, so that the first of them are a sample."""
    wanted = tf.constant(missing, tf.int64)

    def is_wanted(record: Record) -> tf.Tensor:
        place = tf.searchsorted(wanted, [record["index"]])[0]
        return wanted[tf.minimum(place, len(missing) - 1)] == record["index"]

    records = source.epoch(0, tf.constant(0, tf.int64)).filter(is_wanted)
    images = records.map(
        lambda record: (record["index"], source.encoded(record)),
        num_parallel_calls=num_cores(),
    )
    return untuned(images.batch(_CHUNK).prefetch(1)).as_numpy_iterator()


def memory_bytes() -> int:
    """Of this machine, or of the container that this process is in."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            return min(memory, int(file.read()))
    except (OSError, ValueError):
        # No such limit; it says `max` then.
        return memory


@contextlib.contextmanager
def _writing_to(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{place} cannot be written: {error.strerror or error}; make room there, or give another folder",
            of="cache_dir",
        ) from None
