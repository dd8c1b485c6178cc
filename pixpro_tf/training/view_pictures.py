"""Figures of the views that a run trains on."""

import matplotlib
import matplotlib.axes
import matplotlib.figure
import numpy as np
import tensorflow as tf

from pixpro_tf.ops import geometry

# A colour map that shows the order of positions, also to colour-blind readers and in greyscale.
_COLOURS = matplotlib.colormaps["viridis"]


def matched_views(
    view_1: np.ndarray,
    view_2: np.ndarray,
    box_1: np.ndarray,
    box_2: np.ndarray,
    map_size: int,
    threshold: float,
) -> matplotlib.figure.Figure:
    """Plots two views of each image, with their bins and which of them see the same position.

    Args:
        view_1, view_2: views, float `[B, S, S, 3]`, RGB in [0, 1].
        box_1, box_2: boxes of the views, float32 `[B, 4]`, see `ops.geometry`.
        map_size: side length of the map of bins.
        threshold: see `ops.geometry.positive_mask`.

    Returns:
        A figure with a column of two views for each image. Positive pairs that are each other's nearest neighbours are
        marked by dots with the same number and colour.
    """
    count = view_1.shape[0]
    positives = geometry.positive_mask(
        tf.constant(box_1), tf.constant(box_2), map_size, map_size, threshold
    ).numpy()
    centres = [
        geometry.bin_centres(tf.constant(box), map_size, map_size).numpy().reshape(count, -1, 2)
        for box in (box_1, box_2)
    ]
    figure = matplotlib.figure.Figure(figsize=(2.6 * count, 6.1), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for image in range(count):
        pairs = _nearest_pairs(positives[image], centres[0][image], centres[1][image])
        for row, view in enumerate((view_1, view_2)):
            panel = axes[row, image]
            panel.imshow(np.clip(view[image], 0, 1), extent=(0, map_size, map_size, 0))
            panel.set_xticks(range(map_size + 1), [])
            panel.set_yticks(range(map_size + 1), [])
            panel.tick_params(length=0)
            panel.grid(color="white", linewidth=0.4, alpha=0.5)
            for number, pair in enumerate(pairs, start=1):
                _draw_dot(panel, pair[row], number, len(pairs), map_size)
            if row == 0:
                panel.set_title(f"{int(positives[image].sum())} positive pairs", fontsize=9)
            if image == 0:
                panel.set_ylabel(f"view {row + 1}", fontsize=10)
    figure.suptitle(
        "Two views of each image; equal numbers mark bins that see the same position", fontsize=10
    )
    return figure


def _nearest_pairs(
    positives: np.ndarray, centres_1: np.ndarray, centres_2: np.ndarray
) -> list[tuple[int, int]]:
    """Returns `(bin of view 1, bin of view 2)` for positive pairs that are each other's nearest neighbours, in reading order."""
    distance = np.linalg.norm(centres_1[:, None] - centres_2[None], axis=-1)
    distance = np.where(positives, distance, np.inf)
    of_1, of_2 = distance.argmin(axis=1), distance.argmin(axis=0)
    return [
        (bin_1, int(of_1[bin_1]))
        for bin_1 in range(len(of_1))
        if positives[bin_1].any() and of_2[of_1[bin_1]] == bin_1
    ]


def _draw_dot(
    panel: matplotlib.axes.Axes, index: int, number: int, total: int, map_size: int
) -> None:
    row, column = divmod(index, map_size)
    colour = _COLOURS((number - 1) / max(total - 1, 1))
    dark = np.dot(colour[:3], (0.299, 0.587, 0.114)) < 0.5
    panel.scatter(column + 0.5, row + 0.5, s=80, color=colour, edgecolors="white", linewidths=0.6)
    panel.text(
        column + 0.5,
        row + 0.5,
        str(number),
        color="white" if dark else "black",
        fontsize=6,
        ha="center",
        va="center_baseline",
    )
