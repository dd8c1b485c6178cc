"""From a PyTorch checkpoint to a folder that `--init_from`, evaluation and exports take like a run's."""

import dataclasses
import itertools
import os
import textwrap
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf import pixpro
from pixpro_tf.backbones import resnet
from pixpro_tf.build import build_compiled_model, build_model, build_schedule
from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.interop.torch import names
from pixpro_tf.interop.torch.files import TorchFile
from pixpro_tf.interop.torch.recognition import Recognised, Weights, below, recognise
from pixpro_tf.storage.checkpoints import CheckpointStore, parts_of, save_weights
from pixpro_tf.storage.run_folder import RunFolder, write_description

_COUNTER = ".num_batches_tracked"
_BUFFERS = (".running_mean", ".running_var", _COUNTER)
_LONGEST_MESSAGE = 500
_AUGMENTATIONS = {
    "NULL": "none",
    "InstDisc": "inst_disc",
    "MoCov2": "moco_v2",
    "SimCLR": "simclr",
    "RandAug": "rand_augment",
    "BYOL": "byol",
}
# The authors' options that mean the same as a flag of ours.
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
# Options that this project has no flag for, and the one value of each that it trains with.
_FIXED_OPTIONS = {"warmup_multiplier": 100, "lr_decay_rate": 0.1, "pixpro_clamp_value": 0.0}


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        kind, backbone: see `Recognised`.
        num_arrays: how many arrays were taken over.
        passed_over: names of those that were not.
        step: of the run that goes on; None if only weights were taken.
        go_on: flags with which `train.py` goes on with it.
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
        file: what was read.
        output: folder to make, laid out as a run's.
        output_stride: 32, 16 or 8; weights do not tell it. The authors' options do, and then it is theirs.
        gamma: likewise.
        resume_training: take over the optimiser's momentum and the step too, so that `train.py --run_dir` goes on.
        overwrite: replace a folder that is there already.

    Raises:
        UserError: if it is not understood, or does not hold what is asked for. Nothing is written then.
    """
    try:
        found = recognise(file.weights)
    except RunError as error:
        raise RunError(f"--checkpoint={file.path}: {error}") from error
    flags = {"output_stride": output_stride, "gamma": gamma} | _flags(file, found, resume_training)
    config = Config(run_dir=output, **flags)
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
        write_description(config, folder, num_images, imported)
    passed_over = [
        name for name in file.weights if name not in used and not name.endswith(_COUNTER)
    ]
    return Imported(
        found.kind, found.backbone, len(used), passed_over, step, " ".join(config.changed_flags())
    )


def _flags(file: TorchFile, found: Recognised, resume_training: bool) -> dict[str, Any]:
    """Flags of ours that the file's weights and options stand for."""
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
    return flags | (_batch_flags(file) if resume_training else {})


def _batch_flags(file: TorchFile) -> dict[str, Any]:
    """Global batch and precision, which only a run that goes on has to know."""
    options = file.options
    differing = [
        f"{name}={options[name]} (here: {value})"
        for name, value in _FIXED_OPTIONS.items()
        if options.get(name, value) != value
    ]
    if differing:
        raise ConfigError(
            f"--resume_training: the run has options that this project does not train with: {', '.join(differing)}"
        )
    try:
        group = file.content["optimizer"]["param_groups"][0]
        # The batch of one GPU stands in the options; the rate tells that of all.
        rate = float(group["initial_lr"])
        batch_size = round(rate * 256 / float(options["base_learning_rate"]))
    except (KeyError, IndexError, TypeError, ZeroDivisionError):
        raise RunError(
            "--resume_training needs the optimizer's state and the options of a training run, and this file has lost them; "
            "leave the flag out to import its weights"
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
            # The same object under two names is saved once.
            parts[network] = parts["online"]
            continue
        backbone = resnet.build(config.backbone, output_stride=config.output_stride)
        loaded = _load(backbone, below(file.weights, prefix), file.path)
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
        loaded = names.load_state_dict(model, weights)
    except ValueError as error:
        raise _does_not_fit(path, str(error)) from error
    broken = [name for name in loaded if not np.isfinite(weights[name]).all()]
    if broken:
        raise _does_not_fit(path, f"not finite: {', '.join(broken)}")
    return loaded


def _does_not_fit(path: str, reason: str) -> RunError:
    shortened = textwrap.shorten(reason, _LONGEST_MESSAGE, placeholder=" ... and more")
    return RunError(f"--checkpoint={path}: {shortened}")


def _import_run(
    file: TorchFile, found: Recognised, config: Config, folder: RunFolder
) -> tuple[set[str], int, int]:
    """All that a run needs to go on; returns the names used, the number of images and the step."""
    if not found.has_heads:
        raise ConfigError("--resume_training goes on with a PixPro run, and this file holds none")
    try:
        num_images = int(file.options["num_instances"])
        step = int(file.content["scheduler"]["last_epoch"])
        epoch = int(file.content["epoch"])
    except (KeyError, TypeError):
        raise RunError(
            "--resume_training needs num_instances, the scheduler and the epoch, and this file has lost them; "
            "leave the flag out to import its weights"
        ) from None
    steps_per_epoch = num_images // config.batch_size
    if step != epoch * steps_per_epoch:
        raise RunError(
            f"--resume_training: the file is of step {step} in epoch {epoch}, and {num_images} images in batches of "
            f"{config.batch_size} make {steps_per_epoch} steps an epoch; leave the flag out to import its weights"
        )
    learning_rate = build_schedule(config, steps_per_epoch)
    model = build_compiled_model(config, learning_rate, config.epochs * steps_per_epoch)
    used = set(_load(model, file.weights, file.path))
    momentum = momentum_by_name(file)
    variables = names.variables_by_name(model)
    of_variable = {
        variable.ref(): momentum[name] for name, variable in variables.items() if name in momentum
    }
    # With float16 the optimiser is inside one that scales the loss.
    optimizer: Any = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for variable, velocity in zip(model.trainable_variables, inner.momentums, strict=True):
        velocity.assign(names.from_torch_layout(of_variable[variable.ref()]))
    optimizer.iterations.assign(step)
    CheckpointStore(folder.checkpoints, model).save()
    return used, num_images, step


def momentum_by_name(file: TorchFile) -> dict[str, np.ndarray]:
    """Momentum buffers of the trained parameters, in PyTorch's layouts.

    PyTorch numbers the parameters through the optimiser's groups. The authors' LARS has two, of those with one dimension and of
    the others; their SGD has one of all, the target network's included, which have no buffers. Within a group they come in the
    order of the model, which is that of its state dict.

    Raises:
        RunError: if the file does not fit that description.
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
            f"--resume_training: the optimizer has groups of {sizes} parameters, and {expected} are expected; "
            "leave the flag out to import the weights"
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
            f"--resume_training: the optimizer has no momentum that fits {name}; leave the flag out to import the weights"
        )
    return buffer
