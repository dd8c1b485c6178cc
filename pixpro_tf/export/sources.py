"""Loading of the backbone to export, with a check that its consumer builds the same network."""

from collections.abc import Sequence
from typing import NamedTuple

from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.cli.commands import called
from pixpro_tf.errors import RunError
from pixpro_tf.storage import trained_weights


class Restored(NamedTuple):
    """Backbone to export, in float32.

    Attributes:
        backbone: trained backbone.
        neck: neck that was trained with it; None if there is none.
        origin: where the weights come from, in words; see `storage.origins`.
    """

    backbone: ResNet
    neck: Neck | None
    origin: str


def restore_for(
    consumer: str,
    source: str,
    network: str | None,
    allow_unfinished: bool,
    *,
    architectures: Sequence[str],
    layout: str,
    output_strides: Sequence[int] = (32,),
    any_channels: bool = False,
) -> Restored:
    """Restores a trained backbone, provided that a consumer builds the same network.

    Args:
        consumer: name of the consumer, for messages.
        source, network, allow_unfinished: see `trained_weights.open_weights`.
        architectures: architectures that the consumer supports.
        layout: layout in which the consumer builds them. Weights have the same shapes in every layout, but compute different features.
        output_strides: output strides that the consumer supports.
        any_channels: whether the consumer takes images with any channels; otherwise only RGB in 8 bits, with any mean and deviation.

    Returns:
        The backbone, its neck and their origin.

    Raises:
        RunError: if the backbone does not exist, or the consumer does not support it; the message names the flag to pre-train with.
    """
    with trained_weights.open_weights(source, network, allow_unfinished) as weights:
        for flag, found, known in (
            ("backbone", weights.architecture, architectures),
            ("backbone_layout", weights.layout, (layout,)),
            ("output_stride", weights.output_stride, output_strides),
        ):
            if found not in known:
                advice = f"pre-train with --{flag}={' or '.join(map(str, known))}"
                if flag == "backbone_layout":
                    advice += (
                        f"; --init_from={source} --init_from_other_layout starts from these weights"
                    )
                raise RunError(
                    f"{source} was pre-trained with --{flag}={found}, which {consumer} does not support; {advice}"
                )
        if not any_channels and not weights.channels.is_photograph:
            export = called("python -m export.savedmodel", "pixpro-export savedmodel")
            raise RunError(
                f"{source} was pre-trained on images with other channels (--channels={weights.channels.count}) or another range than RGB in "
                f"8 bits, which {consumer} does not support; export it with `{export}`"
            )
        return Restored(*trained_weights.restore_with_neck(weights), weights.origin)
