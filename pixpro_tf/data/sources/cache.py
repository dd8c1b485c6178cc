"""Cache of encoded images in memory or in local files; it does not change the order of a run."""

import contextlib
import os
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.progress import Progress
from pixpro_tf.data.sources.listed import ListedSource, Record
from pixpro_tf.data.sources.shards import ShardSource
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.ops.cores import num_cores

# Share of this machine's memory that the images may take; the run needs the rest.
_MEMORY_SHARE = 0.8
_CHUNK = 256
_PER_FOLDER = 1000


class CachedSource:
    """Source whose images come from a store.

    Args:
        source: source that determines the order of the images.
        store: store that contains all images.
    """

    def __init__(
        self, source: ListedSource | ShardSource, store: "MemoryStore | FolderStore"
    ) -> None:
        self._source = source.without_contents()
        self._store = store
        self.num_images = source.num_images
        self.needs_pillow = source.needs_pillow
        self.channels = source.channels

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """Calls the same method of the original source."""
        return self._source.epoch(run_seed, epoch)

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """Calls the same method of the original source."""
        return self._source.part(run_seed, epoch, hosts, host)

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the encoded image of a record."""
        return self._store.get(record["index"])


class MemoryStore:
    """Store of images in memory, as files in TensorFlow's file system there.

    A lookup table would do, but with deterministic operations, tf.data does not run anything in parallel that uses one.

    Args:
        num_images: number of images that will be stored.
        memory: memory of this machine in bytes.
    """

    found: frozenset[int] = frozenset()

    def __init__(self, num_images: int, memory: int) -> None:
        self._num_images = num_images
        self._memory = memory
        self._done = self._bytes = 0
        self._folder = f"ram://images/{id(self)}-"
        # The images live as long as the store; a process that ends need not delete them.
        weakref.finalize(self, tf.io.gfile.rmtree, self._folder).atexit = False
        tf.io.gfile.makedirs(self._folder)

    def put(self, indices: Sequence[int], images: Sequence[bytes]) -> None:
        """Stores some images, a sample of all; raises `RunError` once it is foreseeable that not all of them fit."""
        for index, image in zip(indices, images, strict=True):
            tf.io.write_file(f"{self._folder}/{index}", image)
        self._done += len(images)
        self._bytes += sum(map(len, images))
        needed = self._bytes / self._done * self._num_images
        if needed > _MEMORY_SHARE * self._memory:
            raise RunError(
                f"ram needs about {needed / 2**30:.1f} GiB, more than {100 * _MEMORY_SHARE:.0f} % of the {self._memory / 2**30:.1f} GiB "
                "of this machine; use --cache=disk",
                of="cache",
            )

    def get(self, index: tf.Tensor) -> tf.Tensor:
        """Returns a stored image."""
        return tf.io.read_file(tf.strings.join([self._folder, tf.strings.as_string(index)], "/"))


class FolderStore:
    """Store of images in the files of a folder.

    Args:
        folder: local folder; created if missing.

    Attributes:
        found: indices of the images that were stored earlier.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, exist_ok=True)
        # A power cut leaves empty files.
        self.found = frozenset(
            int(file.name)
            for inner in os.scandir(folder)
            for file in os.scandir(inner)
            if file.name.isdecimal() and file.stat().st_size
        )

    def put(self, indices: Sequence[int], images: Sequence[bytes]) -> None:
        """Stores some images."""
        for index, image in zip(indices, images, strict=True):
            folder = os.path.join(self._folder, str(index // _PER_FOLDER))
            os.makedirs(folder, exist_ok=True)
            # The file gets its name last, so that it is always complete, even if other processes or machines write the same image.
            path = os.path.join(folder, str(index))
            # Not by `tempfile`, whose files only their owner can read.
            with open(f"{path}.{uuid.uuid4().hex}", "xb") as file:
                try:
                    file.write(image)
                    file.flush()
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise

    def get(self, index: tf.Tensor) -> tf.Tensor:
        """Returns a stored image."""
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
    """Reads all images of a source once into a store, and returns a source that reads them from there.

    Args:
        source: source to read.
        dataset: name of the dataset, for messages.
        where: "ram" or "disk"; "disk" reuses the images that an earlier call has stored.
        folder: folder for "disk"; each set of images has its own subfolder.
        print_line: function that prints a line for the user.

    Raises:
        RunError: if images cannot be read, or do not fit in memory or on the disk.
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
    progress = Progress(len(missing), print_line=print_line)
    try:
        for indices, encoded in _read(source, missing):
            with _writing_to(place):
                store.put(indices.tolist(), encoded.tolist())
            progress.add(len(encoded))
    except tf.errors.OpError as error:
        raise RunError(f"{dataset} cannot be read: {first_line(error)}", of="dataset") from None
    return CachedSource(source, store)


def _missing(source: ListedSource | ShardSource, found: frozenset[int]) -> list[int]:
    """Indices of the images that are not in `found`, in ascending order; no image is read."""
    records = source.without_contents().epoch(0, tf.constant(0, tf.int64))
    indices = untuned(records.map(lambda record: record["index"]).batch(_CHUNK))
    return sorted(
        {index for chunk in indices.as_numpy_iterator() for index in chunk.tolist()} - found
    )


def _read(
    source: ListedSource | ShardSource, missing: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices and images in chunks, in a random order, so that the first chunks are a sample of all images."""
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
    """Memory in bytes of this machine, or of the container that this process runs in."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            return min(memory, int(file.read()))
    except (OSError, ValueError):
        # Without a limit, the file is missing or contains `max`.
        return memory


@contextlib.contextmanager
def _writing_to(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{place} cannot be written: {error.strerror or error}; free some space there, or use another folder",
            of="cache_dir",
        ) from None
