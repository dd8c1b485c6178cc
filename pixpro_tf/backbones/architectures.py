"""Architectures of the ResNet family; a table that does not import TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Properties in which the members of the family differ.

    Attributes:
        blocks: number of residual blocks in each of the four stages.
        bottleneck: whether blocks are 1x1 - 3x3 - 1x1 with four times the channels at their ends; otherwise they are two 3x3
            convolutions.
        width: factor of every channel count.
        groups, group_width: number and width of the groups of the 3x3 convolutions; a group of a stage with base channels p has
            p * group_width / 64 channels.
        deep: whether it is the "d" variant, with a stem of three 3x3 convolutions and average pooling in the shortcuts that stride.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    width: float = 1
    groups: int = 1
    group_width: int = 64
    deep: bool = False


ARCHITECTURES = {
    "resnet10w0.5": Architecture((1, 1, 1, 1), bottleneck=False, width=0.5),
    "resnet10": Architecture((1, 1, 1, 1), bottleneck=False),
    "resnet18": Architecture((2, 2, 2, 2), bottleneck=False),
    "resnet34": Architecture((3, 4, 6, 3), bottleneck=False),
    "resnet50": Architecture((3, 4, 6, 3)),
    "resnet101": Architecture((3, 4, 23, 3)),
    "resnet152": Architecture((3, 8, 36, 3)),
    "resnet18d": Architecture((2, 2, 2, 2), bottleneck=False, deep=True),
    "resnet34d": Architecture((3, 4, 6, 3), bottleneck=False, deep=True),
    "resnet50d": Architecture((3, 4, 6, 3), deep=True),
    "resnet101d": Architecture((3, 4, 23, 3), deep=True),
    "resnet152d": Architecture((3, 8, 36, 3), deep=True),
    "resnet50w2": Architecture((3, 4, 6, 3), width=2),
    "resnext101_32x8d": Architecture((3, 4, 23, 3), groups=32, group_width=8),
    "resnext152_32x8d": Architecture((3, 8, 36, 3), groups=32, group_width=8),
}
