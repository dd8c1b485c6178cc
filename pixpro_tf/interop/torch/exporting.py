"""Export of a run as a PyTorch checkpoint with the authors' names, which their own code loads."""

import numpy as np
import tensorflow as tf

from pixpro_tf.cli.outputs import atomic_output, refuse_existing
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.errors import RunError
from pixpro_tf.interop.torch.files import require_torch, write
from pixpro_tf.pretrained import torch_names
from pixpro_tf.storage import stems, trained_weights
from pixpro_tf.storage.checkpoint_files import step_of
from pixpro_tf.storage.origins import imported_from
from pixpro_tf.storage.runs import Run


def export_checkpoint(
    run: str, output: str, *, allow_unfinished: bool = False, overwrite: bool = False
) -> list[str]:
    """Writes the weights of a run as `{"model": state dict}`, with the prefix `module.` before each name.

    Another mean and standard deviation than ImageNet's are folded into the first convolution.

    Args:
        run: folder of a run or of imported weights.
        output: path of the file to write.
        allow_unfinished: whether to accept a run that has not completed all its steps.
        overwrite: whether to replace an existing file.

    Returns:
        Names of the arrays written, without the prefix.

    Raises:
        UserError: if the run does not contain what to export, or the file cannot be written.
    """
    refuse_existing("output", output, overwrite)
    require_torch()
    opened = Run.open(run)
    if not allow_unfinished:
        opened.progress.require_finished(run)
    _check_run(opened)
    weights = _weights_of(opened)
    with atomic_output(output, overwrite) as path:
        write(path, {f"module.{name}": array for name, array in weights.items()}, "model")
    return list(weights)


def _check_run(run: Run) -> None:
    """Rejects a network that the authors' code builds differently: weights have the same shapes in every layout."""
    for name, wanted in (
        ("backbone_layout", ["torchvision"]),
        ("projector_layers", [2]),
        ("projector_final_norm", [False]),
        ("pixel_levels", ["c5"]),
        ("shared_projector", [True]),
        ("channels", [RGB.count]),
        ("output_stride", [32, 16]),
        ("ppm_layers", [1, 0, 2]),
    ):
        value = getattr(run.config, name)
        if value not in wanted:
            raise RunError(
                f"{run.name} was pre-trained with --{name}={value}, which the authors' code does not support; "
                f"pre-train with --{name}={wanted[0]}"
            )
    if not run.config.image_channels.is_photograph:
        raise RunError(
            f"{run.name} was pre-trained on images with another range than 8 bits (--channel_low, --channel_high), which the authors' code "
            "does not support; export the backbone with export.torch"
        )


def _weights_of(run: Run) -> dict[str, np.ndarray]:
    stored = [name for name, _ in tf.train.list_variables(run.checkpoint)]
    # The authors' code normalises images with ImageNet's mean and standard deviation.
    channels = run.config.image_channels
    if any(name.startswith("online/projectors/") for name in stored):
        model = run.load_model()
        for network in (model.online, model.target):
            stems.convert(network.backbone, channels, RGB)
        weights = torch_names.state_dict(model)
    else:
        backbone = trained_weights.restore_backbone(run.name)
        stems.convert(backbone, channels, RGB)
        weights = {
            f"encoder.{name}": array for name, array in torch_names.state_dict(backbone).items()
        }
        if any(name.startswith("target/backbone/") for name in stored):
            backbone = trained_weights.restore_backbone(run.name, "target")
            stems.convert(backbone, channels, RGB)
            target = torch_names.state_dict(backbone)
            weights |= {f"encoder_k.{name}": array for name, array in target.items()}
    counter = np.array(_batches_tracked(run), np.int64)
    means = [name for name in weights if name.endswith(".running_mean")]
    return weights | {
        name.removesuffix("running_mean") + "num_batches_tracked": counter for name in means
    }


def _batches_tracked(run: Run) -> int:
    """Returns the number of batches that each BN has seen; PyTorch counts them, and some of its tools require the count."""
    if imported := imported_from(run.description):
        return imported["batches_tracked"]
    # Each step has two views.
    return 2 * step_of(run.checkpoint)
