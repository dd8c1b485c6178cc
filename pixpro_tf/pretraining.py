"""Pre-training by one call from Python, and what it returns."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.build import build_objectives
from pixpro_tf.config import Config
from pixpro_tf.errors import RunError
from pixpro_tf.export import savedmodel
from pixpro_tf.objectives.base import Objective
from pixpro_tf.storage import runs
from pixpro_tf.storage.saved_model import load_backbone
from pixpro_tf.training.run import train


class Run(runs.Run):
    """A run on disk; `Run.open("runs/mine")` opens one, and `pretrain` returns one.

    Attributes:
        name: path by which it was opened.
        folder: paths of its files.
        checkpoint: path of its newest checkpoint, or of the one by which it was opened.
        config: its `Config`.
        progress: steps it has made, and steps in total.

    Example:
        >>> import pixpro_tf
        >>> run = pixpro_tf.Run.open("runs/mine")  # doctest: +SKIP
        >>> run.metrics[-1]["loss"]  # doctest: +SKIP
        -2.99
    """

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, oldest first; docs/metrics.md explains each figure. Empty if nothing has been logged.

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
        """The online network's backbone as a Keras layer; arguments and errors as of `load_backbone`."""
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
        """Exports the backbone as a Reusable SavedModel with a model card, which TF Hub loads without this project.

        Args:
            output: folder to create; a name that ends with `.tar.gz` or `.tgz` creates one archive.
            network: "online" (the default) or "target".
            include_heads: whether to export the projector and, of the online network, the propagation too.
            allow_unfinished: whether to export a run that has not made all its steps.
            licence: licence of the weights, for the card.
            overwrite: whether to replace an existing output.

        Raises:
            UserError: if there is nothing to export, or it cannot be written.
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
    backbone: str = "resnet50",
    objectives: Callable[[Config], Sequence[Objective]] = build_objectives,
    **flags: Any,
) -> Run:
    """Pre-trains a backbone without labels, as `train.py` does: logs, checkpoints, figures and resuming included.

    The same call continues a run that was stopped. The seed, the determinism of operations and the devices are set for the whole
    process.

    Args:
        data: images: `folder:PATH`, `zip:FILE`, `tfrecord:GLOB`, `scenes/128`, or a TFDS dataset.
        run_dir: folder of the run.
        backbone: name of the architecture, as "resnet50".
        objectives: function from the `Config` to what is learned; by default what the flags say. See docs/objectives.md.
        flags: every other flag of `train.py` by its name, as `batch_size=64`; `Config` lists them.

    Returns:
        The finished run.

    Raises:
        UserError: if a flag, the data or the folder is at fault, in one line.
        KeyboardInterrupt: if a signal stopped the run; its checkpoint is written.

    Source: Xie et al., CVPR 2021, https://arxiv.org/abs/2011.10043.

    Example:
        >>> import pixpro_tf
        >>> run = pixpro_tf.pretrain("folder:photos", "runs/mine", epochs=100, batch_size=64)  # doctest: +SKIP
        >>> run.export_savedmodel("exported/mine")  # doctest: +SKIP
    """
    config = Config(dataset=data, run_dir=run_dir, backbone=backbone, **flags)
    config.check_surroundings()
    if code := train(config, objectives):
        raise KeyboardInterrupt(f"stopped by signal {code - 128}; the same call continues the run")
    return Run.open(config.run_dir)
