"""Where images come from: folders, and any dataset of TFDS. A source lists encoded images in a different order each epoch."""

import difflib
import importlib.util
import os
from collections.abc import Iterable

import tensorflow as tf

from pixpro_tf.errors import ConfigError, RunError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
PHOTOGRAPHS = "photographs"
# What scikit-image's package holds of things and stuff, not of cells, stars and print.
_PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
# Shards of a TFDS dataset read in turn, this many images of each at a time.
_OPEN_SHARDS, _SHARD_BLOCK = 16, 16

Record = dict[str, tf.Tensor]


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """An encoded image as RGB.

    Grey becomes three equal channels, CMYK is converted, 16 bits are reduced to the upper 8, alpha is dropped without blending,
    and of an animation the first frame counts. Orientation tags are not followed (nor are they by the authors).

    Args:
        encoded: string scalar, JPEG, PNG, GIF or BMP.

    Returns:
        uint8 `[H, W, 3]`.
    """

    def jpeg():
        # The accurate inverse DCT, which Pillow uses too; TensorFlow's default trades digits for speed.
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def other():
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    image.set_shape([None, None, 3])
    return image


class FolderSource:
    """The images in a folder, at any depth.

    Files are told by their suffix (`IMAGE_SUFFIXES`, in any case); links are followed, also to folders, each folder once; files and
    folders whose names start with a dot are passed over.

    Args:
        path: local, or of any file system that TensorFlow reads.

    Raises:
        RunError: if there is no image in it.
    """

    def __init__(self, path: str, files: Iterable[bytes] | None = None):
        self.path = path
        self._files = _list_images(path) if files is None else list(files)
        if not self._files:
            raise RunError(
                f"--dataset=folder:{path} has no image in it; looked for {', '.join(IMAGE_SUFFIXES)} at any depth"
            )
        self.num_images = len(self._files)
        # Made once, outside the graphs that use it: the names of a large folder are many megabytes.
        self._table = tf.constant(self._files)

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """All records, each once, in the order of this epoch; a pure function of the two arguments."""
        seed = tf.stack([tf.constant(run_seed, tf.int64), tf.cast(epoch, tf.int64)])

        def record(position):
            index = tf.random.experimental.index_shuffle(
                position, seed=seed, max_index=tf.constant(self.num_images - 1, tf.int64)
            )
            return {"name": self._table[index]}

        return tf.data.Dataset.range(self.num_images).map(record)

    def encoded(self, record: Record) -> tf.Tensor:
        """The image file's bytes."""
        return tf.io.read_file(record["name"])

    def without(self, names: Iterable[bytes]) -> "FolderSource":
        """The same source without the images of these names."""
        left_out = set(names)
        return FolderSource(self.path, [file for file in self._files if file not in left_out])


def _list_images(path: str) -> list[bytes]:
    if "://" in path:
        found = []
        for folder, subfolders, files in tf.io.gfile.walk(path):
            subfolders[:] = [name for name in subfolders if not _is_hidden(name)]
            found += [os.path.join(folder, file) for file in files]
        return sorted(os.fsencode(file) for file in found if _is_image_name(os.path.basename(file)))
    found, seen = [], set()
    for folder, subfolders, files in os.walk(os.path.expanduser(path), followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            # A link back to a parent would otherwise be followed for ever.
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not _is_hidden(name))
        found += [os.path.join(folder, file) for file in files if _is_image_name(file)]
    # As bytes, for a file's name need not be valid in any encoding.
    return sorted(os.fsencode(file) for file in found if os.path.isfile(file))


def _is_image_name(name: str) -> bool:
    return not _is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


