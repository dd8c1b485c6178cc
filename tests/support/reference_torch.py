"""PixPro in plain PyTorch: slow, short, and written from the method's formulas only.

It shares no code with `pixpro_tf`, so agreement means that two independent derivations agree. Modules have the names of the authors' state
dict (`encoder`, `encoder_k`, `projector`, ...) and maps are NCHW; gradients (autograd), batch norm and momentum SGD are those of PyTorch.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

# PyTorch's threads wait for each other much longer than they compute if those of TensorFlow or another test use the same cores.
torch.set_num_threads(1)

# Keyword arguments of `ResNet`, by the name of the backbone.
RESNETS: dict[str, dict] = {
    "resnet10w0.5": {"blocks": (1, 1, 1, 1), "bottleneck": False, "stem_channels": 32},
    "resnet10": {"blocks": (1, 1, 1, 1), "bottleneck": False},
    "resnet18": {"blocks": (2, 2, 2, 2), "bottleneck": False},
    "resnet34": {"blocks": (3, 4, 6, 3), "bottleneck": False},
    "resnet50": {"blocks": (3, 4, 6, 3)},
    "resnet101": {"blocks": (3, 4, 23, 3)},
    "resnet152": {"blocks": (3, 8, 36, 3)},
    "resnet18d": {"blocks": (2, 2, 2, 2), "bottleneck": False, "deep_stem": True},
    "resnet34d": {"blocks": (3, 4, 6, 3), "bottleneck": False, "deep_stem": True},
    "resnet50d": {"blocks": (3, 4, 6, 3), "deep_stem": True},
    "resnet101d": {"blocks": (3, 4, 23, 3), "deep_stem": True},
    "resnet152d": {"blocks": (3, 8, 36, 3), "deep_stem": True},
    "resnet50w2": {"blocks": (3, 4, 6, 3), "stem_channels": 128},
    "resnext101_32x8d": {"blocks": (3, 4, 23, 3), "groups": 32, "channels_per_group": 8},
    "resnext152_32x8d": {"blocks": (3, 8, 36, 3), "groups": 32, "channels_per_group": 8},
}


def conv3x3(inputs: int, outputs: int, stride=1, dilation=1, groups=1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, groups, bias=False)


def conv1x1(inputs: int, outputs: int, stride=1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride, bias=False)


def shortcut(inputs: int, outputs: int, stride: int, deep_stem: bool) -> nn.Sequential | None:
    """Returns the projection shortcut of a block; None if the input can be added unchanged."""
    if stride == 1 and inputs == outputs:
        return None
    if not deep_stem:
        return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
    # The last row and column of an odd size are averaged over the existing pixels only.
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(
        pool if stride > 1 else nn.Identity(), conv1x1(inputs, outputs), nn.BatchNorm2d(outputs)
    )


class BasicBlock(nn.Module):
    def __init__(self, inputs, channels, outputs, stride, dilation, groups, deep_stem):
        super().__init__()
        assert channels == outputs and groups == 1
        self.conv1 = conv3x3(inputs, outputs, stride, dilation)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs, 1, dilation)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride, deep_stem)

    def forward(self, x):
        residual = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (residual + (x if self.downsample is None else self.downsample(x))).relu()


class Bottleneck(nn.Module):
    """Bottleneck block, whose stride and dilation are those of its 3x3 convolution."""

    def __init__(self, inputs, channels, outputs, stride, dilation, groups, deep_stem):
        super().__init__()
        self.conv1 = conv1x1(inputs, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride, dilation, groups)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride, deep_stem)

    def forward(self, x):
        residual = self.bn1(self.conv1(x)).relu()
        residual = self.bn2(self.conv2(residual)).relu()
        residual = self.bn3(self.conv3(residual))
        return (residual + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """ResNet that maps images `[B, 3, H, W]` to the outputs of its four stages, "c2" to "c5".

    Args:
        blocks: number of blocks per stage.
        bottleneck: whether to use bottleneck blocks instead of basic blocks.
        stem_channels: channels of the stem and the first stage, from which all other widths follow.
        groups, channels_per_group: groups of the 3x3 convolutions, and their width in the first stage; by default, a group has as many
            channels as the stem.
        deep_stem: whether to use the deep stem and average-pooling shortcuts of the "d" variants.
        output_stride: maximum stride; each omitted stride doubles the dilation of all 3x3 convolutions from its stage on.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        bottleneck=True,
        stem_channels=64,
        groups=1,
        channels_per_group=None,
        deep_stem=False,
        output_stride=32,
    ):
        super().__init__()
        if deep_stem:
            self.conv1 = nn.Sequential(
                nn.Sequential(conv3x3(3, 32, 2), nn.BatchNorm2d(32), nn.ReLU()),
                nn.Sequential(conv3x3(32, 32), nn.BatchNorm2d(32), nn.ReLU()),
                conv3x3(32, 64),
            )
        else:
            self.conv1 = nn.Conv2d(3, stem_channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_channels)
        self.pool = nn.MaxPool2d(3, 2, 1)

        block = Bottleneck if bottleneck else BasicBlock
        channels = groups * (channels_per_group or stem_channels)
        inputs, outputs = stem_channels, stem_channels * (4 if bottleneck else 1)
        reached, dilation = 4, 1
        for stage, count in enumerate(blocks, start=1):
            stride = 1
            if stage > 1 and reached == output_stride:
                dilation *= 2
            elif stage > 1:
                stride = 2
            reached *= stride
            first = block(inputs, channels, outputs, stride, dilation, groups, deep_stem)
            others = (
                block(outputs, channels, outputs, 1, dilation, groups, deep_stem)
                for _ in range(count - 1)
            )
            self.add_module(f"layer{stage}", nn.Sequential(first, *others))
            inputs, channels, outputs = outputs, 2 * channels, 2 * outputs
        self.out_channels = inputs

    def forward(self, images):
        c1 = self.pool(self.bn1(self.conv1(images)).relu())
        c2 = self.layer1(c1)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return {"c2": c2, "c3": c3, "c4": c4, "c5": self.layer4(c4)}


