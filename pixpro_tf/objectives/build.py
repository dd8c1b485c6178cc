"""The objectives that a run's flags ask for."""

from typing import Any

from pixpro_tf.config import Config
from pixpro_tf.heads import ProjectorSettings
from pixpro_tf.objectives.base import Objective
from pixpro_tf.objectives.consistency import PixelConsistency
from pixpro_tf.objectives.contrast import PixelContrast
from pixpro_tf.objectives.instance import InstanceContrast, InstanceRegression


def from_config(config: Config) -> list[Objective]:
    """The pixel objective and the instance objective, each where it has a weight."""
    objectives: list[Objective] = []
    if config.pixel_weight:
        objectives.append(_pixel(config))
    if config.instance_weight:
        objectives.append(_instance(config))
    return objectives


def _pixel(config: Config) -> Objective:
    projector = ProjectorSettings(
        config.projector_hidden,
        config.projector_dim,
        config.projector_layers,
        config.shared_projector,
        config.projector_final_norm,
    )
    common: dict[str, Any] = {
        "threshold": config.positive_threshold,
        "jit_compile": config.jit == "ppm",
        "weight": config.pixel_weight,
    }
    levels = config.pixel_level_names
    if config.pixel_loss == "pixcontrast":
        return PixelContrast(levels, projector, temperature=config.temperature, **common)
    return PixelConsistency(
        levels,
        projector,
        ppm_layers=config.ppm_layers,
        gamma=config.gamma,
        propagates=config.propagation,
        **common,
    )


def _instance(config: Config) -> Objective:
    projector = ProjectorSettings(
        config.projector_hidden, config.projector_dim, final_norm=config.projector_final_norm
    )
    if config.instance_loss == "contrastive":
        return InstanceContrast(projector, config.instance_temperature, config.instance_weight)
    return InstanceRegression(projector, config.instance_weight)
