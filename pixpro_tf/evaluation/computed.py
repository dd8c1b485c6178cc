"""Arrays that an evaluation computes batch by batch, such as features; interrupted, it continues where it stopped."""

import glob
import itertools
import os
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data.progress import Progress
from pixpro_tf.errors import RunError, why_unwritable
from pixpro_tf.storage.checkpoint_files import written_atomically

Arrays = tuple[np.ndarray, ...]

_SECONDS_BETWEEN_FILES = 120


def of_all_batches(
    compute: Callable[..., Arrays],
    batches: tf.data.Dataset,
    unit: str,
    folder: str = "",
    print_line: Callable[[str], None] = print,
) -> list[Arrays]:
    """Computes arrays of each batch that a former call with the same arguments has not computed yet.

    Args:
        compute: function from a batch to arrays; a batch that is a tuple is passed as several arguments.
        batches: dataset with a known number of batches, always in the same order.
        unit: what is counted in the progress lines, in the plural.
        folder: folder of the files from which an interrupted call continues; empty writes none.
        print_line: function that prints a line about the progress.

    Returns:
        The arrays of each batch.

    Raises:
        RunError: if a file cannot be written.
    """
    total = int(batches.cardinality())
    found = _kept(folder, print_line) if folder else []
    if found:
        print_line(f"Continuing after {len(found)} of {total} {unit}")
    kept, last_kept = len(found), time.monotonic()
    progress = Progress(total, unit, kept, print_line)
    try:
        for batch in itertools.islice(batches, kept, None) if kept < total else ():
            found.append(compute(*batch) if isinstance(batch, tuple) else compute(batch))
            progress.add(1)
            if folder and time.monotonic() - last_kept > _SECONDS_BETWEEN_FILES:
                _keep(folder, kept, found[kept:])
                kept, last_kept = len(found), time.monotonic()
    except KeyboardInterrupt:
        if folder:
            _keep(folder, kept, found[kept:])
        raise
    if folder:
        _keep(folder, kept, found[kept:])
    return found


def _kept(folder: str, print_line: Callable[[str], None]) -> list[Arrays]:
    """Returns the arrays of the batches that are kept without a gap; what follows a damaged file is removed."""
    found: list[Arrays] = []
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "batches-*.npz"))):
        try:
            with np.load(path) as arrays:
                # NumPy reads a member, whose checksum the archive contains, when it is asked for.
                named: dict[str, Any] = {name: arrays[name] for name in arrays.files}
            first, columns = int(named.pop("first")), int(named.pop("columns"))
            if first != len(found):
                raise ValueError(f"batch {len(found)} is missing")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print_line(f"{path} is damaged ({error}), so its batches are repeated")
            os.remove(path)
            continue
        # Batches may differ in size, and are therefore stored one by one.
        values = [named[f"array_{index}"] for index in range(len(named))]
        found += [tuple(values[at : at + columns]) for at in range(0, len(values), columns)]
    return found


def _keep(folder: str, first: int, batches: list[Arrays]) -> None:
    """Writes a file with the arrays of batches, of which the first one has the number `first`."""
    if not batches:
        return
    path = os.path.join(folder, f"batches-{first:09d}.npz")
    arrays = {f"array_{at}": array for at, array in enumerate(itertools.chain(*batches))}
    try:
        os.makedirs(folder, exist_ok=True)
        with written_atomically(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, first=first, columns=len(batches[0]), **arrays)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(f"{folder} cannot be written: {why_unwritable(error)}") from error