def resnet(name: str, output_stride: int = 32) -> ResNet:
    return ResNet(**RESNETS[name], output_stride=output_stride)


class Head(nn.Module):
    """Two linear layers on every bin, with batch norm and ReLU in between."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.linear1 = nn.Conv2d(inputs, hidden, 1)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.linear2 = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x):
        return self.linear2(self.bn1(self.linear1(x)).relu())


def value_transform(layers: int, dim: int) -> nn.Module:
    return [nn.Identity(), nn.Conv2d(dim, dim, 1), Head(dim, dim, dim)][layers]


class PixPro(nn.Module):
    """Networks with their weights; `loss` and `follow` implement the method.

    Args:
        backbone, output_stride: see `resnet`.
        hidden, dim: hidden channels and output channels of the heads.
        ppm_layers: number of layers of the value transform: 0, 1 or 2.
        gamma: exponent of the similarities.
        positive_threshold: threshold T of the distance of positive pairs, in bin diagonals.
        instance_weight: weight alpha of the instance loss; 0 omits the instance branch.
    """

    def __init__(
        self,
        *,
        backbone: str,
        output_stride: int,
        hidden: int,
        dim: int,
        ppm_layers: int,
        gamma: float,
        positive_threshold: float,
        instance_weight: float,
    ):
        super().__init__()
        self.gamma = gamma
        self.positive_threshold = positive_threshold
        self.instance_weight = instance_weight
        self.pairs = [("encoder", "encoder_k"), ("projector", "projector_k")]
        self.encoder, self.encoder_k = (resnet(backbone, output_stride) for _ in range(2))
        features = self.encoder.out_channels
        self.projector, self.projector_k = (Head(features, hidden, dim) for _ in range(2))
        self.value_transform = value_transform(ppm_layers, dim)
        if instance_weight:
            self.pairs.append(("projector_instance", "projector_instance_k"))
            self.projector_instance = Head(features, hidden, dim)
            self.projector_instance_k = Head(features, hidden, dim)
            self.predictor = Head(dim, hidden, dim)
        for _, target in self.pairs:
            self.get_submodule(target).requires_grad_(False)

    @torch.no_grad()
    def follow(self, momentum: float):
        """Updates the target network: target weights = momentum * target weights + (1 - momentum) * online weights.

        Running averages are not weights and are not updated.
        """
        for online, target in self.pairs:
            parameters = dict(self.get_submodule(online).named_parameters())
            for name, weight in self.get_submodule(target).named_parameters():
                weight.copy_(momentum * weight + (1 - momentum) * parameters[name])

    def loss(self, view_1, view_2, box_1, box_2):
        """Computes the loss to minimise, a scalar, for views `[B, 3, S, S]` and boxes `[B, 4]`.

        `follow` must have been called before.
        """
        features_1, features_2 = self.encoder(view_1)["c5"], self.encoder(view_2)["c5"]
        with torch.no_grad():
            features_k1, features_k2 = self.encoder_k(view_1)["c5"], self.encoder_k(view_2)["c5"]
            x_k1, x_k2 = self.projector_k(features_k1), self.projector_k(features_k2)
        x_1, x_2 = self.projector(features_1), self.projector(features_2)
        y_1 = propagate(x_1, self.value_transform(x_1), self.gamma)
        y_2 = propagate(x_2, self.value_transform(x_2), self.gamma)
        height, width = x_1.shape[2:]
        mask = positive_mask(box_1, box_2, height, width, self.positive_threshold)
        total = pixel_loss(y_1, x_k2, mask) + pixel_loss(y_2, x_k1, mask.transpose(1, 2))
        if self.instance_weight:
            with torch.no_grad():
                t_1 = self.projector_instance_k(features_k1)
                t_2 = self.projector_instance_k(features_k2)
            p_1 = self.predictor(self.projector_instance(features_1))
            p_2 = self.predictor(self.projector_instance(features_2))
            total = total + self.instance_weight * (
                instance_loss(p_1, t_2) + instance_loss(p_2, t_1)
            )
        return total


def propagate(z, values, gamma):
    """Computes `y_i = sum_j max(cos(z_i, z_j), 0)^gamma g_j / |g_j|` for maps `[B, C, H, W]`."""
    z, g = functional.normalize(z.flatten(2), dim=1), functional.normalize(values.flatten(2), dim=1)
    similarity = (z.transpose(1, 2) @ z).clamp(min=0)
    if gamma < 1:
        similarity = similarity + 1e-6
    return (g @ similarity**gamma).reshape(values.shape)


def bin_centres(box, height, width):
    """Returns x and y of the centre of each bin, `[B, H * W, 2]`, in row-major order."""
    x0, y0, x1, y1 = (edge[:, None, None] for edge in box.unbind(1))
    column = torch.arange(width, dtype=box.dtype, device=box.device)[None, None, :]
    row = torch.arange(height, dtype=box.dtype, device=box.device)[None, :, None]
    x = x0 + (column + 0.5) * (x1 - x0) / width + 0 * row
    y = y0 + (row + 0.5) * (y1 - y0) / height + 0 * column
    return torch.stack([x, y], dim=-1).flatten(1, 2)


def bin_diagonal(box, height, width):
    x0, y0, x1, y1 = box.unbind(1)
    return torch.hypot((x1 - x0) / width, (y1 - y0) / height)


def positive_mask(box_1, box_2, height, width, threshold):
    """Returns `[B, N, N]`: 1 where bins i of view 1 and j of view 2 are closer than `threshold` times the longer diagonal."""
    distance = torch.cdist(
        bin_centres(box_1, height, width),
        bin_centres(box_2, height, width),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    diagonal = torch.maximum(bin_diagonal(box_1, height, width), bin_diagonal(box_2, height, width))
    return (distance / diagonal[:, None, None] < threshold).to(box_1.dtype)


def pixel_loss(y, x_k, mask):
    """Computes -2 times the mean cosine of the positive pairs of maps `[B, C, H, W]`, averaged over images."""
    y, x_k = functional.normalize(y.flatten(2), dim=1), functional.normalize(x_k.flatten(2), dim=1)
    cosine = y.transpose(1, 2) @ x_k
    per_image = (mask * cosine).sum((1, 2)) / (mask.sum((1, 2)) + 1e-6)
    return -2 * per_image.mean()


def instance_loss(prediction, target):
    """Computes -2 times the mean cosine of the pooled outputs of the heads."""
    return (
        -2
        * functional.cosine_similarity(
            prediction.mean((2, 3)), target.mean((2, 3)), dim=1, eps=1e-12
        ).mean()
    )


def ema_momentum(step, total_steps, base):
    return 1 - (1 - base) * (math.cos(math.pi * step / total_steps) + 1) / 2


@torch.no_grad()
def adapt_gradients(parameters: Iterable[nn.Parameter], weight_decay, trust_coefficient):
    """Applies LARS to gradients: weight decay, then scaling to a norm in proportion to the weight's; skips vectors."""
    for weight in parameters:
        if weight.ndim < 2:
            continue
        weight.grad += weight_decay * weight
        if weight.norm() > 0 and weight.grad.norm() > 0:
            weight.grad *= trust_coefficient * weight.norm() / (weight.grad.norm() + 1e-8)


