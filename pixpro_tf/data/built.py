"""Datasets of TFDS that this project makes itself when they are first used."""

import contextlib
import fcntl
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format
from PIL import Image

from pixpro_tf.errors import RunError, first_line


class Labelled(Protocol):
    """Labels of an image.

    Attributes:
        mask: class of every pixel, uint8 `[S, S]`.
        boxes: (y0, x0, y1, x1) as shares of the image, `[N, 4]`.
        labels: classes of the boxes, `[N]`.
    """

    @property
    def mask(self) -> np.ndarray: ...

    @property
    def boxes(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...


def prepare(
    make: Callable[..., tfds.core.DatasetBuilder], data_dir: str | os.PathLike, config: str
) -> tfds.core.DatasetBuilder:
    """Returns a builder, and builds its dataset in a folder unless it already exists.

    An interrupted build does not leave a dataset behind. If several processes start at the same time, one of them builds the dataset and
    the others wait.

    Args:
        make: class of the builder.
        data_dir: TFDS data directory, created if missing.
        config: name of one of the builder's configurations.

    Returns:
        A builder whose `as_dataset` works.

    Raises:
        RunError: if the folder cannot be written.
    """
    data_dir = os.fspath(data_dir)
    if "://" not in data_dir:
        data_dir = os.path.abspath(os.path.expanduser(data_dir))
    try:
        builder = make(data_dir=data_dir, config=config)
        if builder.info.splits:
            return builder
        with _lock(data_dir, f".{builder.name}_{config}.lock"):
            # Another process may have built it in the meantime.
            builder = make(data_dir=data_dir, config=config)
            if not builder.info.splits:
                _build(builder)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"{data_dir} cannot be written: {first_line(error)}; use another folder", of="data_dir"
        ) from error
    except json_format.ParseError as error:
        raise RunError(
            f"{data_dir} contains a damaged dataset {config}: {first_line(error)}; delete its folder there, and it is made again",
            of="data_dir",
        ) from error
    return builder


def describe(
    builder: tfds.core.DatasetBuilder, description: str, class_names: Sequence[str]
) -> tfds.core.DatasetInfo:
    """Returns the description of a dataset with masks and boxes, whose examples `example_of` returns."""
    size = builder.builder_config.size
    box = {
        "bbox": tfds.features.BBoxFeature(),
        "label": tfds.features.ClassLabel(names=list(class_names)),
    }
    features = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
        "segmentation_mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
        "objects": tfds.features.Sequence(box),
    }
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "segmentation_mask"),
    )


def example_of(name: str, image: np.ndarray, labelled: Labelled, **jpeg: Any) -> dict[str, Any]:
    """Returns an example of a dataset that `describe` describes.

    Args:
        name: name of the example, e.g. "train/17".
        image: uint8 `[S, S, 3]`.
        labelled: its mask, boxes and labels.
        jpeg: arguments of Pillow's `save` for the image.
    """
    objects = zip(labelled.boxes, labelled.labels, strict=True)
    return {
        "id": name,
        "image": _encoded(image, format="JPEG", quality=92, **jpeg),
        "segmentation_mask": _encoded(labelled.mask, format="PNG"),
        "objects": [
            {"bbox": tfds.features.BBox(*map(float, box)), "label": int(label)}
            for box, label in objects
        ],
    }


def _encoded(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def _build(builder: tfds.core.DatasetBuilder) -> None:
    start = time.monotonic()
    count = sum(builder.builder_config.num_images.values())
    print(f"Rendering {count} {builder.name} to {builder.data_dir}", file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that it downloads
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    print(f"Rendered in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _lock(data_dir: str, name: str) -> Iterator[None]:
    """Holds an exclusive lock, which the operating system releases even if the process crashes.

    Remote file systems have no lock.
    """
    if "://" in data_dir:
        yield
        return
    os.makedirs(data_dir, exist_ok=True)
    with open(os.path.join(data_dir, name), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
