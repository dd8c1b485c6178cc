"""Plots of the report: every seed is a dot, which shows the spread instead of summarising it."""

from collections.abc import Sequence

import matplotlib.axes
import matplotlib.figure
import matplotlib.lines

from benchmarks.report.plan import Method
from benchmarks.report.results import Measured, Sample

# Colours of the Okabe-Ito palette, and greys.
_DOT, _MEAN, _LINE = "#0072B2", "#D55E00", "#555555"
_COLOURS = {
    "random": "#777777",
    "start": "#000000",
    "instance": "#E69F00",
    "instance_regression": "#E69F00",
    "instance_contrast": "#CC79A7",
    "pixpro": "#0072B2",
    "pixel_regression": "#0072B2",
    "pixcontrast": "#D55E00",
    "pixel_contrast": "#D55E00",
}
_OTHER = "#009E73"


def dots(
    rows: Sequence[tuple[str, Sample]],
    label: str,
    title: str,
    *,
    lines: Sequence[tuple[str, float]] = (),
    scale: float = 100.0,
) -> matplotlib.figure.Figure:
    """Plots a row of dots for each method, and its mean as a bar.

    Args:
        rows: name and values of each row, from top to bottom.
        label: label of the axis.
        title: title of the plot.
        lines: name and value of each vertical line through all rows.
        scale: factor by which values are multiplied.
    """
    figure = matplotlib.figure.Figure(figsize=(7.2, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for name, value in lines:
        axes.axvline(scale * value, color=_LINE, linestyle="--", linewidth=1)
        axes.text(
            scale * value,
            -0.7,
            name,
            color=_LINE,
            fontsize=8,
            ha="center",
            va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
    for place, (_, sample) in enumerate(rows):
        values = [scale * value for value in sample.values]
        axes.scatter(values, [place] * len(values), s=26, color=_DOT, alpha=0.75, zorder=3)
        if values:
            axes.plot(
                2 * [scale * sample.mean], [place - 0.3, place + 0.3], color=_MEAN, linewidth=2
            )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -1.2 if lines else -0.6)
    axes.set_xlabel(label)
    axes.set_title(title, fontsize=11)
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(
        handles=[
            matplotlib.lines.Line2D([], [], marker="o", linestyle="", color=_DOT, label="a seed"),
            matplotlib.lines.Line2D([], [], color=_MEAN, linewidth=2, label="mean"),
        ],
        loc="outside lower right",
        ncols=2,
        frameon=False,
        fontsize=8,
    )
    return figure


def mean_iou_plot(
    found: Sequence[Measured], title: str, lines: Sequence[tuple[str, float]] = ()
) -> matplotlib.figure.Figure:
    """Plots the mIoU of the linear layer, by method."""
    rows = [(each.method.title, each.mean_iou) for each in found]
    return dots(rows, "mIoU of a linear layer on frozen features, %", title, lines=lines)


def colour_of(method: Method) -> str:
    """Returns the colour of a method, which is the same in all curves; methods of other plans share one."""
    return _COLOURS.get(method.name, _OTHER)


def curves(
    series: Sequence[tuple[Measured, Sequence[tuple[float, Sample]]]],
    axes_labels: tuple[str, str],
    title: str,
    *,
    lines: Sequence[tuple[str, float]] = (),
    scale: float = 100.0,
) -> matplotlib.figure.Figure:
    """Plots curves through means, with a dot for each seed; the horizontal axis is logarithmic.

    Args:
        series: results of the method of each curve, and its points: position and values.
        axes_labels: labels of the horizontal and the vertical axis.
        title: title of the plot.
        lines: name and value of each horizontal line.
        scale: factor by which values are multiplied.
    """
    figure = matplotlib.figure.Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, value in lines:
        axes.axhline(scale * value, color=_LINE, linestyle="--", linewidth=1, label=name)
    for each, points in series:
        curve(axes, points, each.method, scale)
    mark(axes, [place for _, points in series for place, _ in points])
    axes.set_xlabel(axes_labels[0])
    axes.set_ylabel(axes_labels[1])
    axes.set_title(title, fontsize=11)
    plain(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def curve(
    axes: matplotlib.axes.Axes,
    points: Sequence[tuple[float, Sample]],
    method: Method,
    scale: float = 100.0,
) -> None:
    """Plots a curve through means, with a dot for each seed.

    Args:
        axes: axes to plot on.
        points: position and values of each point.
        method: method, which has a colour and a title.
        scale: factor by which values are multiplied.
    """
    means = [scale * sample.mean for _, sample in points]
    places, colour = [place for place, _ in points], colour_of(method)
    axes.plot(places, means, color=colour, linewidth=2, label=method.title)
    for place, sample in points:
        values = [scale * value for value in sample.values]
        axes.scatter([place] * len(values), values, s=22, color=colour, alpha=0.75, zorder=3)


def mark(axes: matplotlib.axes.Axes, positions: Sequence[float]) -> None:
    """Makes the horizontal axis logarithmic, with a label at each of some positions."""
    places = sorted(set(positions))
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{round(place, 2):g}" for place in places])
    axes.set_xticks([], minor=True)


def plain(axes: matplotlib.axes.Axes) -> None:
    """Gives axes a light grid behind the data, and no frame."""
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
