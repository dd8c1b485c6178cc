"""Figures of the features of images: propagation weights, principal components, and nearest neighbours of chosen points."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import matplotlib.axes
import matplotlib.figure
import matplotlib.image
import numpy as np

# Perceptually uniform colour map of increasing lightness, designed for colour-blind readers.
_HEAT = "cividis"
_POINT = "#D55E00"


def _figure(
    rows: int, columns: int, width: float = 2.3, height: float = 2.3
) -> tuple[matplotlib.figure.Figure, np.ndarray]:
    figure = matplotlib.figure.Figure(
        figsize=(width * columns + 1.0, height * rows + 0.9), layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    return figure, axes


def _show_image(panel: matplotlib.axes.Axes, image: np.ndarray) -> None:
    panel.imshow(image, extent=(0, 1, 1, 0), interpolation="nearest")


def _show_heat(
    panel: matplotlib.axes.Axes, heat: np.ndarray, largest: float = 1.0, smallest: float = 0.0
) -> matplotlib.image.AxesImage:
    return panel.imshow(
        heat,
        cmap=_HEAT,
        vmin=smallest,
        vmax=largest,
        extent=(0, 1, 1, 0),
        interpolation="nearest",
    )


def _mark(panel: matplotlib.axes.Axes, point: tuple[float, float], label: str = "") -> None:
    x, y = point
    panel.scatter(
        x, y, s=70, marker="o", color=_POINT, edgecolors="white", linewidths=1.2, zorder=3
    )
    if label:
        panel.text(
            x,
            y,
            label,
            color="white",
            fontsize=6,
            ha="center",
            va="center_baseline",
            zorder=4,
        )


def propagation_picture(
    images: Sequence[np.ndarray] | np.ndarray,
    points: Sequence[tuple[float, float]],
    weights: np.ndarray,
    title: str,
) -> matplotlib.figure.Figure:
    """Plots the weights with which bins are propagated to some points of each image.

    Args:
        images: B images, each uint8 `[S, S, 3]`.
        points: Q points, `(x, y)` in [0, 1].
        weights: float `[B, Q, h, w]` in [0, 1], propagation weights of each bin.
        title: title of the figure.
    """
    figure, axes = _figure(len(images), 1 + len(points))
    shown: Any = None
    for line, image, heats in zip(axes, images, weights, strict=True):
        _show_image(line[0], image)
        for number, (panel, point, heat) in enumerate(
            zip(line[1:], points, heats, strict=True), start=1
        ):
            _mark(line[0], point, str(number))
            shown = _show_heat(panel, heat)
            _mark(panel, point, str(number))
    axes[0, 0].set_title("image", fontsize=10)
    for number, panel in enumerate(axes[0, 1:], start=1):
        panel.set_title(f"weights of point {number}", fontsize=10)
    figure.suptitle(title, fontsize=11)
    figure.colorbar(shown, ax=axes, label="weight of a bin", shrink=0.8)
    return figure


def components_picture(
    images: Sequence[np.ndarray] | np.ndarray,
    components: np.ndarray,
    shares: np.ndarray,
    title: str,
) -> matplotlib.figure.Figure:
    """Plots principal components as RGB, and each one separately in a colour map that colour-blind readers can read too.

    Args:
        images: B images, each uint8 `[S, S, 3]`.
        components: float `[B, h, w, 3]` in [0, 1].
        shares: share of the variance of each component, `[3]`.
        title: title of the figure.
    """
    figure, axes = _figure(len(images), 5)
    shown: Any = None
    for line, image, coordinates in zip(axes, images, components, strict=True):
        _show_image(line[0], image)
        line[1].imshow(coordinates, extent=(0, 1, 1, 0), interpolation="nearest")
        for index, panel in enumerate(line[2:]):
            shown = _show_heat(panel, coordinates[..., index])
    axes[0, 0].set_title("image", fontsize=10)
    axes[0, 1].set_title("1, 2, 3 as red, green, blue", fontsize=10)
    for index, panel in enumerate(axes[0, 2:]):
        panel.set_title(f"component {index + 1} ({100 * shares[index]:.0f} %)", fontsize=10)
    figure.suptitle(title, fontsize=11)
    bar = figure.colorbar(shown, ax=axes, shrink=0.8)
    bar.set_ticks([0, 1], labels=["low", "high"])
    return figure


def neighbours_picture(
    images: Sequence[np.ndarray] | np.ndarray,
    points: Sequence[tuple[float, float]],
    cosines: np.ndarray,
    title: str,
) -> matplotlib.figure.Figure:
    """Plots the bins of the other images that are most similar to some points of the first image.

    Args:
        images: B images, at least two, each uint8 `[S, S, 3]`.
        points: Q points of the first image, `(x, y)` in [0, 1].
        cosines: float `[Q, B - 1, h, w]`, cosine similarity of a point's bin to each bin of the other images.
        title: title of the figure.
    """
    figure, axes = _figure(2 * len(points), len(images))
    shown: Any = None
    smallest = min(0.0, float(cosines.min()))
    for number, (point, of_point) in enumerate(zip(points, cosines, strict=True)):
        above, below = axes[2 * number], axes[2 * number + 1]
        _show_image(above[0], images[0])
        _mark(above[0], point)
        above[0].set_title(f"point {number + 1}", fontsize=10)
        below[0].axis("off")
        for column, (image, heat) in enumerate(zip(images[1:], of_point, strict=True), start=1):
            row, col = np.unravel_index(heat.argmax(), heat.shape)
            found = (col + 0.5) / heat.shape[1], (row + 0.5) / heat.shape[0]
            _show_image(above[column], image)
            _mark(above[column], found)
            above[column].set_title(f"cosine {heat.max():.2f}", fontsize=10)
            shown = _show_heat(below[column], heat, smallest=smallest)
            _mark(below[column], found)
    figure.suptitle(title, fontsize=11)
    figure.colorbar(shown, ax=axes, label="cosine similarity to the point's bin", shrink=0.5)
    return figure
