"""Images and stages of the input-pipeline benchmark."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.data import HEIGHT, ON_ALL_CORES, QUALITY, WIDTH, Settings
from pixpro_tf.config import Config
from pixpro_tf.data import images, pipeline
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources.folders import FolderSource, photographs
from pixpro_tf.data.views import crops, photometric, randomness


def write_images(folder: pathlib.Path, count: int) -> None:
    """Writes JPEGs of random parts of the photographs; every call writes the same ones."""
    records = photographs().epoch(0, tf.constant(0, tf.int64))
    paths = [record["name"] for record in records.as_numpy_iterator()]
    opened = [Image.open(os.fsdecode(path)) for path in paths]
    # Enlarged photographs would be too smooth and therefore decode too fast.
    large = [each for each in opened if each.width >= WIDTH and each.height >= HEIGHT]
    pictures = [each.convert("RGB") for each in large]
    rng = np.random.default_rng(0)
    for index in range(count):
        picture = pictures[index % len(pictures)]
        scale = rng.uniform(1, min(picture.width / WIDTH, picture.height / HEIGHT))
        width, height = scale * WIDTH, scale * HEIGHT
        left, top = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
        part = picture.resize(
            (WIDTH, HEIGHT), Image.Resampling.LANCZOS, (left, top, left + width, top + height)
        )
        part.save(folder / f"{index:05}.jpg", quality=QUALITY)


def stages(flags: Settings) -> dict[str, Callable[[], Iterator]]:
    """Returns a function for each stage, which starts an endless iterator; each of its steps processes one batch."""
    source = FolderSource(str(flags.folder))
    batch, size = flags.batch_size, flags.image_size
    augment = photometric.Photometric(flags.augmentation)

    def each_image(function):
        records = source.part(0, tf.constant(0, tf.int64), 1, 0).repeat()
        return untuned(records.map(function).batch(batch))

    def decoded(position, record):
        del position
        return images.decode(source.encoded(record))

    def two_views(position, record):
        image, key = decoded(position, record), randomness.image_key(0, 0, position)
        made = [crops.make_view(image, key, view, size, Config.min_crop_area) for view in (1, 2)]
        return [view for view, _ in made]

    def whole(**options):
        return pipeline.training_dataset(
            source,
            batch_size=batch,
            image_size=size,
            min_crop_area=Config.min_crop_area,
            seed=0,
            workers=1,
            **options,
        )

    def colours():
        views = next(iter(each_image(two_views)))
        key = randomness.image_key(0, 0, tf.range(batch))
        while True:
            for view, image in enumerate(views, 1):
                augment(image, key, view).numpy()
            yield

    if flags.part == "all cores":
        return {ON_ALL_CORES: colours}
    datasets = {
        "read": each_image(lambda _, record: source.encoded(record)),
        "read, decode": each_image(lambda *record: tf.shape(decoded(*record))),
        "read, decode, crop and resize": each_image(two_views),
        "pipeline, --augment_on=device": whole(),
        "pipeline, --augment_on=host": whole(photometric=augment),
    }
    begins = {name: functools.partial(iter, dataset) for name, dataset in datasets.items()}
    return begins | {"photometric": colours}
