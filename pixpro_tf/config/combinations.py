"""Checks of combinations of flags from different parts of the configuration."""

import functools
import re
from typing import TYPE_CHECKING

from pixpro_tf.config import flag
from pixpro_tf.config.data import OF_FILES
from pixpro_tf.errors import ConfigError

if TYPE_CHECKING:
    from pixpro_tf.config import Config


def check_levels(config: "Config") -> None:
    """Checks that the maps of the pixel loss exist, have bins to compare, and depend on all trained layers."""
    refuse = functools.partial(flag.refuse, config)

    levels = config.pixel_level_names
    unknown = [level for level in levels if not re.fullmatch("c[2-5]|p[2-7]", level)]
    if not levels or unknown or len(set(levels)) < len(levels):
        refuse(
            "pixel_levels",
            "must be a list of different maps from c2 to c5 and p2 to p7, e.g. p3,p4,p5",
        )
    fpn = config.fpn_levels
    flag.check_used(
        config,
        bool(fpn),
        ["fpn_channels", "dense_head_layers"],
        f"--pixel_levels={config.pixel_levels} (no FPN)",
    )
    flag.check_used(
        config,
        len(levels) > 1,
        ["shared_projector"],
        f"--pixel_levels={config.pixel_levels} (a single level)",
    )
    if config.shared_projector and len(levels) > 1 and len(fpn) < len(levels):
        refuse(
            "pixel_levels",
            "contains maps with different numbers of channels, which cannot share a projector; add --noshared_projector",
        )
    for level, below in (("p7", "p6"), ("p6", "p5")):
        if level in fpn and below not in fpn:
            refuse("pixel_levels", f"lacks {below}, from which {level} is computed; add it")
    if not fpn and "c5" not in levels and not config.instance_weight:
        refuse("pixel_levels", "leaves the later stages untrained; add c5, or a level of an FPN")
    if fpn and config.output_stride != 32:
        refuse(
            "output_stride",
            "gives several maps the same size, but an FPN needs maps of different sizes; use 32 with p2 to p7",
        )
    if config.backbone_layout == "mirror" and config.dense_head_layers:
        refuse(
            "dense_head_layers",
            "uses zero padding, which --backbone_layout=mirror does not allow; remove it",
        )
    _check_image_size(config)


def _check_image_size(config: "Config") -> None:
    """Checks that every map has bins to compare, and that maps with mirror padding are larger than their padding."""
    stride = config.output_stride
    coarsest = max(
        config.pixel_level_names if config.pixel_weight else ["c5"], key=config.stride_of
    )
    dilation = 32 // stride if config.backbone_layout == "mirror" else 1
    if config.image_size < stride:
        reason = f"is smaller than one bin of the feature map (--output_stride={stride})"
    elif config.map_size("c5") < dilation:
        reason = "results in maps that are too small for mirror padding"
    elif config.map_size(coarsest) < 2:
        reason = f"reduces the map {coarsest} to a single bin, which leaves nothing to compare"
    else:
        return
    # The smallest size that meets all three conditions.
    least = max(stride, stride * (dilation - 1) + 1, config.stride_of(coarsest) + 1)
    flag.refuse(config, "image_size", f"{reason}; use at least {least}")


def check_hosts(config: "Config") -> None:
    """Checks that files are on the machine that needs them, and that a batch can be split over the devices."""
    refuse = functools.partial(flag.refuse, config)
    if config.has_remote_tpu:
        _check_remote_places(config)
    if config.strategy == "tpu" and config.probe_every:
        refuse(
            "probe_every",
            "is not supported on TPUs; remove it, and evaluate the checkpoints of the run with python -m pixpro_tf.evaluation.dense",
        )
    if config.strategy == "tpu" and config.features_every:
        refuse(
            "features_every",
            "is not supported on TPUs; remove it, and plot the checkpoints of the run with python -m pixpro_tf.visualize",
        )
    if config.probe_every and not config.image_channels.is_photograph:
        refuse(
            "probe_every",
            "requires 8-bit RGB images, but the run has other channels or ranges; remove it",
        )
    config.check_replicas(max(config.num_devices, 1))
    for name, value in (
        ("instance_loss", "contrastive"),
        ("negatives", "batch"),
        ("negatives", "both"),
    ):
        if getattr(config, name) == value and config.batch_size == config.gradient_accumulation:
            refuse(
                "gradient_accumulation",
                f"leaves --{name}={value} only one image per micro-batch, and nothing to compare it with; use fewer micro-batches",
            )


def _check_remote_places(config: "Config") -> None:
    """Checks that the hosts of a remote TPU, which read the images and write the run, can access both."""
    refuse = functools.partial(flag.refuse, config)
    local = f"is local to this machine, but the hosts of --tpu={config.tpu}"
    if config.cache != "off":
        refuse("cache", f"{local} read the images themselves; remove it")
    if "://" not in config.run_dir:
        refuse(
            "run_dir",
            f"{local} write to it themselves; use a folder that both can access, e.g. gs://bucket/run",
        )
    of_files = config.dataset.startswith(OF_FILES)
    name, place = ("dataset", config.dataset) if of_files else ("data_dir", config.data_dir)
    if "://" in place or config.data_service:
        return
    advice = "use a place that both can access, e.g. gs://bucket/data, or --data_service"
    if not place:
        raise ConfigError(
            f"--data_dir is missing, and its default {local} read the images themselves; {advice}"
        )
    refuse(name, f"{local} read the images themselves; {advice}")
