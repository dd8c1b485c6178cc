"""Builders of the objectives, model, learning rate schedule and optimizer that a configuration describes."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.encoder import Encoder
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.config import Config
from pixpro_tf.data.views import photometric
from pixpro_tf.errors import ConfigError
from pixpro_tf.layers.heads import ProjectorSettings
from pixpro_tf.objectives.base import Objective
from pixpro_tf.objectives.consistency import PixelConsistency
from pixpro_tf.objectives.contrast import PixelContrast
from pixpro_tf.objectives.instance import InstanceContrast, InstanceRegression
from pixpro_tf.ops import devices
from pixpro_tf.ops.precision import building_in
from pixpro_tf.optimizers.adamw import AdamW
from pixpro_tf.optimizers.lamb import LAMB
from pixpro_tf.optimizers.lars import LARS, MomentumSGD
from pixpro_tf.optimizers.schedules import EmaSchedule, WarmupCosine, WarmupSteps
from pixpro_tf.pixpro import PixPro

BuildObjectives = Callable[[Config], Sequence[Objective]]


def build_objectives(config: Config) -> list[Objective]:
    """Builds the pixel objective and the instance objective, each if its weight is not 0.

    Examples:
        >>> import pixpro_tf
        >>> config = pixpro_tf.Config(instance_weight=1.0, projector_hidden=16, projector_dim=8)
        >>> [type(objective).__name__ for objective in pixpro_tf.build_objectives(config)]
        ['PixelConsistency', 'InstanceRegression']
    """
    objectives: list[Objective] = []
    if config.pixel_weight:
        objectives.append(_pixel_objective(config))
    if config.instance_weight:
        objectives.append(_instance_objective(config))
    return objectives


def _pixel_objective(config: Config) -> Objective:
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
        return PixelContrast(
            levels,
            projector,
            temperature=config.temperature,
            negatives=config.negatives,
            **common,
        )
    return PixelConsistency(
        levels,
        projector,
        ppm_layers=config.ppm_layers,
        gamma=config.gamma,
        propagates=config.propagation,
        **common,
    )


def _instance_objective(config: Config) -> Objective:
    projector = ProjectorSettings(
        config.projector_hidden, config.projector_dim, final_norm=config.projector_final_norm
    )
    if config.instance_loss == "contrastive":
        return InstanceContrast(projector, config.instance_temperature, config.instance_weight)
    return InstanceRegression(projector, config.instance_weight)


def neck_arguments(config: Config) -> dict[str, Any] | None:
    """Returns the arguments of the `Neck` that a configuration describes, or None for a model without a neck."""
    if not config.fpn_levels:
        return None
    return {
        "levels": config.fpn_levels,
        "channels": config.fpn_channels,
        "layout": config.backbone_layout,
        "head_layers": config.dense_head_layers,
    }


def precision_of(config: Config) -> str:
    """Returns the number format of a configuration; with "auto", the one that suits the devices of this process."""
    return devices.best_precision() if config.precision == "auto" else config.precision


def _policy_of(config: Config) -> str:
    """Returns the Keras dtype policy of the networks of a run."""
    precision = precision_of(config)
    return "float32" if precision == "float32" else f"mixed_{precision}"


def build_model(
    config: Config,
    total_steps: int,
    *,
    objectives: Sequence[Objective] | None = None,
    policy: str = "",
) -> PixPro:
    """Builds the `PixPro` model of a run, without compiling it.

    All variables of the model exist, and the target network is a copy of the online network. The global dtype policy is unchanged.

    Args:
        config: configuration of the run.
        total_steps: length of the EMA momentum schedule, in steps.
        objectives: objectives to train; by default those that the configuration describes.
        policy: Keras dtype policy of the layers; by default the policy for `config.precision`.

    Examples:
        >>> import pixpro_tf
        >>> config = pixpro_tf.Config(backbone="resnet10w0.5", projector_hidden=16, projector_dim=8)
        >>> model = pixpro_tf.build_model(config, total_steps=1000)
        >>> model.compile(optimizer=pixpro_tf.LARS(learning_rate=0.1))
    """
    with building_in(policy or _policy_of(config)):
        chosen = build_objectives(config) if objectives is None else objectives
        _check_levels(config, chosen)
        return _build_model(config, total_steps, chosen)


def _check_levels(config: Config, objectives: Sequence[Objective]) -> None:
    """Raises `ConfigError` if objectives need maps that the model does not have, or leave some of its layers untrained."""
    if not objectives:
        # The model says so.
        return
    used = {level for objective in objectives for level in objective.levels}
    available = {"c2", "c3", "c4", "c5", *config.fpn_levels}
    if missing := sorted(used - available):
        raise ConfigError(
            f"an objective uses {missing[0]}, which is not among the maps of the model ({', '.join(sorted(available))}); "
            "maps of an FPN are listed in --pixel_levels"
        )
    if unused := [level for level in config.fpn_levels if level not in used]:
        raise ConfigError(
            f"{config.pixel_levels} adds {unused[0]} to the model, which no objective uses; use --pixel_levels=c5, or an objective that compares it",
            of="pixel_levels",
        )
    if not config.fpn_levels and "c5" not in used:
        raise ConfigError(
            f"the objectives use {', '.join(sorted(used))} only, which leaves the later stages of the backbone untrained; let one of them use c5"
        )


def _build_model(config: Config, total_steps: int, objectives: Sequence[Objective]) -> PixPro:
    neck = neck_arguments(config)
    channels = config.image_channels
    images = tf.keras.Input([config.image_size, config.image_size, channels.count])

    def encoder(name: str) -> Encoder:
        network = Encoder(
            resnet.ResNet(
                config.backbone,
                config.backbone_layout,
                config.output_stride,
                config.zero_init_residual,
                channels,
            ),
            {objective.name: objective.make_projector() for objective in objectives},
            Neck(**neck) if neck else None,
            name=name,
        )
        network(images)
        return network

    on_device = config.augment_on == "device"
    model = PixPro(
        encoder("online"),
        encoder("target"),
        objectives,
        EmaSchedule(config.ema_momentum, total_steps),
        photometric.Photometric(config.augmentation, channels) if on_device else None,
        config.jit,
        config.gradient_accumulation,
    )
    model(images)
    model.start_target_from_online()
    return model


def build_schedule(
    config: Config, steps_per_epoch: int
) -> tf.keras.optimizers.schedules.LearningRateSchedule:
    """Builds the learning rate schedule, a function of the step."""
    warmup_steps = config.warmup_epochs * steps_per_epoch
    if config.schedule == "step":
        drops = [epoch * steps_per_epoch for epoch in config.lr_drop_epochs]
        return WarmupSteps(config.peak_rate, warmup_steps, drops)
    return WarmupCosine(config.peak_rate, warmup_steps, config.epochs * steps_per_epoch)


def build_optimizer(
    config: Config, learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule
) -> tf.keras.optimizers.Optimizer:
    """Builds the optimizer of a run; with `precision="float16"`, it is wrapped in a loss-scaling optimizer.

    XLA compilation of the optimizer alone is off: on a GPU, Keras would compile the update of each variable separately.

    Examples:
        >>> import pixpro_tf
        >>> pixpro_tf.build_optimizer(pixpro_tf.Config(momentum=0.8), learning_rate=0.1).momentum
        0.8
    """
    decay = config.weight_decay
    if config.optimizer == "lars":
        optimizer = LARS(
            learning_rate, config.momentum, decay, config.trust_coefficient, jit_compile=False
        )
    elif config.optimizer == "sgd":
        optimizer = MomentumSGD(learning_rate, config.momentum, decay, jit_compile=False)
    elif config.optimizer == "lamb":
        optimizer = LAMB(learning_rate, decay, jit_compile=False)
    else:
        optimizer = AdamW(learning_rate, decay)
    if precision_of(config) != "float16":
        return optimizer
    if config.loss_scale == "dynamic":
        return tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return tf.keras.mixed_precision.LossScaleOptimizer(
        optimizer, dynamic=False, initial_scale=float(config.loss_scale)
    )


def build_compiled_model(
    config: Config,
    learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule,
    total_steps: int,
    objectives: BuildObjectives = build_objectives,
) -> PixPro:
    """Builds the model of a run with its optimizer; all variables of both exist, so that a checkpoint can be restored."""
    # The heads of the objectives are layers of the networks, too.
    with building_in(_policy_of(config)):
        chosen = objectives(config)
    model = build_model(config, total_steps, objectives=chosen)
    model.compile(optimizer=build_optimizer(config, learning_rate))
    model.optimizer.build(model.trainable_variables)
    return model
