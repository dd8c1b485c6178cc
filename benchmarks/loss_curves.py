"""Loss curves of several runs of another tool, from its TensorBoard logs, as one picture and a table.

    python -m benchmarks.loss_curves --runs="our checkpoint=ours/train,random weights=random/train" --output=docs/images/od_api.png

Each point is the mean over a stretch of steps, for a single step's loss says little.
"""

import dataclasses
import os
import sys

import numpy as np
import tensorflow as tf

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import flag, refuse, required
from pixpro_tf.errors import RunError

# Colours that colour-blind readers tell apart, and styles that a printer does.
_STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))


@dataclasses.dataclass(frozen=True)
class Curve:
    """One scalar of a run: steps `[N]` in order, and values `[N]`."""

    name: str
    steps: np.ndarray
    values: np.ndarray

    def smoothed(self, stretches: int) -> "Curve":
        """Means over so many stretches of about equal length, each at its middle step; at most as many as there are steps."""
        parts = np.array_split(np.arange(len(self.steps)), stretches)
        return Curve(
            self.name,
            np.array([self.steps[part].mean() for part in parts]),
            np.array([self.values[part].mean() for part in parts]),
        )


def read_curve(name: str, folder: str, tag: str) -> Curve:
    """A scalar of all event files in a folder.

    Raises:
        RunError: if there is none of that tag.
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
        raise RunError(f"{folder} has no {tag}; it has {', '.join(sorted(tags)) or 'no scalars'}")
    steps = sorted(found)
    return Curve(name, np.array(steps), np.array([found[step] for step in steps]))


def table(curves: list[Curve], stretches: int) -> str:
    """Means of each stretch, a row a stretch."""
    smoothed = [curve.smoothed(stretches) for curve in curves]
    lines = ["around step".ljust(14) + "".join(curve.name.rjust(18) for curve in smoothed)]
    for index, step in enumerate(smoothed[0].steps):
        figures = (f"{curve.values[index]:18.3f}" for curve in smoothed)
        lines.append(f"{step:<14.0f}" + "".join(figures))
    return "\n".join(lines)


def draw(curves: list[Curve], stretches: int, title: str, path: str) -> None:
    """The curves as a PNG: single steps pale, means of stretches bold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for curve, (colour, style) in zip(curves, _STYLES, strict=False):
        smoothed = curve.smoothed(stretches)
        axes.plot(curve.steps, curve.values, color=colour, alpha=0.2, linewidth=0.8)
        axes.plot(
            smoothed.steps, smoothed.values, style, color=colour, linewidth=2, label=curve.name
        )
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    figure.savefig(path, dpi=120)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Whose curves are drawn, and how."""

    runs: str = required("Curves", "NAME=FOLDER of each run, with commas between them")
    tag: str = flag("Loss/total_loss", "Curves", "scalar to draw")
    stretches: int = flag(10, "Curves", "points of each bold curve", minimum=1)
    title: str = flag("", "Output", "of the picture; empty is the tag")
    output: str = required("Output", "PNG to write")


def _run(flags: Settings) -> None:
    runs = flags.runs.split(",")
    if len(runs) > len(_STYLES):
        refuse(flags, "runs", f"names {len(runs)} runs; give at most {len(_STYLES)}")
    curves = []
    for run in runs:
        name, equals, folder = run.partition("=")
        if not equals:
            refuse(flags, "runs", f"has {run} without a name; write it as NAME=FOLDER")
        curves.append(read_curve(name, folder, flags.tag))
    shortest = min(len(curve.steps) for curve in curves)
    if flags.stretches > shortest:
        refuse(flags, "stretches", f"is too large; give 1 to {shortest}, the points of a run")
    if any(list(curve.steps) != list(curves[0].steps) for curve in curves):
        raise RunError("the runs have logged different steps; give runs of the same length")
    print(table(curves, flags.stretches))
    draw(curves, flags.stretches, flags.title or flags.tag, flags.output)


main = Command(Settings, __doc__, "python -m benchmarks.loss_curves", _run)

if __name__ == "__main__":
    sys.exit(main())
