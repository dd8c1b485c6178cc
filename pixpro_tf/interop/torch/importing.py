"""Import of a PyTorch checkpoint into a folder that `--init_from`, evaluations and exports accept like that of a run."""

import dataclasses
import itertools
import os
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf import pixpro
from pixpro_tf.backbones import resnet
from pixpro_tf.build import build_compiled_model, build_model, build_schedule
from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError, first_line, listed
from pixpro_tf.interop.torch.files import TorchFile
from pixpro_tf.pretrained import torch_names
from pixpro_tf.pretrained.recognition import Recognised, Weights, below, recognise, with_known_names
from pixpro_tf.storage.checkpoints import CheckpointStore, parts_of, save_weights
from pixpro_tf.storage.run_folder import RunFolder, write_description

_COUNTER = ".num_batches_tracked"
_BUFFERS = (".running_mean", ".running_var", _COUNTER)
_AUGMENTATIONS = {
    "NULL": "none",
    "InstDisc": "inst_disc",
    "MoCov2": "moco_v2",
    "SimCLR": "simclr",
    "RandAug": "rand_augment",
    "BYOL": "byol",
}
# The authors' options that are equivalent to a flag of this project.
_OPTIONS = {
    "image_size": "image_size",
    "crop": "min_crop_area",
    "epochs": "epochs",
    "base_learning_rate": "base_lr",
    "lr_scheduler": "schedule",
    "warmup_epoch": "warmup_epochs",
    "optimizer": "optimizer",
    "weight_decay": "weight_decay",
    "momentum": "momentum",
    "pixpro_p": "gamma",
    "pixpro_momentum": "ema_momentum",
    "pixpro_pos_ratio": "positive_threshold",
}
# Options for which this project has no flag, with the only value of each that it supports.
_FIXED_OPTIONS = {"warmup_multiplier": 100, "lr_decay_rate": 0.1, "pixpro_clamp_value": 0.0}


@dataclasses.dataclass(frozen=True)
class Imported:
    """Result of an import.

    Attributes:
        kind, backbone: see `Recognised`.
        num_arrays: number of imported arrays.
        passed_over: names of the skipped arrays.
        step: step from which the run can be resumed; None if only weights were imported.
        go_on: flags with which `train.py` resumes the run.
    """

    kind: str
    backbone: str
    num_arrays: int
    passed_over: list[str]
    step: int | None
    go_on: str


def import_file(
    file: TorchFile,
    output: str,
    *,
    output_stride: int = 32,
    gamma: float = 2.0,
    resume_training: bool = False,
    overwrite: bool = False,
) -> Imported:
    """Converts a PyTorch checkpoint.

    Args:
        file: contents of the checkpoint.
        output: folder to create, with the structure of a run folder.
        output_stride: output stride of the backbone, 32, 16 or 8, which weights do not determine; the authors' options in the file
            take precedence.
        gamma: sharpness of the propagation, which weights do not determine; the authors' options in the file take precedence.
        resume_training: whether to also import the optimizer's momentum and the step, so that `train.py --run_dir` resumes the run.
        overwrite: whether to replace an existing folder.

    Raises:
        UserError: if the file is not recognised or does not contain what is requested; nothing is written then.
    """
    file = dataclasses.replace(file, weights=with_known_names(file.weights))
    try:
        found = recognise(file.weights)
    except RunError as error:
        raise RunError(f"--checkpoint={file.path} {error}") from error
    flags: dict[str, Any] = {"run_dir": output, "output_stride": output_stride, "gamma": gamma}
    # A mistake in these flags is not one in the file.
    Config(**flags)
    of_batch = _batch_flags(file) if resume_training else {}
    try:
        config = Config(**flags | _flags(file, found) | of_batch)
    except (ValueError, TypeError) as error:
        reason = error.line if isinstance(error, ConfigError) else first_line(error)
        raise RunError(
            f"--checkpoint={file.path} has options that are not supported: {reason}"
        ) from error
    counters = {int(v) for name, v in file.weights.items() if name.endswith(_COUNTER)}
    imported: dict[str, Any] = {
        "file": os.path.basename(file.path),
        "kind": found.kind,
        "batches_tracked": max(counters, default=0),
    }
    if isinstance(file.content.get("epoch"), int):
        imported["epoch"] = file.content["epoch"]
    with atomic_output(output, overwrite) as temporary:
        folder = RunFolder(temporary)
        num_images, step = None, None
        if resume_training:
            used, num_images, step = _import_run(file, found, config, folder)
        elif found.has_heads:
            used = _import_model(file, config, folder)
        else:
            used = _import_backbones(file, found, config, folder)
        write_description(config, folder, num_images, imported=imported)
    passed_over = [
        name for name in file.weights if name not in used and not name.endswith(_COUNTER)
    ]
    return Imported(
        found.kind, found.backbone, len(used), passed_over, step, " ".join(config.changed_flags())
    )


