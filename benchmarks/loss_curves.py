"""Loss curves of several runs of another tool, from its TensorBoard logs, as one picture and a table.

    python -m benchmarks.loss_curves --run "our checkpoint=ours/train" --run "random weights=random/train" \
        --output docs/images/od_api.png

Each point is the mean over a stretch of steps, for a single step's loss says little.
"""

import argparse
import dataclasses
import os
import sys

import numpy as np
import tensorflow as tf

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
        SystemExit: if there is none of that tag.
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
        sys.exit(f"error: {folder} has no {tag}; it has {', '.join(sorted(tags)) or 'no scalars'}")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--tag", default="Loss/total_loss", help="scalar to draw")
    parser.add_argument("--stretches", type=int, default=10, help="points of each bold curve")
    parser.add_argument("--title", default="", help="of the picture")
    parser.add_argument("--output", required=True, help="PNG to write")
    flags = parser.parse_args()
    if len(flags.run) > len(_STYLES):
        sys.exit(f"error: {len(flags.run)} runs; give at most {len(_STYLES)}")
    curves = []
    for run in flags.run:
        name, equals, folder = run.partition("=")
        if not equals:
            sys.exit(f"error: --run={run} has no name; write it as NAME=FOLDER")
        curves.append(read_curve(name, folder, flags.tag))
    shortest = min(len(curve.steps) for curve in curves)
    if not 1 <= flags.stretches <= shortest:
        sys.exit(f"error: --stretches={flags.stretches}; give 1 to {shortest}, the points of a run")
    if any(list(curve.steps) != list(curves[0].steps) for curve in curves):
        sys.exit("error: the runs have logged different steps; give runs of the same length")
    print(table(curves, flags.stretches))
    draw(curves, flags.stretches, flags.title or flags.tag, flags.output)


if __name__ == "__main__":
    main()
