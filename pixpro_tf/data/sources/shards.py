"""Images as records in TFRecord files: the shards of a prepared TFDS dataset, or other files."""

import collections
import hashlib
import os
from collections.abc import Iterable

import tensorflow as tf

from pixpro_tf.data.sources.listed import Record
from pixpro_tf.data.views.channels import RGB

# Maximum number of positions of an epoch that are read at the same time, and of hosts that read only their own records. The order of the
# images depends on this number, and not on the number of hosts.
_MAX_LANES = 64


class ShardSource:
    """Images in TFRecord files.

    In each epoch, the shards are concatenated in a new random order and cut into as many lanes of equal length as there are shards (at most
    64). Each lane is shuffled within a buffer, and images are taken from the lanes in turn. With a single shard and a buffer as large as the
    dataset, this is a full shuffle.

    Args:
        instructions: `(file, skip, take)` for each shard; the records are `tf.train.Example`s.
        feature: name of the feature that contains the encoded image.
        shuffle_buffer: number of images in the buffers of all lanes together.
        left_out: names of the images to leave out.
        contents: whether records contain their images.
    """

    passed_over = ""
    # Datasets of TFDS contain JPEG and PNG, and so do the files that `pixpro_tf.tfrecords` writes.
    needs_pillow = False
    channels = RGB

    def __init__(
        self,
        instructions: list[tuple[str, int, int]],
        feature: str,
        shuffle_buffer: int,
        left_out: tuple[bytes, ...] = (),
        contents: bool = True,
    ) -> None:
        # Paths are absolute, because other processes read the files, too.
        instructions = [
            (file if "://" in file else os.path.abspath(file), skip, take)
            for file, skip, take in instructions
        ]
        self._instructions = instructions
        self._feature = feature
        self._shuffle_buffer = shuffle_buffer
        self._left_out = left_out
        self._contents = contents
        files, skips, takes = (list(column) for column in zip(*instructions, strict=True))
        names = _without_common_folder(files)
        places = collections.defaultdict(list)
        for name in left_out:
            shard, _, place = name.rpartition(b"#")
            # Other names are those of images from elsewhere.
            if place.isdigit():
                places[shard].append(int(place))
        counts = [
            # A split may use several parts of a shard.
            take - sum(skip <= place < skip + take for place in places[shard.encode()])
            for shard, skip, take in zip(names, skips, takes, strict=True)
        ]
        self.num_images = sum(counts)
        self.num_lanes = min(len(instructions), _MAX_LANES)
        self._names = tf.constant(names)
        self._counts = tf.constant(counts, tf.int64)
        self._table = (
            tf.constant(files),
            tf.constant(skips, tf.int64),
            tf.constant(takes, tf.int64),
        )

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """Returns all records, each once, in the order of this epoch; a pure function of the two arguments."""
        return self.part(run_seed, epoch, 1, 0).map(lambda position, record: record)

    def part(self, run_seed: int, epoch: tf.Tensor, hosts: int, host: int) -> tf.data.Dataset:
        """Returns `(position, record)` for all positions of an epoch that leave the remainder `host` when divided by `hosts`.

        If `hosts` divides `num_lanes`, only these records are read.
        """
        epoch = tf.cast(epoch, tf.int64)
        shards = len(self._instructions)
        order = tf.random.experimental.index_shuffle(
            tf.range(shards, dtype=tf.int64),
            seed=tf.stack([tf.constant(run_seed, tf.int64), epoch]),
            max_index=tf.constant(shards - 1, tf.int64),
        )
        ends = tf.cumsum(tf.gather(self._counts, order))
        starts = tf.concat([[0], ends[:-1]], axis=0)
        # The first lanes have one image more, so that the lanes end in turn.
        length, longer = divmod(self.num_images, self.num_lanes)
        buffer_size = -(-min(self._shuffle_buffer, self.num_images) // self.num_lanes)

        def lane(number: tf.Tensor) -> tf.data.Dataset:
            begin = number * length + tf.minimum(number, longer)
            end = begin + length + tf.cast(number < longer, tf.int64)

            def piece(place: tf.Tensor) -> tf.data.Dataset:
                first = tf.maximum(begin, starts[place]) - starts[place]
                last = tf.minimum(end, ends[place]) - starts[place]
                return self._shard(order[place]).skip(first).take(last - first)

            first_place = tf.searchsorted(ends, [begin], side="right", out_type=tf.int64)[0]
            last_place = tf.searchsorted(ends, [end], side="left", out_type=tf.int64)[0]
            records = tf.data.Dataset.range(first_place, last_place + 1).flat_map(piece)
            return _shuffle(records, buffer_size, run_seed, epoch + number * 2**32)

        own = self.num_lanes % hosts == 0
        lanes = range(host, self.num_lanes, hosts) if own else range(self.num_lanes)
        records = tf.data.Dataset.range(lanes.start, lanes.stop, lanes.step).interleave(
            lane,
            cycle_length=len(lanes),
            block_length=1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        numbered = records.enumerate()
        if own:
            return numbered.map(lambda number, record: (host + hosts * number, record))
        return numbered.filter(lambda position, _: position % hosts == host)

    def _shard(self, index: tf.Tensor) -> tf.data.Dataset:
        """Records of a shard, in the order of the file."""
        file, skip, take = (column[index] for column in self._table)
        before = tf.cumsum(self._table[-1], exclusive=True)[index]

        def record(place: tf.Tensor) -> Record:
            name = tf.strings.join([self._names[index], tf.strings.as_string(place)], "#")
            return {"name": name, "index": before + place - skip}

        def with_contents(place: tf.Tensor, serialized: tf.Tensor) -> Record:
            return record(place) | {"example": serialized}

        if self._contents:
            serialized = tf.data.TFRecordDataset(file).enumerate()
            records = serialized.skip(skip).take(take).map(with_contents)
            # A file with fewer records than its dataset declares would shorten the epochs; an empty file would be read forever.
            records = records.apply(tf.data.experimental.assert_cardinality(take))
        else:
            records = tf.data.Dataset.range(skip, skip + take).map(record)
        if self._left_out:
            left_out = tf.constant(self._left_out)
            records = records.filter(lambda record: tf.reduce_all(record["name"] != left_out))
        return records

    def encoded(self, record: Record) -> tf.Tensor:
        """Returns the encoded image of a record.

        A record without an image, or with several, raises its error here, where its name is known.
        """
        feature = {self._feature: tf.io.FixedLenFeature([], tf.string)}
        return tf.io.parse_single_example(record["example"], feature)[self._feature]

    def without(self, names: Iterable[bytes]) -> "ShardSource":
        """Returns the same source without the images of these names."""
        left_out = tuple(sorted({*self._left_out, *names}))
        return ShardSource(
            self._instructions, self._feature, self._shuffle_buffer, left_out, self._contents
        )

    def damaged_shards(self) -> list[str]:
        """Reads all files and returns the paths of those with records that cannot be read."""
        damaged = []
        for file, skip, take in self._instructions:
            try:
                for _ in tf.data.TFRecordDataset(file).skip(skip).take(take):
                    pass
            except tf.errors.OpError:
                damaged.append(file)
        return damaged

    def short_shards(self) -> list[str]:
        """Reads all files and returns the paths of those with fewer records than they should have."""
        return [
            file
            for file, skip, take in self._instructions
            if sum(1 for _ in tf.data.TFRecordDataset(file).skip(skip).take(take)) < take
        ]

    def without_contents(self) -> "ShardSource":
        """Returns a source of the same records in the same orders, without images, for which no file is read."""
        return ShardSource(
            self._instructions, self._feature, self._shuffle_buffer, self._left_out, contents=False
        )

    def images_digest(self) -> str:
        """Returns a hexadecimal digest of the shards' names and lengths, wherever they are."""
        places = [
            (name, skip, take)
            for name, (_, skip, take) in zip(
                self._names.numpy().tolist(), self._instructions, strict=True
            )
        ]
        known = repr((places, self._feature, self._left_out))
        return hashlib.sha256(known.encode()).hexdigest()

    def digest(self) -> str:
        """Returns a hexadecimal digest of the images' locations.

        The `"index"` of a record distinguishes it from others with the same digest.
        """
        return hashlib.sha256(repr((self._instructions, self._feature)).encode()).hexdigest()


def _without_common_folder(files: list[str]) -> list[str]:
    """Shortens the paths such that they still differ: shards of two configurations have the same file names."""
    # `commonpath` would reduce the two slashes of a URL to one. Here the cut at a slash corrects the comparison by characters.
    common = os.path.commonprefix(files)  # noqa: RUF071
    return [file[common.rfind("/") + 1 :] for file in files]


def _shuffle(
    records: tf.data.Dataset, buffer_size: int, run_seed: int, epoch: tf.Tensor
) -> tf.data.Dataset:
    """`Dataset.shuffle` as a function of two numbers only; the method itself also uses TensorFlow's global seed."""
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=tf.constant(buffer_size, tf.int64),
        # If both seeds were 0, TensorFlow would take a seed from the clock.
        seed=tf.constant(run_seed + 1, tf.int64),
        seed2=epoch,
        output_types=tf.nest.flatten(
            tf.nest.map_structure(lambda s: s.dtype, records.element_spec)
        ),
        output_shapes=tf.nest.flatten(
            tf.nest.map_structure(lambda s: s.shape, records.element_spec)
        ),
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, records.element_spec)
