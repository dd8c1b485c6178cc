"""What a run writes for people: figures and TensorBoard logs. If they cannot be written, the run continues."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from pixpro_tf.errors import first_line
from pixpro_tf.storage.run_folder import RunFolder

# Paths about which a warning has been printed.
_warned: set[str] = set()


def save_figure(folder: RunFolder, name: str, tag: str, step: int, figure: Any) -> None:
    """Writes a Matplotlib figure as `NAME.png` among the run's figures, and to TensorBoard under a tag."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    png = buffer.getvalue()
    with writing(folder.pictures):
        tf.io.gfile.makedirs(folder.pictures)
        with tf.io.gfile.GFile(os.path.join(folder.pictures, f"{name}.png"), "wb") as file:
            file.write(png)
    with summaries(folder, step):
        tf.summary.image(tag, tf.io.decode_png(png, channels=3)[None])


@contextlib.contextmanager
def summaries(folder: RunFolder, step: int) -> Iterator[None]:
    """Context in which `tf.summary` writes to the run's TensorBoard logs at a step."""
    writer = None
    with writing(folder.tensorboard):
        writer = tf.summary.create_file_writer(folder.events)
    if writer is None:
        # Whatever the block writes has no writer.
        yield
        return
    # On its exit, the writer flushes.
    with writing(folder.tensorboard), writer.as_default(step):
        yield
    with writing(folder.tensorboard):
        writer.close()


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Reports failed writes of the block once, and lets the run continue: nothing that it needs to be resumed is written in the block.

    Args:
        path: what is written, for the warning.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        if path not in _warned:
            _warned.add(path)
            print(f"warning: {path} cannot be written: {first_line(error)}; the run continues")
