"""Measures how long a training run stands still for a checkpoint, written while it waits or in the background.

    python -m benchmarks.checkpoints --flagfile=configs/pixpro.flags
    python -m benchmarks.checkpoints --flagfile=configs/pixpro.flags --folder=/mnt/share

A run that saves every five minutes loses the seconds of one checkpoint in 300.
"""

import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time

from benchmarks import measuring
from pixpro_tf.cli.commands import Command
from pixpro_tf.config import Config
from pixpro_tf.config.flag import flag

_MODES = {"while it waits": False, "in the background": True}


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """Flags of a run, and where its checkpoints are written."""

    folder: str = flag(
        "",
        "Checkpoints",
        "existing folder for the checkpoints; empty for a temporary folder",
        path=True,
    )
    repeats: int = flag(5, "Checkpoints", "number of checkpoints of each kind", minimum=1)
    seconds_between: float = flag(
        300.0, "Checkpoints", "time between two checkpoints", unit="seconds", minimum=1.0
    )
    json: str = flag("", "Checkpoints", "JSON file for the results; empty to write none")


def measure(settings: Settings, folder: str) -> dict[str, dict[str, list[float]]]:
    """Returns for each mode the seconds that each save takes, and the seconds until its files are complete."""
    import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

    # isort: split
    import tensorflow as tf

    from benchmarks.step_cost import model_and_step
    from pixpro_tf.storage.checkpoints import CheckpointStore

    model, _ = model_and_step(settings, tf.distribute.get_strategy(), batch=None)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    optimizer.build(model.trainable_variables)
    stores = {
        mode: CheckpointStore(os.path.join(folder, mode), model, keep=1, background=background)
        for mode, background in _MODES.items()
    }
    found: dict[str, dict[str, list[float]]] = {mode: {"waits": [], "done": []} for mode in _MODES}
    # The first one of each kind is not counted: it also traces graphs.
    for repeat in range(settings.repeats + 1):
        optimizer.iterations.assign(repeat + 1)
        for mode, store in stores.items():
            started = time.perf_counter()
            store.save()
            waits = time.perf_counter() - started
            store.wait()
            if repeat:
                found[mode]["waits"].append(waits)
                found[mode]["done"].append(time.perf_counter() - started)
    return found


def table(found: dict[str, dict[str, list[float]]], seconds_between: float) -> str:
    """Formats a row for each mode: medians with their range, and the share of the time between two checkpoints."""
    lines = [f"{'written':<20}{'the run stands still':>24}{'share':>8}{'until it is written':>24}"]
    for mode, seconds in found.items():
        waits, done = (
            f"{statistics.median(each):.2f} s ({measuring.spread(each, '.2f')})"
            for each in seconds.values()
        )
        share = statistics.median(seconds["waits"]) / seconds_between
        lines.append(f"{mode:<20}{waits:>24}{share:>8.2%}{done:>24}")
    return "\n".join(lines)


def _run(settings: Settings) -> None:
    with tempfile.TemporaryDirectory(dir=settings.folder or None) as folder:
        found = measure(settings, folder)
        size = sum(
            os.path.getsize(os.path.join(inner, name))
            for inner, _, names in os.walk(os.path.join(folder, "in the background"))
            for name in names
        )
    print(f"{settings.backbone}: checkpoints of {size / 1e6:.0f} MB")
    print(table(found, settings.seconds_between))
    if settings.json:
        with open(settings.json, "w") as file:
            json.dump({"bytes": size, "seconds": found}, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.checkpoints", _run)

if __name__ == "__main__":
    sys.exit(main())
