"""Procedural scenes of things and stuff, drawn with NumPy only.

Every class is a combination of two properties. The six kinds of things are three shapes (ball,
star, rod) in three materials (striped, dotted, checked): each shape comes in two materials and each
material in two shapes. The four kinds of stuff differ in structure and in outline. Furrows and
ripples are both stripes: furrows are straight and have zigzag outlines, ripples are bent and have
wavy outlines. Bricks and cobbles are both faces with gaps between them: bricks are laid in courses
and have zigzag outlines, cobbles are irregular and have wavy outlines. Furrows and the striped
things have the same material.

Colour does not depend on the class: textures have zero mean and unit variance, shading has mean
one, and the mean colour and the contrast of a surface are drawn from the same distribution for all
classes.

Geometry is defined in the unit square, so a seed gives the same composition at every size. Array
operations are only additions, multiplications, divisions, roundings and square roots, which
IEEE 754 rounds exactly, so the pixels do not depend on the mathematical library or the processor.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pixpro_tf.data.scenes.materials import MATERIALS, Material, wave
from pixpro_tf.data.scenes.shapes import SHAPES, Shape

STUFF_NAMES = ("furrows", "ripples", "bricks", "cobbles")
THING_NAMES = (
    "striped_ball",
    "dotted_ball",
    "dotted_star",
    "checked_star",
    "striped_rod",
    "checked_rod",
)
CLASS_NAMES = STUFF_NAMES + THING_NAMES

_TURN = 2.0 * math.pi
_GRID_V, _GRID_U = (
    axis.ravel() for axis in np.meshgrid(*2 * [np.linspace(-1.0, 1.0, 14, dtype=np.float32)])
)
_MIN_VISIBLE = 0.5  # smallest fraction of a thing inside the frame and not behind other things


@dataclasses.dataclass(frozen=True)
class Scene:
    """One rendered scene.

    Attributes:
        image: uint8 `[S, S, 3]`, sRGB.
        mask: uint8 `[S, S]`, indices into `CLASS_NAMES`; every pixel has a class.
        instances: uint8 `[S, S]`, 0 for stuff, `i + 1` for the i-th thing.
        boxes: float32 `[N, 4]`, (ymin, xmin, ymax, xmax) in [0, 1], around the visible pixels of
            each thing.
        labels: int64 `[N]`, indices into `CLASS_NAMES`.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Surface:
    """Material with its colours, `mean + texture * contrast` in each channel."""

    texture: Callable[[np.ndarray, np.ndarray], np.ndarray]
    step_x: float
    step_y: float
    shift: tuple[float, float]
    mean: tuple[float, ...]
    contrast: tuple[float, ...]

    def colours(self, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """One array for each channel, at the points `x`, `y` of the unit square."""
        u = x * self.step_x + (y * self.step_y + self.shift[0])
        v = y * self.step_x - (x * self.step_y - self.shift[1])
        value = self.texture(u, v)
        return [
            value * contrast + mean for mean, contrast in zip(self.mean, self.contrast, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class _Thing:
    label: int
    shape: Shape
    material: Material
    x: float
    y: float
    radius: float
    squash: float
    cosine: float
    sine: float

    def frame(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates in the frame of the shape."""
        dx, dy = (x - self.x) * (1.0 / self.radius), (y - self.y) * (1.0 / self.radius)
        return dx * self.cosine + dy * self.sine, dy * self.cosine - dx * self.sine

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance to the outline, as a fraction of the image's side."""
        u, v = self.frame(x, y)
        return self.shape.distance(u, v, self.squash) * self.radius

    def samples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of a regular grid inside the thing, in the frame of the shape, and their distances to the outline."""
        distance = self.shape.distance(_GRID_U, _GRID_V, self.squash)
        inside = distance < 0.0
        return _GRID_U[inside], _GRID_V[inside], distance[inside] * self.radius

    def relief(self, u: np.ndarray, v: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """How much lighter than a flat face points inside the thing are; points along the rim are darker."""
        rim = np.maximum(1.0 + distance * 50.0, 0.0) * 0.2
        return self.shape.relief(u, v, self.squash) - rim


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


# Mean colour and contrast of every surface of a plain scene.
_PLAIN = (0.45, 0.45, 0.45), (0.15, 0.15, 0.15)


def _draw_colours(
    rng: np.random.Generator, plain: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Draws the mean colour and the contrast of a surface, each a triple for R, G, B.

    Plain scenes draw them, too, so that they have the same composition.
    """
    lightness = _between(rng, 0.38, 0.68)
    chroma = _between(rng, 0.04, 0.20)
    hue = _TURN * rng.random()
    mean = tuple(lightness + chroma * math.cos(hue - k * _TURN / 3.0) for k in range(3))
    strength = _between(rng, 0.10, 0.16) * (1.0 if rng.random() < 0.5 else -1.0)
    contrast = tuple(strength * _between(rng, 0.7, 1.3) for _ in range(3))
    return _PLAIN if plain else (mean, contrast)


def _draw_surface(rng: np.random.Generator, material: Material, plain: bool) -> _Surface:
    angle = _TURN * rng.random()
    period = _between(rng, *material.period)
    shift = (_between(rng, 0.0, 8.0), _between(rng, 0.0, 8.0))
    mean, contrast = _draw_colours(rng, plain)
    step_x, step_y = math.cos(angle) / period, math.sin(angle) / period
    return _Surface(material.texture, step_x, step_y, shift, mean, contrast)


def _draw_thing(rng: np.random.Generator) -> _Thing:
    kind = int(rng.integers(len(THING_NAMES)))
    material, shape = THING_NAMES[kind].split("_")
    angle = _TURN * rng.random()
    return _Thing(
        label=len(STUFF_NAMES) + kind,
        shape=SHAPES[shape],
        material=MATERIALS[material],
        x=_between(rng, 0.06, 0.94),
        y=_between(rng, 0.06, 0.94),
        radius=_between(rng, *SHAPES[shape].radius),
        squash=_between(rng, *SHAPES[shape].squash),
        cosine=math.cos(angle),
        sine=math.sin(angle),
    )


def _visible_fraction(thing: _Thing, others: Sequence[_Thing]) -> float:
    """Fraction of a thing's area that lies in the image and not behind other things."""
    u, v, _ = thing.samples()
    x = (u * thing.cosine - v * thing.sine) * thing.radius + thing.x
    y = (v * thing.cosine + u * thing.sine) * thing.radius + thing.y
    seen = (x > 0.0) & (x < 1.0) & (y > 0.0) & (y < 1.0)
    for other in others:
        if math.hypot(thing.x - other.x, thing.y - other.y) < 1.1 * (thing.radius + other.radius):
            seen &= other.distance(x, y) > 0.0
    return np.count_nonzero(seen) / seen.size


def _draw_things(rng: np.random.Generator) -> list[_Thing]:
    """Draws things from front to back, each with at least `_MIN_VISIBLE` of its area visible."""
    things: list[_Thing] = []
    for _ in range(rng.integers(3, 7)):
        for _ in range(6):
            thing = _draw_thing(rng)
            if _visible_fraction(thing, things) >= _MIN_VISIBLE:
                things.append(thing)
                break
    return things


def _draw_field(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, zigzag: bool) -> np.ndarray:
    """Signed distance to the outline of a random field of stuff: one side of the image, or a patch in it."""
    angle = _TURN * rng.random()
    cosine, sine = math.cos(angle), math.sin(angle)
    centre_x, centre_y = _between(rng, 0.3, 0.7), _between(rng, 0.3, 0.7)
    u = (x - centre_x) * cosine + (y - centre_y) * sine
    v = (y - centre_y) * cosine - (x - centre_x) * sine
    amplitude, length, phase = _between(rng, 0.03, 0.06), _between(rng, 0.2, 0.4), rng.random()
    patch = rng.random() < 0.4
    radius, squash = _between(rng, 0.3, 0.45), _between(rng, 0.7, 1.0)
    along = v * (1.0 / length) + phase
    if zigzag:
        outline = (np.abs(along - np.rint(along)) * 4.0 - 1.0) * amplitude
    else:
        outline = (wave(along) + 0.5 * wave(along * 1.7)) * (amplitude * 0.8)
    if not patch:
        return u + outline
    if zigzag:
        return np.maximum(np.abs(u) - radius * squash, np.abs(v) - radius) + outline
    return (np.sqrt(u * u * (1.0 / squash**2) + v * v) - radius) * squash + outline


def _coverage(distance: np.ndarray, size: int) -> np.ndarray:
    """Fraction of each pixel that lies inside an outline, from the signed distance of its centre."""
    return np.clip(0.5 - distance * size, 0.0, 1.0)


def _blend(
    planes: Iterable[np.ndarray],
    where: tuple[slice | np.ndarray, ...],
    alpha: np.ndarray,
    colours: Iterable[np.ndarray | float],
) -> None:
    for plane, colour in zip(planes, colours, strict=True):
        below = plane[where]
        plane[where] = below + alpha * (colour - below)


def _paint_stuff(
    rng: np.random.Generator,
    canvas: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    size: int,
    plain: bool,
) -> None:
    """Paints two to four fields, each a side of the image or a patch, on top of each other."""
    kinds = rng.permutation(len(STUFF_NAMES))[: rng.integers(2, 5)].tolist()
    surfaces = [_draw_surface(rng, MATERIALS[STUFF_NAMES[kind]], plain) for kind in kinds]
    alphas = [np.ones(x.shape, np.float32)]
    mask[:] = kinds[0]
    for kind in kinds[1:]:
        zigzag = STUFF_NAMES[kind] in ("furrows", "bricks")
        alphas.append(_coverage(_draw_field(rng, x, y, zigzag), size))
        mask[alphas[-1] > 0.5] = kind
    x, y = x.ravel(), y.ravel()
    planes = canvas.reshape(3, -1)
    uncovered = np.ones(x.shape, np.float32)
    for alpha, surface in zip(reversed(alphas), reversed(surfaces), strict=True):
        alpha = alpha.ravel()
        weight = uncovered * alpha
        where = np.flatnonzero(weight > 0.0)
        weight = weight[where]
        for plane, colour in zip(planes, surface.colours(x[where], y[where]), strict=True):
            plane[where] += weight * colour
        uncovered *= 1.0 - alpha


def _window(x: float, y: float, reach: float, size: int) -> tuple[slice, slice]:
    """Slices of the pixels within `reach` of a point."""
    rows = slice(max(0, math.floor((y - reach) * size)), max(0, math.ceil((y + reach) * size)))
    columns = slice(max(0, math.floor((x - reach) * size)), max(0, math.ceil((x + reach) * size)))
    return rows, columns


def _paint_litter(
    rng: np.random.Generator,
    canvas: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    size: int,
    plain: bool,
) -> None:
    """Paints twigs and pebbles, which belong to the stuff that they lie on."""
    for _ in range(rng.integers(5, 12)):
        twig = rng.random() < 0.5
        centre_x, centre_y = rng.random(), rng.random()
        angle = _TURN * rng.random()
        half_length = _between(rng, 0.02, 0.045) if twig else 0.0
        half_width = _between(rng, 0.004, 0.007) if twig else _between(rng, 0.010, 0.018)
        mean, contrast = _draw_colours(rng, plain)
        window = _window(centre_x, centre_y, half_length + half_width + 0.01, size)
        dx, dy = x[window] - centre_x, y[window] - centre_y
        along = dx * math.cos(angle) + dy * math.sin(angle)
        across = dy * math.cos(angle) - dx * math.sin(angle)
        beyond = np.maximum(np.abs(along) - half_length, 0.0)
        alpha = _coverage(np.sqrt(beyond * beyond + across * across) - half_width, size)
        colour = [m + c for m, c in zip(mean, contrast, strict=True)]
        _blend(canvas, window, alpha, colour)


def _paint_thing(
    rng: np.random.Generator,
    thing: _Thing,
    canvas: np.ndarray,
    mask: np.ndarray,
    instances: np.ndarray,
    number: int,
    x: np.ndarray,
    y: np.ndarray,
    size: int,
    light: tuple[float, float, float],
    plain: bool,
) -> None:
    surface = _draw_surface(rng, thing.material, plain)
    window = _window(thing.x, thing.y, thing.radius * 1.08 + 0.04, size)
    x, y = x[window], y[window]
    planes = [plane[window] for plane in canvas]
    light_x, light_y, shadow = light
    shade = thing.distance(x - light_x * 0.02, y - light_y * 0.02)
    shade = 1.0 - shadow * np.clip(0.5 - shade * 30.0, 0.0, 1.0)
    for plane in planes:
        plane *= shade
    u, v = thing.frame(x, y)
    distance = thing.shape.distance(u, v, thing.squash) * thing.radius
    where = np.nonzero(distance < 0.5 / size)
    u, v, distance = u[where], v[where], distance[where]
    alpha = _coverage(distance, size)
    # The relief has mean 1, so a thing keeps the mean colour of its surface. fsum rounds exactly.
    samples = thing.relief(*thing.samples()).tolist()
    relief = thing.relief(u, v, distance) + (1.0 - math.fsum(samples) / len(samples))
    facing_u = 0.15 * (light_x * thing.cosine + light_y * thing.sine)
    facing_v = 0.15 * (light_y * thing.cosine - light_x * thing.sine)
    relief -= u * facing_u + v * facing_v
    colours = surface.colours(x[where], y[where])
    _blend(planes, where, alpha, [colour * relief for colour in colours])
    inside = tuple(axis[alpha > 0.5] for axis in where)
    mask[window][inside] = thing.label
    instances[window][inside] = number


def _enclose(
    instances: np.ndarray, number: int, size: int
) -> tuple[np.intp, np.intp, np.intp, np.intp]:
    rows, columns = np.nonzero(instances == number)
    return (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


def render(seed: int | Sequence[int], size: int, plain: bool = False) -> Scene:
    """Renders the scene of a seed.

    Args:
        seed: non-negative integer or integers; a seed gives the same composition at every size.
        size: side S of the square image, in pixels.
        plain: whether all surfaces have the same mean colour (a grey) and the same contrast.

    Returns:
        The `Scene`.

    Raises:
        ValueError: if the image is too small to show all things.
    """
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels (got {size})")
    composition, grain = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.Generator(np.random.PCG64(composition))
    ticks = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(1.0 / size)
    y, x = (np.ascontiguousarray(axis) for axis in np.meshgrid(ticks, ticks, indexing="ij"))
    canvas = np.zeros((3, size, size), np.float32)
    mask = np.empty((size, size), np.uint8)
    instances = np.zeros((size, size), np.uint8)

    angle = _TURN * rng.random()
    light = (math.cos(angle), math.sin(angle), _between(rng, 0.25, 0.5))
    exposure = _between(rng, 0.85, 1.15)
    tint = [exposure * _between(rng, 0.92, 1.08) for _ in range(3)]
    slope = _between(rng, 0.0, 0.4)
    things = _draw_things(rng)

    _paint_stuff(rng, canvas, mask, x, y, size, plain)
    _paint_litter(rng, canvas, x, y, size, plain)
    for index in reversed(range(len(things))):
        number = index + 1
        _paint_thing(rng, things[index], canvas, mask, instances, number, x, y, size, light, plain)

    falloff = 1.0 - ((x - 0.5) * light[0] + (y - 0.5) * light[1]) * slope
    noise_rng = np.random.Generator(np.random.PCG64(grain))
    noise = np.frombuffer(noise_rng.bytes(6 * size * size), np.uint8).reshape(2, 3, size, size)
    noise = (np.add(*noise, dtype=np.float32) - 255.0) * (_between(rng, 4.0, 16.0) / 255.0)
    for plane, gain in zip(canvas, tint, strict=True):
        plane *= falloff * (255.0 * gain)
    canvas += noise
    image = np.rint(np.clip(canvas, 0.0, 255.0)).astype(np.uint8).transpose(1, 2, 0)

    boxes = [_enclose(instances, number, size) for number in range(1, len(things) + 1)]
    return Scene(
        image=np.ascontiguousarray(image),
        mask=mask,
        instances=instances,
        boxes=np.array(boxes, np.float32).reshape(-1, 4) / np.float32(size),
        labels=np.array([thing.label for thing in things], np.int64),
    )
