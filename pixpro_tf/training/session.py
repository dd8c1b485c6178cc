"""What the parts of a training run share."""

import dataclasses

import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.data import pipeline, sources
from pixpro_tf.pixpro import PixPro
from pixpro_tf.storage.checkpoints import CheckpointStore
from pixpro_tf.storage.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a run.

    Attributes:
        per_epoch: steps of an epoch.
        total: steps of the whole run, by which its schedules go.
        last: step at which this process ends; `--max_steps` may be less than the total.
    """

    per_epoch: int
    total: int
    last: int

    @classmethod
    def of(cls, config: Config, num_images: int) -> "Steps":
        """The steps of a configuration on so many images."""
        per_epoch = config.steps_per_epoch or pipeline.batches_per_epoch(
            num_images, config.batch_size
        )
        total = config.epochs * per_epoch
        return cls(per_epoch, total, min(total, config.max_steps or total))


@dataclasses.dataclass(frozen=True)
class Session:
    """A training run in this process, its model restored.

    Attributes:
        config: configuration of the run.
        folder: folder of the run.
        strategy: what its devices are.
        source: images.
        steps: steps of the run.
        learning_rate: schedule of the learning rate.
        model: compiled model.
        store: checkpoints of the model.
        start_step: step at which this process begins.
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
