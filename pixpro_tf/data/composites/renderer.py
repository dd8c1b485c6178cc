"""Composition of photographs of things on a photograph: an image, the class of every pixel, and a box around every thing."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image

# Longer side of a thing as a share of the side of the image, and the range of its rotation in degrees.
_SMALLEST, _LARGEST, _ROTATION = 0.45, 0.9, 20.0
# Smallest part of a background, and smallest visible part of a thing that has a box, as shares of their areas.
_MIN_BACKGROUND, _MIN_VISIBLE = 0.3, 0.25
# Opacity from which a pixel belongs to a thing.
_OPAQUE = 128
_FEWEST, _MOST = 3, 5


@dataclasses.dataclass(frozen=True)
class Composite:
    """Composed image.

    Attributes:
        image: uint8 `[S, S, 3]`.
        mask: uint8 `[S, S]`, 0 for the background and otherwise labels.
        boxes: float32 `[N, 4]`, (y0, x0, y1, x1) of the visible parts, as shares of the image.
        labels: int64 `[N]`, from 1 on.
    """

    image: np.ndarray
    mask: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def compose(
    seed: Sequence[int], size: int, things: Sequence[Sequence[str]], backgrounds: Sequence[str]
) -> Composite:
    """Composes an image; a pure function of the arguments and the files.

    Args:
        seed: seed of all random choices.
        size: side of the image in pixels.
        things: paths of the photographs of each class, in the order of the labels from 1 on.
        backgrounds: paths of the photographs behind them.
    """
    generator = np.random.default_rng(seed)
    canvas = _background(generator, backgrounds[generator.integers(len(backgrounds))], size)
    mask = np.zeros([size, size], np.uint8)
    owner = np.zeros([size, size], np.uint8)
    placed = []
    for number in range(1, 1 + int(generator.integers(_FEWEST, _MOST + 1))):
        label = int(generator.integers(len(things))) + 1
        paths = things[label - 1]
        thing = _thing(generator, paths[generator.integers(len(paths))], size)
        left, top = (_position(generator, side, size) for side in thing.size)
        canvas.paste(thing, (left, top), thing)
        opaque = Image.new("L", (size, size))
        opaque.paste(thing.getchannel("A"), (left, top))
        covered = np.asarray(opaque) >= _OPAQUE
        mask[covered] = label
        owner[covered] = number
        placed.append(
            (number, label, np.count_nonzero(np.asarray(thing.getchannel("A")) >= _OPAQUE))
        )
    boxes, labels = [], []
    for number, label, area in placed:
        rows, columns = np.nonzero(owner == number)
        if len(rows) and len(rows) >= _MIN_VISIBLE * area:
            boxes.append([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
            labels.append(label)
    return Composite(
        np.asarray(canvas),
        mask,
        np.array(boxes, np.float32).reshape(-1, 4) / size,
        np.array(labels, np.int64),
    )


def _background(generator: np.random.Generator, path: str, size: int) -> Image.Image:
    """Returns a random square part of a photograph, mirrored at random."""
    photograph = _opened(path)
    side = min(photograph.size)
    side = round(side * generator.uniform(_MIN_BACKGROUND**0.5, 1.0))
    left, top = (int(generator.integers(length - side + 1)) for length in photograph.size)
    part = photograph.crop((left, top, left + side, top + side))
    part = part.resize((size, size), Image.Resampling.LANCZOS).convert("RGB")
    return _mirrored(generator, part)


def _thing(generator: np.random.Generator, path: str, size: int) -> Image.Image:
    """Returns a thing of random size, mirrored and turned a little at random, as RGBA without an empty border."""
    thing = _mirrored(generator, _opened(path))
    longer = generator.uniform(_SMALLEST, _LARGEST) * size
    angle = generator.uniform(-_ROTATION, _ROTATION)
    # Colours of transparent pixels must not shine through at the edges.
    thing = thing.convert("RGBa")
    scale = longer / max(thing.size)
    thing = thing.resize(
        [max(round(side * scale), 1) for side in thing.size], Image.Resampling.LANCZOS
    )
    thing = thing.rotate(angle, Image.Resampling.BICUBIC, expand=True).convert("RGBA")
    return thing.crop(thing.getchannel("A").getbbox())


def _mirrored(generator: np.random.Generator, image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else image


def _position(generator: np.random.Generator, side: int, size: int) -> int:
    """Returns the position of a thing along an axis; a quarter of it may lie outside of the image."""
    return int(generator.integers(-side // 4, max(size - 3 * side // 4, -side // 4 + 1)))


@functools.lru_cache(maxsize=512)
def _opened(path: str) -> Image.Image:
    with Image.open(path, formats=("PNG", "JPEG")) as file:
        image = file.convert("RGBA")
    # Larger ones only take memory and time.
    image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    return image.crop(image.getchannel("A").getbbox())