class TfdsSource:
    """The images of a prepared TFDS dataset.

    Shards are read in a new order each epoch, several at a time, and shuffled within a buffer: with a buffer as large as the dataset
    the order is a full shuffle.

    Args:
        instructions: `(file, skip, take)` for each shard.
        feature: name of the image feature.
        shuffle_buffer: in images.
    """

    def __init__(
        self,
        instructions: list[tuple[str, int, int]],
        feature: str,
        shuffle_buffer: int,
        left_out: tuple[bytes, ...] = (),
    ):
        self._instructions = instructions
        self._feature = feature
        self._shuffle_buffer = shuffle_buffer
        self._left_out = left_out
        self.num_images = sum(take for _, _, take in instructions) - len(left_out)
        files, skips, takes = (list(column) for column in zip(*instructions, strict=True))
        self._names = tf.constant(_without_common_folder(files))
        self._table = (
            tf.constant(files),
            tf.constant(skips, tf.int64),
            tf.constant(takes, tf.int64),
        )

    def epoch(self, run_seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
        """All records, each once, in the order of this epoch; a pure function of the two arguments."""
        shards = len(self._instructions)
        epoch = tf.cast(epoch, tf.int64)
        seed = tf.stack([tf.constant(run_seed, tf.int64), epoch])

        def shard(position):
            index = tf.random.experimental.index_shuffle(
                position, seed=seed, max_index=tf.constant(shards - 1, tf.int64)
            )
            file, skip, take = (column[index] for column in self._table)
            records = tf.data.TFRecordDataset(file).enumerate().skip(skip).take(take)
            return records.map(
                lambda place, serialized: {
                    "name": tf.strings.join([self._names[index], tf.strings.as_string(place)], "#"),
                    "encoded": tf.io.parse_single_example(
                        serialized, {self._feature: tf.io.FixedLenFeature([], tf.string)}
                    )[self._feature],
                }
            )

        records = tf.data.Dataset.range(shards).interleave(
            shard,
            cycle_length=_OPEN_SHARDS,
            block_length=_SHARD_BLOCK,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if self._left_out:
            left_out = tf.constant(self._left_out)
            records = records.filter(lambda record: tf.reduce_all(record["name"] != left_out))
        return _shuffle(records, min(self._shuffle_buffer, self.num_images), run_seed, epoch)

    def encoded(self, record: Record) -> tf.Tensor:
        """The encoded image."""
        return record["encoded"]

    def without(self, names: Iterable[bytes]) -> "TfdsSource":
        """The same source without the images of these names."""
        left_out = tuple(sorted({*self._left_out, *names}))
        return TfdsSource(self._instructions, self._feature, self._shuffle_buffer, left_out)


def _without_common_folder(files: list[str]) -> list[str]:
    """Shorter names that still differ: shards of two configurations have the same file names."""
    # Not `commonpath`, which spoils the two slashes of an address; the cut at a slash makes good for comparing characters.
    common = os.path.commonprefix(files)  # noqa: RUF071
    return [file[common.rfind("/") + 1 :] for file in files]


def _shuffle(records, buffer_size, run_seed, epoch):
    """`Dataset.shuffle` as a function of two numbers; that method mixes TensorFlow's global seed in."""
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=tf.constant(buffer_size, tf.int64),
        # Both 0 would mean a seed from the clock.
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


Source = FolderSource | TfdsSource


def open_source(dataset: str, *, data_dir: str, split: str, shuffle_buffer: int) -> Source:
    """The source that `--dataset` names.

    Args:
        dataset: `folder:PATH`, `scenes/128`, `scenes/256`, `photographs` (the eleven that come with scikit-image), or a TFDS name;
            `voc/2007+2012` is both configurations.
        data_dir: of TFDS; empty for its default.
        split: of TFDS; empty for all training images.
        shuffle_buffer: see `TfdsSource`.

    Raises:
        ConfigError: if there is no such dataset, configuration or split.
        RunError: if it has not been prepared, with what to do.
    """
    if dataset.startswith("folder:"):
        return FolderSource(dataset.removeprefix("folder:"))
    if dataset == PHOTOGRAPHS:
        return _photographs()
    instructions: list[tuple[str, int, int]] = []
    feature = None
    name, _, configurations = dataset.partition("/")
    for configuration in configurations.split("+"):
        full_name = f"{name}/{configuration}" if configuration else name
        builder = prepared_builder(full_name, data_dir)
        chosen = split or _training_split(name, builder)
        instructions += _instructions(full_name, builder, chosen)
        feature = feature or _image_feature(full_name, builder)
    assert feature is not None
    return TfdsSource(instructions, feature, shuffle_buffer)


def _photographs() -> FolderSource:
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise RunError(
            f"--dataset={PHOTOGRAPHS} is a part of scikit-image: `pip install scikit-image`"
        )
    folder = os.path.join(os.path.dirname(package.origin), "data")
    return FolderSource(folder, [os.fsencode(os.path.join(folder, name)) for name in _PHOTOGRAPHS])


def prepared_builder(name: str, data_dir: str):
    """The builder of a TFDS dataset that lies prepared on this machine; `scenes` is built if it does not.

    Args:
        name: of the dataset and its configuration, `voc/2007`.
        data_dir: of TFDS; empty for its default.

    Raises:
        ConfigError: if there is no such dataset or configuration.
        RunError: if it has not been prepared, with what to do.
    """
    import tensorflow_datasets as tfds

    folder = os.path.expanduser(data_dir) or None
    base, _, configuration = name.partition("/")
    if base == "scenes":
        from pixpro_tf.data import scenes

        known = [config.name for config in scenes.Scenes.BUILDER_CONFIGS]
        if configuration and configuration not in known:
            raise ConfigError(
                f"--dataset={name} is not built; give scenes/{' or scenes/'.join(known)}"
            )
        default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
        return scenes.prepare(folder or default, configuration or known[0])
    catalogue = "https://www.tensorflow.org/datasets/catalog"
    try:
        tfds.core.naming.parse_builder_name_kwargs(name)
    except ValueError:
        raise ConfigError(
            f"--dataset={name} is no name of a dataset; "
            f"give one from {catalogue}, folder:PATH or scenes/128"
        ) from None
    try:
        builder = tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(base, [*tfds.list_builders(), "scenes"], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"--dataset={name} is not known to TFDS; {hint}"
            f"give a name from {catalogue}, folder:PATH or scenes/128"
        ) from None
    except AssertionError as error:
        # So TFDS says that it has not got a version; its last words are the versions that it has.
        reason = str(error).rpartition(": Dataset ")[2]
        raise ConfigError(f"--dataset={name} is not there: {reason}") from None
    except ValueError:
        known = sorted(tfds.builder_cls(base).builder_configs)
        raise ConfigError(
            f"--dataset={name}: {base} has no configuration {configuration!r}; it has {', '.join(known) or 'none'}"
        ) from None
    if not builder.info.splits:
        raise RunError(_how_to_prepare(name, builder))
    return builder


def read_split(dataset: str, builder, split: str) -> tf.data.Dataset:
    """The examples of a split, always in one order.

    Args:
        dataset: as `--dataset` names it, for the message.
        builder: of TFDS, prepared.
        split: of it, or a part such as `train[:10%]`.

    Raises:
        ConfigError: if there is no such split.
    """
    try:
        return builder.as_dataset(split=split)
    except (KeyError, ValueError, AssertionError):
        raise ConfigError(
            f"{split!r} is no split of {dataset}; it has {', '.join(builder.info.splits)}, and parts such as train[:10%]"
        ) from None


def _how_to_prepare(name, builder) -> str:
    folder = os.path.dirname(builder.data_dir)
    root = _root(builder)
    manual = ""
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual = (
            f" It cannot be downloaded by a program: {' '.join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())} "
            f"Put what you get into {os.path.join(root, 'downloads', 'manual')}."
        )
    return (
        f"--dataset={name} has not been prepared: there is nothing in {folder}.{manual} "
        f"Prepare it once with `{_preparation(name, root)}`, or point --data_dir to where it is. "
        "What runs right away: --dataset=scenes/128 (embedded, builds itself in a minute) and --dataset=folder:PATH with images of your own."
    )


def _root(builder) -> str:
    return builder.data_dir.removesuffix("/" + builder.info.full_name)


def _preparation(name: str, root: str) -> str:
    # Not the command `tfds`, which does not start where Apache Beam is not installed.
    prepare = (
        f"tfds.builder({name!r}, data_dir={root!r}, file_format='tfrecord').download_and_prepare()"
    )
    return f'python -c "import tensorflow_datasets as tfds; {prepare}"'


def _training_split(name: str, builder) -> str:
    if name == "scenes":
        return "unlabelled"
    # The challenge's "trainval": its train split is half of what is meant for training.
    if name == "voc":
        return "train+validation"
    if "train" in builder.info.splits:
        return "train"
    raise ConfigError(
        f"--dataset={name} has no split named train; give --split, one of {', '.join(builder.info.splits)}"
    )


def _instructions(name, builder, split) -> list[tuple[str, int, int]]:
    try:
        found = builder.info.splits[split].file_instructions
    except (KeyError, ValueError):
        raise ConfigError(
            f"--split={split} is not in {name}; it has {', '.join(builder.info.splits)}"
        ) from None
    if not found:
        raise ConfigError(
            f"--split={split} of {name} is empty; the whole splits are {', '.join(builder.info.splits)}"
        )
    file_format = builder.info.file_format.value
    if file_format != "tfrecord":
        raise RunError(
            f"--dataset={name} was prepared as {file_format}; move {builder.data_dir} away and prepare it as tfrecord: "
            f"`{_preparation(name, _root(builder))}`"
        )
    return [
        (
            os.fspath(instruction.filename),
            instruction.skip,
            instruction.examples_in_shard - instruction.skip
            if instruction.take == -1
            else instruction.take,
        )
        for instruction in found
    ]


def _image_feature(name, builder) -> str:
    import tensorflow_datasets as tfds

    images = [
        key for key, value in builder.info.features.items() if type(value) is tfds.features.Image
    ]
    if not images:
        raise ConfigError(
            f"--dataset={name} has no images; its features are {', '.join(builder.info.features)}"
        )
    return "image" if "image" in images else images[0]


def find_bad_images(records: tf.data.Dataset, source: Source) -> list[bytes]:
    """Names of the records that cannot be read and decoded.

    Args:
        records: of `source.epoch`.
        source: which they are of.
    """

    def decoded(record):
        # Something of the image has to be given back: graph rewriting drops a decoding that only a control dependency asks for.
        return record["name"], tf.shape(decode(source.encoded(record)))

    names = {record["name"] for record in records.as_numpy_iterator()}
    good = records.map(decoded, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    return sorted(names - {name for name, _ in good.as_numpy_iterator()})
