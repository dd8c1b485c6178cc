"""Textures of the classes of the scenes."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

# Textures take coordinates in units of their period. Their constants make the mean 0 and the
# variance 1 over a large field.


def wave(x: np.ndarray) -> np.ndarray:
    """Sine-like wave of period 1, made of two parabolas."""
    x = x - np.rint(x)
    return x * (8.0 - 16.0 * np.abs(x))


def _stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    del v
    return np.clip(2.0 * wave(u), -1.0, 1.0) * (1.2 / 1.0822)


def _ripples(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.clip(2.0 * wave(u + 0.5 * wave(v * 0.3)), -1.0, 1.0) * (1.2 / 1.0822)


def _checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.clip(3.0 * wave(u) * wave(v), -1.0, 1.0) * (1.2 / 1.0085)


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    oblique = math.sqrt(3.0) / 2.0 * v
    half = 0.25 - 0.5 * u
    lattice = wave(u + 0.25) + wave(half + oblique) + wave(half - oblique)
    return (np.clip(1.2 * (lattice - 0.5), -1.0, 1.0) * 1.2 + 0.4543) * (1.0 / 0.9853)


_TABLE = np.random.Generator(np.random.PCG64(20211)).random((3, 32 * 32), dtype=np.float32)
_CELL_Y, _CELL_X = _TABLE[:2] * np.float32(0.6) + np.float32(
    0.2
)  # position of a cobble in its cell
_TONE = _TABLE[2] * np.float32(0.5) + np.float32(0.75)  # lightness of a brick or cobble


def _cell(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    return ((row & 31) << 5) + (column & 31)


def _bricks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    row = np.floor(v)
    course = row.astype(np.int32)
    along = u * (1.0 / 2.1) + 0.5 * (course & 1).astype(np.float32)
    column = np.floor(along)
    to_end = (0.5 - np.abs(along - column - 0.5)) * 2.1
    to_bed = 0.5 - np.abs(v - row - 0.5)
    face = np.clip((np.minimum(to_end, to_bed) - 0.08) * 10.0, 0.0, 1.0)
    return (face * _TONE[_cell(course, column.astype(np.int32))] - 0.651) * (1.0 / 0.4471)


def _cobbles(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    row, column = np.floor(v), np.floor(u)
    v, u = v - row, u - column
    row, column = row.astype(np.int32), column.astype(np.int32)
    nearest, second = np.full_like(u, 9.0), np.full_like(u, 9.0)
    nearest_cell = np.zeros_like(row)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            cell = _cell(row + i, column + j)
            dv, du = _CELL_Y[cell] + i - v, _CELL_X[cell] + j - u
            squared = du * du + dv * dv
            second = np.minimum(second, np.maximum(nearest, squared))
            nearest_cell = np.where(squared < nearest, cell, nearest_cell)
            nearest = np.minimum(nearest, squared)
    face = np.clip((np.sqrt(second) - np.sqrt(nearest) - 0.06) * 5.0, 0.0, 1.0)
    return (face * _TONE[nearest_cell] - 0.6788) * (1.0 / 0.4133)


@dataclasses.dataclass(frozen=True)
class Material:
    """Texture, and range of its period as a fraction of the image's side."""

    texture: Callable[[np.ndarray, np.ndarray], np.ndarray]
    period: tuple[float, float]


MATERIALS = {
    "furrows": Material(_stripes, (0.040, 0.060)),
    "ripples": Material(_ripples, (0.042, 0.060)),
    "bricks": Material(_bricks, (0.042, 0.060)),
    "cobbles": Material(_cobbles, (0.060, 0.085)),
    "striped": Material(_stripes, (0.040, 0.060)),
    "dotted": Material(_dots, (0.042, 0.060)),
    "checked": Material(_checks, (0.055, 0.080)),
}
