"""Arguments of Keras' `compile` and `fit` that a PixPro does not use, or reads in its own way."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

# Arguments of `compile` and their values that change nothing.
_WITHOUT_EFFECT = {"jit_compile": (None, False), "steps_per_execution": (None, 1)}
_EMPTY: tuple[Any, ...] = (None, [], (), {})
_INSTEAD = {
    "jit_compile": '; PixPro(jit="step") compiles the step',
    "steps_per_execution": "; each call of the train function runs one step",
}
# Arguments of `fit` that are not those of learning without labels.
_NOT_OF_FIT = {"y", "sample_weight", "class_weight", "validation_data", "validation_split"}


def check_compile(arguments: Mapping[str, Any]) -> None:
    """Raises `ValueError` if an argument of `compile` has a value that would affect another Keras model but has no effect here."""
    for name, value in arguments.items():
        nothing = _WITHOUT_EFFECT.get(name, _EMPTY)
        if not any(type(value) is type(each) and value == each for each in nothing):
            raise ValueError(
                f"compile({name}={value!r}) has no effect on a PixPro, whose losses are its objectives; remove it"
                + _INSTEAD.get(name, "")
            )


def check_fit(arguments: Mapping[str, Any]) -> None:
    """Raises `ValueError` if an argument of `fit` has a value that would affect another Keras model but has no effect here."""
    for name in _NOT_OF_FIT & arguments.keys():
        value = arguments[name]
        if value is not None and not (isinstance(value, int | float) and value == 0):
            raise ValueError(
                f"fit({name}=...) has no effect on a PixPro, which learns without labels; remove it, and evaluate the backbone with pixpro_tf.evaluation"
            )


def whole_steps(x: Any, accumulation: int) -> tuple[tf.data.Dataset, int]:
    """Returns a dataset of micro-batches that repeats those of whole steps, and the number of these steps.

    Keras itself counts the elements of a dataset as steps. Those that do not fill a step are left out.

    Args:
        x: finite dataset.
        accumulation: number of micro-batches in a step.

    Raises:
        ValueError: if the number of elements is not known, or too small.
    """
    count = int(x.cardinality()) if isinstance(x, tf.data.Dataset) else -1
    if count < 0:
        raise ValueError(
            f"fit() needs steps_per_epoch: each step takes {accumulation} micro-batches, and the number of elements is not known"
        )
    if count < accumulation:
        raise ValueError(
            f"the dataset has {count} micro-batches, and each step takes {accumulation}; use a larger one"
        )
    steps = count // accumulation
    return x.take(steps * accumulation).repeat(), steps
