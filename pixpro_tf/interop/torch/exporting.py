"""From a run to a PyTorch checkpoint with the authors' names, which their own code loads."""

import numpy as np
import tensorflow as tf

from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.errors import RunError
from pixpro_tf.interop.torch import names
from pixpro_tf.interop.torch.files import require_torch, write
from pixpro_tf.storage import trained_weights
from pixpro_tf.storage.checkpoint_files import step_of
from pixpro_tf.storage.runs import Run


def export_checkpoint(run: str, output: str, *, overwrite: bool = False) -> list[str]:
    """Writes a run's weights as `{"model": state dict}`, each name with the prefix `module.`.

    Args:
        run: folder of a run, or of imported weights.
        output: file to write.
        overwrite: replace one that is there already.

    Returns:
        The names written.

    Raises:
        UserError: if there is nothing to export, or it cannot be written.
    """
    refuse_existing("output", output, overwrite)
    require_torch()
    opened = Run.open(run)
    _check_run(opened)
    weights = _weights_of(opened)
    with atomic_output(output, overwrite) as path:
        write(path, {"model": {f"module.{name}": array for name, array in weights.items()}})
    return list(weights)


def _check_run(run: Run) -> None:
    """Refuses a network that PyTorch's would misread: weights have the same shapes in every layout."""
    for name, wanted in (("backbone_layout", "torchvision"), ("projector_final_norm", False)):
        value = getattr(run.config, name)
        if value != wanted:
            raise RunError(
                f"{run.name} was pre-trained with --{name}={value}, which the authors' code does not build; it builds {wanted}"
            )


def _weights_of(run: Run) -> dict[str, np.ndarray]:
    stored = [name for name, _ in tf.train.list_variables(run.checkpoint)]
    if any(name.startswith("online/projectors/") for name in stored):
        weights = names.state_dict(run.load_model())
    else:
        backbone = trained_weights.restore_backbone(run.name)
        weights = {f"encoder.{name}": array for name, array in names.state_dict(backbone).items()}
        if any(name.startswith("target/backbone/") for name in stored):
            backbone = trained_weights.restore_backbone(run.name, "target")
            target = names.state_dict(backbone)
            weights |= {f"encoder_k.{name}": array for name, array in target.items()}
    counter = np.array(_batches_tracked(run), np.int64)
    means = [name for name in weights if name.endswith(".running_mean")]
    return weights | {
        name.removesuffix("running_mean") + "num_batches_tracked": counter for name in means
    }


def _batches_tracked(run: Run) -> int:
    """How many batches each BN has seen; PyTorch counts them, and some of its tools want the count."""
    imported = run.description.get("imported")
    if imported is not None:
        return imported["batches_tracked"]
    # Two views a step.
    return 2 * step_of(run.checkpoint)