@dataclasses.dataclass
class Step:
    """Result of one step: its loss and gradients, and all weights and running averages after it."""

    loss: float
    gradients: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]


def run(
    state: dict[str, np.ndarray],
    batches: Iterable[Sequence[np.ndarray]],
    rates: Iterable[float],
    *,
    optimizer: str,
    weight_decay: float,
    ema_steps: int,
    momentum: float = 0.9,
    trust_coefficient: float = 0.001,
    ema_base: float = 0.99,
    dtype: torch.dtype = torch.float64,
    **settings,
) -> list[Step]:
    """Trains from given weights.

    Args:
        state: all weights and running averages with the authors' names, in PyTorch's layouts.
        batches: two views `[B, 3, S, S]` and their boxes `[B, 4]` for each step.
        rates: learning rate of each step.
        optimizer: "lars" or "sgd".
        weight_decay: weight decay; LARS applies it to matrices and kernels, SGD to all weights.
        ema_steps: number of steps K of the cosine schedule of the EMA momentum.
        momentum: momentum of the optimizer.
        trust_coefficient: trust coefficient of LARS.
        ema_base: EMA momentum of the target network at step 0.
        dtype: dtype of all computation.
        settings: arguments of `PixPro`.

    Returns:
        The result of each step.
    """
    model = PixPro(**settings).to(dtype)
    model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    model.train()
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    decay_of_all = weight_decay if optimizer == "sgd" else 0.0
    sgd = torch.optim.SGD(
        trained.values(), lr=0.0, momentum=momentum, weight_decay=decay_of_all, foreach=False
    )
    steps = []
    for number, (batch, rate) in enumerate(zip(batches, rates, strict=True)):
        model.follow(ema_momentum(number, ema_steps, ema_base))
        loss = model.loss(*(torch.tensor(array, dtype=dtype) for array in batch))
        sgd.zero_grad()
        loss.backward()
        gradients = {name: weight.grad.numpy().copy() for name, weight in trained.items()}
        if optimizer == "lars":
            adapt_gradients(trained.values(), weight_decay, trust_coefficient)
        sgd.param_groups[0]["lr"] = rate
        sgd.step()
        weights = {
            name: tensor.numpy().copy()
            for name, tensor in model.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        steps.append(Step(loss.item(), gradients, weights))
    return steps
