"""Figures of evaluation results. Their colours suit colour-blind readers, as far as there are enough such colours."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.axes
import matplotlib.colors
import matplotlib.figure
import matplotlib.lines
import matplotlib.patches
import numpy as np

from pixpro_tf.data.labelled.detection import NO_OBJECT
from pixpro_tf.data.labelled.segmentation import IGNORED
from pixpro_tf.evaluation.dense_matching.matching import Matches

# Source: Paul Tol, "Colour Schemes" (SRON/EPS/TN/09-002), the scheme "muted".
_MUTED = [
    "#CC6677",
    "#332288",
    "#DDCC77",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#BBBBBB",
]
_INK, _PAPER = "black", "white"
# Markers, and colours from the palette of Okabe and Ito.
_RIGHT, _WRONG = ("o", "#0072B2"), ("s", "#D55E00")
_SHOWN_BINS = 12
# Detections that are shown: their smallest score, and their largest number in an image, which a network with little training would cover.
_MIN_SCORE, _MAX_BOXES = 0.3, 8
SHOWN_BOXES = f"at most {_MAX_BOXES} boxes per image, with a score of at least {_MIN_SCORE:g}"
# Characters of a row's name in one line.
_LABEL_WIDTH = 24


def class_colours(num_classes: int) -> np.ndarray:
    """Returns an RGB colour in [0, 1] for each class, `[K, 3]`.

    Up to ten colours are easy to tell apart; for more classes, they are a sequence from the colour map viridis.
    """
    if num_classes <= len(_MUTED):
        return np.array([matplotlib.colors.to_rgb(colour) for colour in _MUTED[:num_classes]])
    return matplotlib.colormaps["viridis"](np.linspace(0, 1, num_classes))[:, :3]


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Returns images with three channels, to show them.

    Args:
        images: `[..., C]`; the first three channels are shown as red, green and blue, or the first as grey if there are fewer.
    """
    return images[..., :3] if images.shape[-1] >= 3 else np.repeat(images[..., :1], 3, axis=-1)