def _flags(file: TorchFile, found: Recognised) -> dict[str, Any]:
    """Returns the flags of this project that correspond to the weights and options of the file."""
    options = file.options
    flags: dict[str, Any] = {"backbone": found.backbone} | found.model_flags
    flags |= {ours: options[theirs] for theirs, ours in _OPTIONS.items() if theirs in options}
    if str(options.get("arch", "")).endswith("_16s"):
        flags["output_stride"] = 16
    if found.has_heads and "pixpro_ins_loss_weight" in options:
        flags["instance_weight"] = float(options["pixpro_ins_loss_weight"])
    if options.get("aug") in _AUGMENTATIONS:
        flags["augmentation"] = _AUGMENTATIONS[options["aug"]]
    if flags.get("schedule") == "step":
        flags["lr_drops"] = ",".join(map(str, options.get("lr_decay_epochs", ())))
    for name in ("base_lr", "weight_decay", "momentum", "gamma", "min_crop_area"):
        if name in flags:
            flags[name] = float(flags[name])
    return flags


def _batch_flags(file: TorchFile) -> dict[str, Any]:
    """Returns the flags of the global batch and the precision, which only a resumed run needs."""
    options = file.options
    differing = [
        f"{name}={options[name]} (supported: {value})"
        for name, value in _FIXED_OPTIONS.items()
        if options.get(name, value) != value
    ]
    if differing:
        raise ConfigError(
            f"--resume_training does not support the options of the run: {', '.join(differing)}; remove the flag to import the weights"
        )
    try:
        group = file.content["optimizer"]["param_groups"][0]
        # The options contain the batch size of one GPU; the learning rate determines the global batch size.
        rate = float(group["initial_lr"])
        batch_size = round(rate * 256 / float(options["base_learning_rate"]))
    except (KeyError, IndexError, TypeError, ZeroDivisionError):
        raise RunError(
            "--resume_training requires the optimizer's state and the options of a training run, which this file does not contain; "
            "remove the flag to import the weights"
        ) from None
    amp = options.get("amp_opt_level", "O0") != "O0"
    return {"batch_size": batch_size, "precision": "float16" if amp else "float32"}


def _import_backbones(
    file: TorchFile, found: Recognised, config: Config, folder: RunFolder
) -> set[str]:
    used: set[str] = set()
    parts: dict[str, Any] = {}
    for network, prefix in (("online", found.prefix), ("target", found.target_prefix)):
        if prefix is None:
            # An object with two names is saved once.
            parts[network] = parts["online"]
            continue
        backbone = resnet.build(config.backbone, output_stride=config.output_stride)
        weights = below(file.weights, prefix)
        if others := torch_names.layers_beyond(backbone, weights):
            raise _does_not_fit(
                file.path,
                f"it contains {listed(others, 3)}, which a {config.backbone} does not have; use weights of a plain ResNet",
            )
        loaded = _load(backbone, weights, file.path)
        used |= {prefix + name for name in loaded}
        parts[network] = tf.train.Checkpoint(backbone=backbone)
    save_weights(parts, folder.checkpoints)
    return used


def _import_model(file: TorchFile, config: Config, folder: RunFolder) -> set[str]:
    model = build_model(config, total_steps=1, policy="float32")
    used = _load(model, file.weights, file.path)
    save_weights(parts_of(model), folder.checkpoints)
    return set(used)


