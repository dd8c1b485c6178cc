"""State that the parts of a training run share."""

import dataclasses

import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.config.flag import refuse
from pixpro_tf.data import pipeline, sources
from pixpro_tf.optimizers.schedules import EmaSchedule
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage.checkpoints import CheckpointStore
from pixpro_tf.storage.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Steps:
    """Numbers of steps of a run.

    Attributes:
        per_epoch: number of steps per epoch.
        total: number of steps of the whole run, which its schedules span.
        last: step at which this process ends; less than `total` if `--max_steps` is.
    """

    per_epoch: int
    total: int
    last: int

    @classmethod
    def of(cls, config: Config, num_images: int) -> "Steps":
        """Returns the numbers of steps for a configuration, without automatic values, and a number of images.

        Raises:
            ConfigError: if the first step of a profile comes after the last one.
        """
        per_epoch = steps_per_epoch(config, num_images)
        total = config.epochs * per_epoch
        last = min(total, config.max_steps or total)
        if config.profile_range is not None and config.profile_range[0] > last:
            refuse(
                config, "profile_steps", f"begins after the last step, {last}; use earlier steps"
            )
        return cls(per_epoch, total, last)


def steps_per_epoch(config: Config, num_images: int) -> int:
    """Returns the number of steps in an epoch of a number of images."""
    return config.steps_per_epoch or pipeline.batches_per_epoch(num_images, config.batch_size)


@dataclasses.dataclass(frozen=True)
class Session:
    """Training run in this process, with its model restored.

    Attributes:
        config: configuration of the run.
        folder: folder of the run.
        strategy: distribution strategy over the devices.
        source: images of the run.
        steps: steps of the run.
        learning_rate: schedule of the learning rate.
        model: compiled model.
        store: checkpoints of the model.
        start_step: step at which this process starts.
    """

    config: Config
    folder: RunFolder
    strategy: tf.distribute.Strategy
    source: sources.Source
    steps: Steps
    learning_rate: tf.keras.optimizers.schedules.LearningRateSchedule
    model: PixPro
    store: CheckpointStore
    start_step: int

    @property
    def ema_schedule(self) -> EmaSchedule:
        """Schedule of the target network."""
        return EmaSchedule(self.config.ema_momentum, self.steps.total)
