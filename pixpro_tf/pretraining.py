"""Pre-training with one function call, and the run that it returns."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.build import build_objectives
from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.export import savedmodel
from pixpro_tf.objectives.base import Objective
from pixpro_tf.storage import runs
from pixpro_tf.storage.saved_model import load_backbone
from pixpro_tf.training.run import train


class Run(runs.Run):
    """Pre-training run on disk; `Run.open("runs/mine")` opens one, and `pretrain` returns one.

    Attributes:
        name: path that was used to open the run.
        folder: paths of the files of the run.
        checkpoint: path of the newest checkpoint, or of the checkpoint that was used to open the run.
        config: `Config` of the run.
        progress: number of steps that are done, and of steps in total.

    Examples:
        >>> import pixpro_tf
        >>> run = pixpro_tf.Run.open("runs/mine")  # doctest: +SKIP
        >>> run.metrics[-1]["loss"]  # doctest: +SKIP
        -2.99
    """

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of `metrics.jsonl`, oldest first; docs/metrics.md explains each metric. Empty if nothing has been logged.

        Raises:
            RunError: if a line is damaged.
        """
        try:
            with tf.io.gfile.GFile(self.folder.metrics) as file:
                return [json.loads(line) for line in file.read().splitlines()]
        except tf.errors.NotFoundError:
            return []
        except ValueError as error:
            raise RunError(f"{self.folder.metrics} is damaged: {error}") from error

    def backbone(
        self, trainable: bool = False, return_endpoints: bool = False
    ) -> tf.keras.layers.Layer:
        """Returns the backbone of the online network as a Keras layer; see `load_backbone` for the arguments and errors."""
        return load_backbone(self.name, trainable, return_endpoints)

    def export_savedmodel(
        self,
        output: str,
        *,
        network: str | None = None,
        include_heads: bool = False,
        allow_unfinished: bool = False,
        licence: str = "",
        overwrite: bool = False,
    ) -> None:
        """Exports the backbone as a Reusable SavedModel with a model card; TF Hub can load it without this project.

        Args:
            output: folder to create; a name that ends in `.tar.gz` or `.tgz` creates an archive.
            network: network to export, "online" (the default) or "target".
            include_heads: whether to export the projector too, and the propagation if the network is the online one.
            allow_unfinished: whether to export a run that has not completed all its steps.
            licence: licence of the weights, for the model card.
            overwrite: whether to replace an existing output.

        Raises:
            UserError: if there is nothing to export, or the output cannot be written.
        """
        savedmodel.export(
            self.name,
            output,
            network=network,
            include_heads=include_heads,
            allow_unfinished=allow_unfinished,
            licence=licence,
            overwrite=overwrite,
        )


def pretrain(
    data: str,
    run_dir: str,
    *,
    flagfile: str = "",
    objectives: Callable[[Config], Sequence[Objective]] = build_objectives,
    **flags: Any,
) -> Run:
    """Pre-trains a backbone without labels, as `train.py` does, including logs, checkpoints, figures and resuming.

    The same call resumes a run that was stopped. The seed, op determinism, the devices and the limits are set for the whole process.

    Args:
        data: images to train on: `folder:PATH`, `zip:FILE`, `tfrecord:GLOB`, `scenes/128`, or a TFDS dataset.
        run_dir: folder of the run.
        flagfile: file of flags, or the name of a configuration of this project, e.g. "own_images"; "" for the defaults of `train.py`.
        objectives: function that returns the objectives for a `Config`; by default those that the flags describe. See docs/objectives.md.
        flags: other flags of `train.py` by name, e.g. `backbone="resnet18"`; `Config` lists them. They override those of `flagfile`.

    Returns:
        The finished run.

    Raises:
        UserError: if a flag, the data or the folder is invalid; the message is one line.
        KeyboardInterrupt: if a signal stopped the run, after its checkpoint was written.

    Source: Xie et al., CVPR 2021, https://arxiv.org/abs/2011.10043.

    Examples:
        >>> import pixpro_tf
        >>> run = pixpro_tf.pretrain("folder:photos", "runs/mine", flagfile="own_images")  # doctest: +SKIP
        >>> run.export_savedmodel("exported/mine")  # doctest: +SKIP
    """
    common = [f"--flagfile={flagfile}", f"--dataset={data}", f"--run_dir={run_dir}"]
    values = command_line.values_of(Config, common)
    assert values is not None
    if unknown := [name for name in flags if name not in values]:
        raise ConfigError(command_line.unknown(unknown[0], Config))
    config = Config(**(values | flags))
    config.check_surroundings()
    if code := train(config, objectives, ends_process=False):
        raise KeyboardInterrupt(f"stopped by signal {code - 128}; the same call resumes the run")
    return Run.open(config.run_dir)