def _load(model: pixpro.PixPro | resnet.ResNet, weights: Weights, path: str) -> list[str]:
    try:
        loaded = torch_names.load_state_dict(model, weights)
    except ValueError as error:
        raise _does_not_fit(path, str(error)) from error
    if broken := torch_names.not_finite(weights, loaded):
        raise _does_not_fit(path, f"values are not finite: {listed(broken, 3)}")
    return loaded


def _does_not_fit(path: str, reason: str) -> RunError:
    return RunError(f"--checkpoint={path} cannot be imported: {reason}")


def _import_run(
    file: TorchFile, found: Recognised, config: Config, folder: RunFolder
) -> tuple[set[str], int, int]:
    """Imports everything that a run needs to be resumed; returns the names used, the number of images and the step."""
    if not found.has_heads:
        raise ConfigError(
            "--resume_training requires a PixPro run, which this file does not contain; remove the flag to import the weights"
        )
    try:
        num_images = int(file.options["num_instances"])
        step = int(file.content["scheduler"]["last_epoch"])
        epoch = int(file.content["epoch"])
    except (KeyError, TypeError):
        raise RunError(
            "--resume_training requires num_instances, the scheduler and the epoch, which this file does not contain; "
            "remove the flag to import the weights"
        ) from None
    steps_per_epoch = num_images // config.batch_size
    if step != epoch * steps_per_epoch:
        raise RunError(
            f"--resume_training: step {step} and epoch {epoch} of the file do not match, because {num_images} images in batches of "
            f"{config.batch_size} make {steps_per_epoch} steps per epoch; remove the flag to import the weights"
        )
    learning_rate = build_schedule(config, steps_per_epoch)
    model = build_compiled_model(config, learning_rate, config.epochs * steps_per_epoch)
    used = set(_load(model, file.weights, file.path))
    momentum = momentum_by_name(file)
    variables = torch_names.variables_by_name(model)
    of_variable = {
        variable.ref(): momentum[name] for name, variable in variables.items() if name in momentum
    }
    # For float16, another optimizer that scales the loss wraps this one.
    optimizer: Any = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for variable, velocity in zip(model.trainable_variables, inner.momentums, strict=True):
        velocity.assign(torch_names.from_torch_layout(of_variable[variable.ref()]))
    optimizer.iterations.assign(step)
    CheckpointStore(folder.checkpoints, model).save()
    return used, num_images, step


def momentum_by_name(file: TorchFile) -> dict[str, np.ndarray]:
    """Returns the momentum buffers of the trained parameters by name, in PyTorch's layouts.

    PyTorch numbers the parameters consecutively through the groups of the optimizer. The authors' LARS has two groups, one for parameters
    with one dimension and one for the others. Their SGD has a single group of all parameters, including those of the target network, which
    have no buffers. Within a group, the parameters have the order of the model, which is that of its state dict.

    Raises:
        RunError: if the file does not match this description.
    """
    groups = file.content["optimizer"]["param_groups"]
    state = file.content["optimizer"]["state"]
    parameters = [name for name in file.weights if not name.endswith(_BUFFERS)]
    trained = [name for name in parameters if "_k." not in name]
    orders = [parameters]
    if len(groups) == 2:
        vectors = [name for name in trained if file.weights[name].ndim == 1]
        orders = [vectors, [name for name in trained if file.weights[name].ndim != 1]]
    sizes = [len(group["params"]) for group in groups]
    expected = [len(order) for order in orders]
    if sizes != expected:
        raise RunError(
            f"--resume_training: the optimizer has groups of {sizes} parameters instead of {expected}; "
            "remove the flag to import the weights"
        )
    numbers = itertools.chain.from_iterable(group["params"] for group in groups)
    number_of = dict(zip(itertools.chain(*orders), numbers, strict=True))
    return {
        name: _momentum_of(name, state.get(number_of[name], {}), file.weights[name].shape)
        for name in trained
    }


def _momentum_of(name: str, state: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    buffer = state.get("momentum_buffer")
    if buffer is None or tuple(buffer.shape) != shape:
        raise RunError(
            f"--resume_training: the optimizer does not contain a momentum that fits {name}; remove the flag to import the weights"
        )
    return buffer
