"""Plots and tabulates scalars of several runs, of this project or of another tool, from their TensorBoard logs.

    python -m benchmarks.loss_curves --runs="our checkpoint=ours/train,random weights=random/train" --output=docs/images/od_api.png

Each point is the mean over a stretch of steps, because the loss of a single step is noisy.
"""

import dataclasses
import os
import sys

import matplotlib.figure
import numpy as np
import tensorflow as tf

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import flag, refuse, required
from pixpro_tf.errors import RunError

# Colours that colour-blind readers can distinguish, and line styles that remain distinct in print.
_STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))


@dataclasses.dataclass(frozen=True)
class Curve:
    """Scalar of a run: steps `[N]` in order, and values `[N]`."""

    name: str
    steps: np.ndarray
    values: np.ndarray

    def smoothed(self, stretches: int) -> "Curve":
        """Averages over `stretches` ranges of about equal length, each at its mean step; at most the number of steps."""
        parts = np.array_split(np.arange(len(self.steps)), stretches)
        return Curve(
            self.name,
            np.array([self.steps[part].mean() for part in parts]),
            np.array([self.values[part].mean() for part in parts]),
        )


def read_curve(name: str, folder: str, tag: str) -> Curve:
    """Reads a scalar from all event files in a folder.

    Raises:
        RunError: if the files do not contain the tag.
    """
    found: dict[int, float] = {}
    tags = set()
    for file in sorted(
        tf.io.gfile.glob(os.path.join(os.path.expanduser(folder), "events.out.tfevents.*"))
    ):
        for event in tf.compat.v1.train.summary_iterator(file):
            for value in event.summary.value:
                tags.add(value.tag)
                if value.tag == tag:
                    found[event.step] = float(tf.make_ndarray(value.tensor))
    if not found:
        raise RunError(
            f"{folder} does not contain the scalar {tag}; it contains {', '.join(sorted(tags)) or 'no scalars'}"
        )
    steps = sorted(found)
    return Curve(name, np.array(steps), np.array([found[step] for step in steps]))


def table(curves: list[Curve], stretches: int) -> str:
    """Formats the means, with a row for each stretch."""
    smoothed = [curve.smoothed(stretches) for curve in curves]
    lines = ["around step".ljust(14) + "".join(curve.name.rjust(18) for curve in smoothed)]
    for index, step in enumerate(smoothed[0].steps):
        figures = (f"{curve.values[index]:18.3f}" for curve in smoothed)
        lines.append(f"{step:<14.0f}" + "".join(figures))
    return "\n".join(lines)


def draw(panels: dict[str, list[Curve]], stretches: int) -> matplotlib.figure.Figure:
    """Plots the curves, a panel for each tag: single steps pale, means of stretches bold."""
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    size = (7, 4) if len(panels) == 1 else (4.5 * columns, 2.6 * rows)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for index, (axes, (title, curves)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        for curve, (colour, style) in zip(curves, _STYLES, strict=False):
            smoothed = curve.smoothed(stretches)
            axes.plot(curve.steps, curve.values, color=colour, alpha=0.2, linewidth=0.8)
            axes.plot(
                smoothed.steps, smoothed.values, style, color=colour, linewidth=2, label=curve.name
            )
        axes.set_title(title)
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend(frameon=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.remove()
        elif index + columns >= len(panels):
            # The lowest panel of its column.
            axes.set_xlabel("step")
            axes.tick_params(labelbottom=True)
    return figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Curves to plot, and how."""

    runs: str = required("Curves", "NAME=FOLDER of each run, separated by commas")
    tags: str = flag(
        "Loss/total_loss", "Curves", "tags of the scalars to plot, separated by commas"
    )
    stretches: int = flag(10, "Curves", "number of points of each bold curve", minimum=1)
    output: str = required("Output", "PNG file to write")


def _run(flags: Settings) -> None:
    runs = flags.runs.split(",")
    if len(runs) > len(_STYLES):
        refuse(flags, "runs", f"contains {len(runs)} runs; pass at most {len(_STYLES)}")
    named = [run.partition("=") for run in runs]
    for run, (_, equals, folder) in zip(runs, named, strict=True):
        if not (equals and folder):
            refuse(flags, "runs", f"contains {run} without a name; use NAME=FOLDER")
    panels = {}
    for tag in flags.tags.split(","):
        curves = [read_curve(name, folder, tag) for name, _, folder in named]
        _check_steps(flags, curves)
        print(f"{tag}\n{table(curves, flags.stretches)}")
        panels[tag] = curves
    figure = draw(panels, flags.stretches)
    os.makedirs(os.path.dirname(os.path.abspath(flags.output)), exist_ok=True)
    figure.savefig(flags.output, dpi=120)


def _check_steps(flags, curves):
    shortest = min(len(curve.steps) for curve in curves)
    if flags.stretches > shortest:
        refuse(
            flags,
            "stretches",
            f"must be at most {shortest}, the number of points of the shortest run",
        )
    if any(list(curve.steps) != list(curves[0].steps) for curve in curves):
        raise RunError(
            "the runs logged the scalar at different steps; use runs of the same length and logging interval"
        )


main = Command(Settings, __doc__, "python -m benchmarks.loss_curves", _run)

if __name__ == "__main__":
    sys.exit(main())
