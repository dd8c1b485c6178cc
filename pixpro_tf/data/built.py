"""Datasets of TFDS that this project makes itself when they are first used."""

import contextlib
import fcntl
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pixpro_tf.errors import RunError, first_line


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
    builder = make(data_dir=data_dir, config=config)
    if builder.info.splits:
        return builder
    try:
        with _lock(data_dir, f".{builder.name}_{config}.lock"):
            # Another process may have built it in the meantime.
            builder = make(data_dir=data_dir, config=config)
            if not builder.info.splits:
                _build(builder)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"{data_dir} cannot be written: {first_line(error)}; use another folder", of="data_dir"
        ) from error
    return builder


def encoded(pixels: np.ndarray, **options: Any) -> bytes:
    """Returns an image file.

    Args:
        pixels: uint8 `[H, W, 3]` or `[H, W]`.
        options: arguments of Pillow's `save`.
    """
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
