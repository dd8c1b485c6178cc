"""Loads an exported state dict into the networks of torchvision and timm, and writes their own weights as a file.

    python torch_networks.py STATE DATA RESULT

DATA is an .npz with normalised `images`, the maps of the backbone that was exported, its `architecture`, and the path `written` of a
safetensors file for the random weights of timm's network. RESULT is JSON.
"""

import json
import sys

import numpy as np
import safetensors.torch
import torch

# torchvision's compiled operations need CUDA's libraries, which PyTorch for CPUs does not have. Its networks do not use them, but its modules
# describe these two.
OPERATIONS = torch.library.Library("torchvision", "DEF")
try:
    import torchvision
except RuntimeError:
    for module in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    for operation in ("nms", "qnms"):
        OPERATIONS.define(f"{operation}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm  # noqa: E402 - it imports torchvision

LEVELS = ("c2", "c3", "c4", "c5")


def torchvision_maps(network, images):
    """Returns the maps of the four stages of a torchvision ResNet."""
    network.eval()
    features = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    maps = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        features = stage(features)
        maps.append(features)
    return maps


def timm_maps(network, images):
    network.eval()
    return network.forward_intermediates(
        images, indices=[1, 2, 3, 4], intermediates_only=True, output_fmt="NCHW"
    )


def errors(maps, data):
    found = {}
    for level, value in zip(LEVELS, maps, strict=True):
        wanted = data[level]
        value = value.permute(0, 2, 3, 1).numpy()
        found[level] = float(np.abs(value - wanted).max() / np.abs(wanted).max())
    return found


def state_of(path):
    if path.endswith(".safetensors"):
        return safetensors.torch.load_file(path)
    return torch.load(path, weights_only=True)


@torch.no_grad()
def main(path, data, result):
    data = np.load(data)
    architecture = str(data["architecture"])
    images = torch.from_numpy(data["images"].transpose(0, 3, 1, 2).copy())
    state = state_of(path)
    network = timm.create_model(architecture, num_classes=0, in_chans=images.shape[1])
    network.load_state_dict(state)
    found = {"timm": errors(timm_maps(network, images), data)}
    if hasattr(torchvision.models, architecture) and images.shape[1] == 3:
        network = getattr(torchvision.models, architecture)()
        missing, unexpected = network.load_state_dict(state, strict=False)
        assert sorted(missing) == ["fc.bias", "fc.weight"] and not unexpected
        found["torchvision"] = errors(torchvision_maps(network, images), data)
    if images.shape[1] == 3:
        _write_weights(architecture, images, str(data["written"]))
    with open(result, "w") as file:
        json.dump(found, file)


def _write_weights(architecture, images, path):
    # The other direction: random weights, with running averages that are not those of a new network.
    torch.manual_seed(0)
    network = timm.create_model(architecture).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.0)
    safetensors.torch.save_file(network.state_dict(), path)
    maps = timm_maps(network, images)
    np.savez(
        f"{path}.npz",
        **{
            level: value.permute(0, 2, 3, 1).numpy()
            for level, value in zip(LEVELS, maps, strict=True)
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