def confusion_picture(
    confusion: np.ndarray, class_names: Sequence[str], title: str
) -> matplotlib.figure.Figure:
    """Plots the confusion matrix, each row in per cent of the pixels of the class.

    Args:
        confusion: int `[K, K]`; rows are the true classes.
        class_names: names of the K classes.
        title: title of the figure.
    """
    count = len(class_names)
    rows = confusion.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(confusion, rows, out=np.zeros(confusion.shape), where=rows > 0)
    side = 2.5 + 0.5 * count
    figure = matplotlib.figure.Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=100)
    axes.set_xticks(range(count), class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(title)
    for row in range(count):
        for column in range(count):
            share = shares[row, column]
            if share >= 0.5:
                colour = _PAPER if share < 60 else _INK
                axes.text(
                    column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8
                )
    figure.colorbar(image, ax=axes, label="% of the class's pixels", shrink=0.8)
    return figure


def masks_picture(
    images: Sequence[np.ndarray],
    rows: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    title: str,
) -> matplotlib.figure.Figure:
    """Plots images and below them rows of masks, one image per column.

    Args:
        images: images, each uint8 `[H, W, 3]`.
        rows: classes of the pixels of each image, each integer `[H, W]`, by the name of the row; `IGNORED` is left white.
        class_names: names of the classes, for the legend.
        title: title of the figure.
    """
    colours = class_colours(len(class_names))
    table = np.ones([IGNORED + 1, 3])
    table[: len(class_names)] = colours
    panels = {"image": images} | {
        name: [table[mask] for mask in masks] for name, masks in rows.items()
    }
    figure, axes = _grid(len(panels), len(images), 1.7, title)
    for line, (name, shown) in zip(axes, panels.items(), strict=True):
        _fill(line, name, shown)
    _legend(figure, colours, class_names, range(len(class_names)))
    return figure


Boxes = Sequence[tuple[np.ndarray, np.ndarray]]


def true_boxes(batch: Mapping[str, np.ndarray]) -> Boxes:
    """Returns the boxes `[N, 4]` and labels `[N]` of each image in a batch of `object_batches`."""
    kept = batch["labels"] != NO_OBJECT
    return [
        (boxes[good], labels[good])
        for boxes, labels, good in zip(batch["boxes"], batch["labels"], kept, strict=True)
    ]


def found_boxes(found: Mapping[str, np.ndarray]) -> Boxes:
    """Returns the boxes `[N, 4]` and labels `[N]` of the best detections in each image (`SHOWN_BOXES`); see `Detections`."""
    shown = []
    names = ("boxes", "labels", "scores", "count")
    for boxes, labels, scores, count in zip(*(found[name] for name in names), strict=True):
        best = np.argsort(-scores[:count], kind="stable")[:_MAX_BOXES]
        best = best[scores[best] >= _MIN_SCORE]
        shown.append((boxes[best], labels[best]))
    return shown


def boxes_picture(
    images: Sequence[np.ndarray], rows: Mapping[str, Boxes], class_names: Sequence[str], title: str
) -> matplotlib.figure.Figure:
    """Plots rows of the same images with different boxes, one image per column.

    Args:
        images: images, each uint8 `[H, W, 3]`.
        rows: boxes `[N, 4]` as (y0, x0, y1, x1) in pixels, and their labels `[N]`, of each image, by the name of the row.
        class_names: names of the labels, for the legend.
        title: title of the figure.
    """
    colours = class_colours(len(class_names))
    figure, axes = _grid(len(rows), len(images), 2.2, title)
    shown = set()
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        _fill(line, name, images)
        for panel, (boxes, labels) in zip(line, row, strict=True):
            for (y0, x0, y1, x1), label in zip(boxes, labels, strict=True):
                shown.add(int(label))
                # A white line under the coloured one is visible on any background.
                for colour, line_width in (("white", 3.2), (colours[label], 1.8)):
                    panel.add_patch(
                        matplotlib.patches.Rectangle(
                            (x0 - 0.5, y0 - 0.5),
                            x1 - x0,
                            y1 - y0,
                            fill=False,
                            edgecolor=colour,
                            linewidth=line_width,
                        )
                    )
    _legend(figure, colours, class_names, sorted(shown))
    return figure


def _grid(rows: int, columns: int, side: float, title: str) -> tuple[matplotlib.figure.Figure, Any]:
    """Returns a figure and its panels `[rows, columns]`, each with sides of about `side` inches."""
    size = (side * columns + 0.6, side * rows + 1.2)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    figure.suptitle("\n".join(textwrap.wrap(title, int(11 * size[0]))))
    return figure, figure.subplots(rows, columns, squeeze=False)


def _fill(line: Sequence[matplotlib.axes.Axes], name: str, images: Sequence[np.ndarray]) -> None:
    """Shows a row of images."""
    for panel, image in zip(line, images, strict=True):
        panel.imshow(image, interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
    line[0].set_ylabel("\n".join(textwrap.wrap(name, _LABEL_WIDTH)))


def _legend(
    figure: matplotlib.figure.Figure,
    colours: np.ndarray,
    class_names: Sequence[str],
    shown: Iterable[int],
) -> None:
    """Adds a legend of the classes that are shown."""
    figure.legend(
        handles=[
            matplotlib.patches.Patch(color=colours[label], label=class_names[label])
            for label in shown
        ],
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=8,
    )


def scores_picture(scores: Mapping[str, Sequence[float]], title: str) -> matplotlib.figure.Figure:
    """Plots the scores of several backbones, a dot for each seed and a line at their mean.

    Args:
        scores: scores of the seeds, which may be none, by the name of the backbone, which are shown from top to bottom.
        title: title of the figure.
    """
    figure = matplotlib.figure.Figure(figsize=(7, 1.2 + 0.5 * len(scores)), layout="constrained")
    axes = figure.subplots()
    for row, values in enumerate(scores.values()):
        axes.scatter(values, [row] * len(values), s=36, color=_RIGHT[1], alpha=0.6, zorder=3)
        if values:
            axes.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=_INK, linewidth=2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("a dot for each seed, a line at the mean")
    return figure


def matches_picture(
    examples: Sequence[tuple[np.ndarray, np.ndarray, Matches]],
    title: str,
    names: Sequence[str] | None = None,
) -> matplotlib.figure.Figure:
    """Plots some bins of a view of each image, and their matches in the other view.

    Args:
        examples: one `(view, other view, matches of the view's bins)` for each image; views are float `[S, S, 3]`, RGB in [0, 1], and
            maps are square.
        title: title of the figure.
        names: title of each example; None for none.
    """
    count = len(examples)
    figure = matplotlib.figure.Figure(figsize=(2.9 * count, 6.6), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    headings = [f"{name}\n" for name in names] if names else [""] * count
    for column, heading, (view, other, matches) in zip(axes.T, headings, examples, strict=True):
        side = math.isqrt(len(matches.seen))
        for panel, pixels in zip(column, (view, other), strict=True):
            panel.imshow(np.clip(pixels, 0, 1), extent=(0, side, side, 0))
            panel.set_xticks([])
            panel.set_yticks([])
        seen = np.flatnonzero(matches.seen)
        column[0].set_title(
            f"{heading}{int(matches.right.sum())} of {len(seen)} matched", fontsize=9
        )
        shown = seen[np.linspace(0, len(seen) - 1, min(_SHOWN_BINS, len(seen))).astype(int)]
        for number, index in enumerate(shown, start=1):
            right = bool(matches.right[index])
            found = _centre(int(matches.nearest[index]), side)
            _mark(column[0], _centre(int(index), side), number, right)
            column[1].plot(
                *zip(found, matches.place[index], strict=True), color="white", linewidth=1
            )
            _mark(column[1], found, number, right)
    axes[0, 0].set_ylabel("a view")
    axes[1, 0].set_ylabel("matches of its bins in another view")
    figure.suptitle(title, fontsize=11)
    figure.legend(
        handles=[
            matplotlib.lines.Line2D([], [], marker=marker, color=colour, linestyle="", label=label)
            for (marker, colour), label in zip(
                (_RIGHT, _WRONG),
                ("within one bin", "elsewhere; a line leads to the true position"),
                strict=True,
            )
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure


def _centre(index: int, side: int) -> tuple[float, float]:
    row, column = divmod(index, side)
    return column + 0.5, row + 0.5


def _mark(
    panel: matplotlib.axes.Axes, place: tuple[float, float], number: int, right: bool
) -> None:
    marker, colour = _RIGHT if right else _WRONG
    panel.scatter(
        *place, s=110, marker=marker, color=colour, edgecolors="white", linewidths=0.7, zorder=3
    )
    panel.text(
        *place, str(number), color="white", fontsize=6, ha="center", va="center_baseline", zorder=4
    )
