"""Channels of images: their number, the range of their stored values, and their statistics; TensorFlow is not needed."""

import dataclasses

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Channels:
    """Channels of the images that a backbone is trained on, with one number per channel in each attribute.

    Stored values are scaled such that `low` becomes 0 and `high` becomes 1, and limited to this range. A network takes the result
    minus `mean`, divided by `std`.

    Attributes:
        low, high: stored values that become 0 and 1.
        mean, std: mean and standard deviation of the scaled values, with which they are normalised.

    Examples:
        >>> from pixpro_tf.data.views.channels import Channels
        >>> Channels((0.0, 0.0), (4095.0, 4095.0), (0.3, 0.4), (0.1, 0.2)).count
        2
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        # From JSON, they are lists.
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, tuple(map(float, getattr(self, field.name))))

    @property
    def count(self) -> int:
        """Number of channels."""
        return len(self.mean)

    @property
    def is_photograph(self) -> bool:
        """Whether the images are RGB with 8 bits per channel, to which every image file can be decoded."""
        return (self.low, self.high) == (RGB.low, RGB.high)

    @property
    def has_8_bits(self) -> bool:
        """Whether the range of every channel is that of 8 bits, 0 to 255."""
        return set(self.low) == {0.0} and set(self.high) == {255.0}

    @property
    def scaling(self) -> str:
        """Formula that scales stored values to the range from 0 to 1, for people."""
        low, high = list(self.low), list(self.high)
        return f"(values - {low}) / ({high} - {low})"

    @property
    def preparation(self) -> str:
        """How stored values become the input of a network, for people."""
        scaled = "RGB in [0, 1]"
        if not self.is_photograph:
            scaled = f"{self.scaling}, limited to [0, 1]"
        return f"{scaled}, minus {self.mean}, divided by {self.std}"

    def repeated(self, count: int) -> "Channels":
        """Returns `count` channels that are all equal to the only one."""
        return Channels(*(values * count for values in dataclasses.astuple(self)))

    @property
    def has_colour(self) -> bool:
        """Whether the channels are treated as red, green and blue by the photometric augmentation."""
        return self.count == RGB.count


RGB = Channels((0.0,) * 3, (255.0,) * 3, IMAGENET_MEAN, IMAGENET_STD)
