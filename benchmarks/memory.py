"""Computes the memory that a training run needs on each device, from the graph of its step; nothing is trained.

    python -m benchmarks.memory --flagfile=configs/pixpro.flags
    python -m benchmarks.memory --flagfile=configs/pixpro_fpn.flags --precisions=bfloat16 --images=32,64

The memory is that of the tensors which exist at the same time: activations for the backward pass, gradients, both networks, and the state
of the optimizer. TensorFlow itself, the CUDA libraries and the working memory of their kernels are not included: leave one or two gigabytes.
With --gradient_accumulation, a device holds the images of one micro-batch.
"""

import dataclasses
import json
import sys

from benchmarks.step import PRECISIONS
from pixpro_tf.cli.commands import Command
from pixpro_tf.config import Config
from pixpro_tf.config.flag import flag


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """Flags of a run, and the sizes for which its memory is computed."""

    precisions: tuple[str, ...] = flag(
        PRECISIONS, "Memory", "precisions, separated by commas", choices=PRECISIONS
    )
    images: tuple[int, ...] = flag(
        (16, 32, 64, 128), "Memory", "numbers of images per device, separated by commas", minimum=1
    )
    json: str = flag("", "Memory", "JSON file for the results; empty to write none")


def bytes_of(config: Config, images: list[int]) -> list[int]:
    """Returns the memory of a step for each number of images on a device, with the variables of the run."""
    import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

    # isort: split
    import tensorflow as tf

    from benchmarks.graph_memory import peak_bytes
    from benchmarks.step_cost import model_and_step, random_batch

    model, _ = model_and_step(config, tf.distribute.get_strategy(), batch=None)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    kept = {id(each): each for each in [*model.variables, *_variables(optimizer)]}
    of_variables = sum(each.shape.num_elements() * each.dtype.size for each in kept.values())
    views = random_batch(config, 1)
    # Gradients that wait for the other micro-batches.
    sums = config.gradient_accumulation > 1
    waiting = sum(4 * each.shape.num_elements() for each in model.trainable_variables) * sums
    found = []
    for count in images:
        batch = {
            name: tf.TensorSpec([count, *view.shape[1:]], view.dtype)
            for name, view in views.items()
        }
        of_batch = sum(spec.shape.num_elements() * spec.dtype.size for spec in batch.values())
        found.append(of_variables + waiting + of_batch + peak_bytes(model.train_step, batch))
    return found


def _variables(optimizer) -> list:
    # Older optimizers of Keras have a method.
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def _run(settings: Settings) -> None:
    flags = {field.name: getattr(settings, field.name) for field in dataclasses.fields(Config)}
    rows = {}
    for precision in settings.precisions:
        config = Config(**flags | {"precision": precision})
        rows[precision] = bytes_of(config, list(settings.images))
    print(f"{settings.backbone}, views of {settings.image_size} pixels: memory per device")
    print(f"{'precision':<10}" + "".join(f"{count:>10}" for count in settings.images) + "  images")
    for precision, found in rows.items():
        print(f"{precision:<10}" + "".join(f"{each / 1e9:>7.1f} GB" for each in found))
    if settings.json:
        with open(settings.json, "w") as file:
            json.dump({"flags": flags, "images": settings.images, "bytes": rows}, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.memory", _run)

if __name__ == "__main__":
    sys.exit(main())
