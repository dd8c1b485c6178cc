"""The backbones that exports are made from, and what their consumers would misread."""

from collections.abc import Sequence
from typing import Any

from pixpro_tf.errors import RunError
from pixpro_tf.storage import trained_weights


def restore_for(
    consumer: str,
    source: str,
    network: str | None,
    allow_unfinished: bool,
    *,
    architectures: Sequence[str],
    layout: str,
    output_strides: Sequence[int] = (32,),
) -> tuple[Any, Any]:
    """A trained backbone that a consumer builds in the same way.

    Args:
        consumer: its name, for messages.
        source, network, allow_unfinished: see `trained_weights.open_weights`.
        architectures: that the consumer has.
        layout: in which it builds them; weights have the same shapes in every layout, and give other features.
        output_strides: with which it builds them.

    Returns:
        A `ResNet`, and the `Neck` that was trained with it or None, in float32.

    Raises:
        RunError: if there is no such backbone, or the consumer has none like it; with the flag to pre-train with.
    """
    with trained_weights.open_weights(source, network, allow_unfinished) as weights:
        for flag, found, known in (
            ("backbone", weights.architecture, architectures),
            ("backbone_layout", weights.layout, (layout,)),
            ("output_stride", weights.output_stride, output_strides),
        ):
            if found not in known:
                raise RunError(
                    f"{source} was pre-trained with --{flag}={found}, which {consumer} would misread; "
                    f"pre-train with --{flag}={' or '.join(map(str, known))}"
                )
        return trained_weights.restore_with_neck(weights)
