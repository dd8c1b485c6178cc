"""Shapes of the things in the scenes."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

# Each shape has two functions in a frame in which the shape extends to about 1: the signed distance
# to the outline, negative inside, and the relief, i.e. how much lighter than a flat face a point is.


def _ball(u: np.ndarray, v: np.ndarray, squash: float) -> np.ndarray:
    return (np.sqrt(u * u + v * v * (1.0 / squash**2)) - 1.0) * squash


def _dome(u: np.ndarray, v: np.ndarray, squash: float) -> np.ndarray:
    return 0.25 - 0.5 * (u * u + v * v * (1.0 / squash**2))


def _rod(u: np.ndarray, v: np.ndarray, squash: float) -> np.ndarray:
    beyond_end, beyond_side = np.abs(u) - 1.0, np.abs(v) - squash
    outside_u, outside_v = np.maximum(beyond_end, 0.0), np.maximum(beyond_side, 0.0)
    inside = np.minimum(np.maximum(beyond_end, beyond_side), 0.0)
    return np.sqrt(outside_u * outside_u + outside_v * outside_v) + inside


def _ridge(u: np.ndarray, v: np.ndarray, squash: float) -> np.ndarray:
    del u
    return 0.2 - np.abs(v) * (0.4 / squash)


def _fold_star(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Folds the plane onto the sector from a tip to the next notch; also returns where this mirrors the plane."""
    sine, cosine = math.sin(math.pi / 5.0), math.cos(math.pi / 5.0)
    mirrored = v < 0.0
    v = np.abs(v)
    for _ in range(2):
        beyond = np.maximum(v * cosine - u * sine, 0.0) * 2.0
        u, v = u + beyond * sine, v - beyond * cosine
        mirrored = mirrored ^ (beyond > 0.0) ^ (v < 0.0)
        v = np.abs(v)
    return u, v, mirrored


def _star(u: np.ndarray, v: np.ndarray, squash: float) -> np.ndarray:
    """Signed distance to a star with five tips at radius 1 and notches at radius `squash`."""
    u, v, _ = _fold_star(u, v)
    edge_u = squash * math.cos(math.pi / 5.0) - 1.0
    edge_v = squash * math.sin(math.pi / 5.0)
    length = math.hypot(edge_u, edge_v)
    return (u - 1.0) * (edge_v / length) - v * (edge_u / length)


def _facets(u: np.ndarray, v: np.ndarray, squash: float) -> np.ndarray:
    del squash
    return np.where(_fold_star(u, v)[2], np.float32(0.2), np.float32(-0.2))


@dataclasses.dataclass(frozen=True)
class Shape:
    """Outline and relief of a shape, and the ranges of its radius (fraction of the image's side) and its squash."""

    distance: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    relief: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    radius: tuple[float, float]
    squash: tuple[float, float]


SHAPES = {
    "ball": Shape(_ball, _dome, (0.14, 0.22), (0.8, 1.0)),
    "star": Shape(_star, _facets, (0.21, 0.31), (0.44, 0.52)),
    "rod": Shape(_rod, _ridge, (0.22, 0.33), (0.30, 0.40)),
}
