"""Combinations of flags that belong to different parts of the configuration."""

import functools
import re
from typing import TYPE_CHECKING

from pixpro_tf.config import flag

if TYPE_CHECKING:
    from pixpro_tf.config import Config


def check_levels(config: "Config") -> None:
    """That the maps of the pixel loss exist, have bins to compare, and reach all that is trained."""

    refuse = functools.partial(flag.refuse, config)

    if config.image_size < config.output_stride:
        refuse(
            "image_size",
            f"is smaller than one bin of the feature map (--output_stride={config.output_stride}); "
            f"give at least {config.output_stride}",
        )
    levels = config.pixel_level_names
    unknown = [level for level in levels if not re.fullmatch("c[2-5]|p[2-7]", level)]
    if not levels or unknown or len(set(levels)) < len(levels):
        refuse("pixel_levels", "must be different maps of c2 to c5 and p2 to p7, as p3,p4,p5")
    fpn = config.fpn_levels
    flag.check_used(
        config, bool(fpn), ["fpn_channels", "dense_head_layers"], "no FPN (--pixel_levels)"
    )
    flag.check_used(
        config, len(levels) > 1, ["shared_projector"], "a single level (--pixel_levels)"
    )
    if config.shared_projector and len(levels) > 1 and len(fpn) < len(levels):
        refuse(
            "pixel_levels",
            "has maps of different channels, which no projector can share; add --noshared_projector",
        )
    for level, below in (("p7", "p6"), ("p6", "p5")):
        if level in fpn and below not in fpn:
            refuse("pixel_levels", f"lacks {below}, which {level} is made from; add it")
    if not fpn and "c5" not in levels and not config.instance_weight:
        refuse("pixel_levels", "leaves the stages behind untrained; add c5, or a level of an FPN")
    if fpn and config.output_stride != 32:
        refuse("output_stride", "leaves an FPN no coarser maps to add; give 32 with p2 to p7")
    if config.backbone_layout == "mirror":
        _check_mirroring(config)
    for level in levels if config.pixel_weight else ["c5"]:
        if config.map_size(level) < 2:
            refuse(
                "image_size",
                f"gives a map {level} of a single bin, which has nothing to compare; "
                f"give at least {config.stride_of(level) + 1}",
            )


def _check_mirroring(config: "Config") -> None:
    """That every map is larger than what it is padded by, and that all that is trained is padded so."""
    if config.dense_head_layers:
        flag.refuse(
            config, "dense_head_layers", "pads by zeros; leave it out of --backbone_layout=mirror"
        )
    dilation = 32 // config.output_stride
    if config.map_size("c5") < dilation:
        least = config.output_stride * (dilation - 1) + 1
        flag.refuse(
            config, "image_size", f"gives maps that are too small to mirror; give at least {least}"
        )


def check_hosts(config: "Config") -> None:
    """That what one machine has is on the machine that needs it, and that a batch can be split over the devices."""
    refuse = functools.partial(flag.refuse, config)
    if config.cache != "off" and config.tpu not in ("", "local"):
        refuse(
            "cache", f"is of this machine, and --tpu={config.tpu} reads on its own; leave it out"
        )
    if config.tpu not in ("", "local") and "://" not in config.run_dir:
        refuse(
            "run_dir",
            f"is on this machine, and --tpu={config.tpu} writes on its own; give a folder that both reach, as gs://bucket/run",
        )
    config.check_replicas(max(config.num_devices, 1))
    if config.instance_loss == "contrastive" and config.batch_size == config.gradient_accumulation:
        refuse(
            "gradient_accumulation",
            "leaves --instance_loss=contrastive no other image to compare with; give fewer parts",
        )
