"""What an export is made from, and what its consumer would misread."""

import os
from collections.abc import Sequence
from typing import Any

from pixpro_tf.cli.commands import refuse_existing
from pixpro_tf.errors import ConfigError, RunError


def check_output(source: str, output: str, overwrite: bool) -> None:
    """Refuses an output that is there already, or that would replace what it is made from; before any work is done.

    Raises:
        ConfigError: with the reason.
    """
    refuse_existing("output", output, overwrite)
    if "://" in source:
        return
    made, given = (os.path.realpath(os.path.expanduser(path)) for path in (output, source))
    if os.path.commonpath([made, given]) == made:
        raise ConfigError(
            f"--output={output} would replace {source}, which is exported; give another"
        )


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
    from pixpro_tf.storage import trained_weights

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
