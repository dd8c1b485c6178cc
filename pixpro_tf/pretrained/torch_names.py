"""Weights with the names and layouts of the authors' PyTorch implementation; does not require PyTorch.

The authors name the parts of the target network `encoder_k` and `projector_k`. Convolution weights are OIHW, and batch norm has `weight`,
`bias`, `running_mean` and `running_var`.
"""

import re
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.errors import listed
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.heads import ConvMLP
from pixpro_tf.pixpro import PixPro

# Names of a ResNet's layers; a count of batches is not a weight.
_OF_BACKBONE = re.compile(r"(conv1|bn1|stem|layer\d)\b")
_COUNTER = ".num_batches_tracked"
_BATCH_NORM_NAMES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def variables_by_name(model: PixPro | ResNet) -> dict[str, tf.Variable]:
    """Returns the variables by their names in PyTorch's state dict, without the prefix `module.`.

    Args:
        model: a built model. The names are the authors', or those of a ResNet (`conv1.weight`) if the model is only a backbone.
    """
    named: dict[str, tf.Variable] = {}
    if isinstance(model, ResNet):
        _add_layers(named, model, "")
        return named
    for network, suffix in ((model.online, ""), (model.target, "_k")):
        _add_layers(named, network.backbone, f"encoder{suffix}.")
        for projector in network.projectors.values():
            for head in projector.heads.values():
                _add_head(named, head, suffix)
        if network.neck is not None:
            _add_layers(named, network.neck, f"neck{suffix}.")
    for objective in model.objectives:
        for head in objective.submodules:
            if isinstance(head, ConvMLP):
                _add_head(named, head, "")
    return named


def layers_beyond(backbone: ResNet, names: Iterable[str]) -> list[str]:
    """Returns the names of weights of a backbone's layers that it does not have, such as attention; with them, features would be others."""
    named = variables_by_name(backbone)
    return [
        name
        for name in names
        if name not in named and _OF_BACKBONE.match(name) and not name.endswith(_COUNTER)
    ]


def load_state_dict(model: PixPro | ResNet, state_dict: dict[str, np.ndarray]) -> list[str]:
    """Assigns weights by their names, either all weights of the model or none.

    Args:
        model: a built model.
        state_dict: arrays in PyTorch's layouts, by the names that `variables_by_name` returns. Other names are skipped.

    Returns:
        Names of the assigned weights.

    Raises:
        ValueError: if weights of the model are missing or shapes differ; the message lists the first ones.
    """
    named = variables_by_name(model)
    missing = sorted(named.keys() - state_dict.keys())
    if missing:
        raise ValueError(f"missing weights: {listed(missing, 3)}")
    misshapen = [
        f"{name} is {list(np.shape(state_dict[name]))} instead of {list(torch_shape(variable))}"
        for name, variable in named.items()
        if np.shape(state_dict[name]) != torch_shape(variable)
    ]
    if misshapen:
        raise ValueError(f"shapes differ: {listed(misshapen, 3)}")
    for name, variable in named.items():
        variable.assign(from_torch_layout(np.asarray(state_dict[name])))
    return list(named)


def not_finite(weights: dict[str, np.ndarray], names: Iterable[str]) -> list[str]:
    """Returns those of some names whose weights contain NaN or infinity."""
    return [name for name in names if not np.isfinite(weights[name]).all()]


def state_dict(model: PixPro | ResNet) -> dict[str, np.ndarray]:
    """Returns the weights of the model by their names, in PyTorch's layouts; the inverse of `load_state_dict`."""
    return {
        name: to_torch_layout(variable.numpy())
        for name, variable in variables_by_name(model).items()
    }


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """Transposes an array of four dimensions from HWIO to OIHW; returns other arrays unchanged."""
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array


def from_torch_layout(array: np.ndarray) -> np.ndarray:
    """Transposes an array of four dimensions from OIHW to HWIO; returns other arrays unchanged."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def torch_shape(variable: tf.Variable) -> tuple[int, ...]:
    """Returns the shape of a variable in PyTorch's layout."""
    shape = tuple(variable.shape)
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _add_layers(named: dict[str, tf.Variable], module: tf.Module, prefix: str) -> None:
    for layer in module.submodules:
        if isinstance(layer, BatchNorm):
            for ours, theirs in _BATCH_NORM_NAMES.items():
                named[f"{prefix}{layer.name}.{theirs}"] = getattr(layer, ours)
        elif isinstance(layer, tf.keras.layers.Conv2D):
            named[f"{prefix}{layer.name}.weight"] = layer.kernel
            if layer.use_bias:
                named[f"{prefix}{layer.name}.bias"] = layer.bias


def _add_head(named: dict[str, tf.Variable], head: ConvMLP, suffix: str) -> None:
    # Names of a head's layers start with the name of the head: projector.linear1 becomes projector_k.linear1 in the target network.
    layers: dict[str, tf.Variable] = {}
    _add_layers(layers, head, "")
    for name, variable in layers.items():
        named[head.name + suffix + name.removeprefix(head.name)] = variable
