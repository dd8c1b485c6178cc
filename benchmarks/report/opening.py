"""Draws the figure with which the report opens, from the results of three plans.

    python -m benchmarks.report.opening --output=docs/report/opening.png

Each panel is a plan: matched pairs (matched.json), the length of pre-training (long.json), and few labels (labels.json). A plan that is not
measured yet has no panel.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence

import matplotlib.axes
import matplotlib.figure

from benchmarks.report import curves, plots
from benchmarks.report.conditions import differences
from benchmarks.report.place import Place
from benchmarks.report.plan import Plan, read_plan
from benchmarks.report.results import Measured, Sample, chosen_rates, fine_tuned, measured
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import flag
from pixpro_tf.errors import RunError

_PROBE = "mIoU of a linear layer, %"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Folders of the plans and results, and the figure."""

    plans: str = flag("configs/report", "Report", "folder of the plans", path=True)
    measurements: str = flag(
        "docs/report/measurements",
        "Report",
        "folder of the results, with one folder per plan",
        path=True,
    )
    output: str = flag("docs/report/opening.png", "Report", "figure to write", path=True)


def draw(plans: str, measurements: str) -> tuple[matplotlib.figure.Figure, list[str]]:
    """Draws the figure.

    Args:
        plans: folder of the plans.
        measurements: folder of the results, with one folder per plan.

    Returns:
        The figure, and the reason for each panel that it does not have.

    Raises:
        RunError: if no plan has been measured.
    """
    panels: list[tuple[_Panel, Plan, dict[str, Measured]]] = []
    missing: list[str] = []
    for name, panel in _PANELS:
        plan = read_plan(os.path.join(plans, f"{name}.json"))
        place = Place("", "", os.path.join(measurements, name))
        if names := differences(plan, place.measurements):
            missing.append(
                f"{name}: the plan has changed in {', '.join(names)} since it was measured"
            )
            continue
        try:
            found = measured(plan, place, chosen_rates(plan, place))
        except RunError as error:
            missing.append(f"{name}: {error}")
            continue
        panels.append((panel, plan, found))
    if not panels:
        raise RunError(f"--measurements={measurements} has no finished plan: {missing[0]}")
    figure = matplotlib.figure.Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (panel, plan, found) in zip(all_axes, panels, strict=True):
        panel(axes, plan, found)
        plots.plain(axes)
    return figure, missing


def _pairs(axes, plan: Plan, found: dict[str, Measured]) -> None:
    """Draws a bar for each method, and a dot for each seed."""
    shown = [each for each in found.values() if not each.method.of]
    for place, each in enumerate(shown):
        colour = plots.colour_of(each.method)
        axes.barh(place, 100 * each.mean_iou.mean, height=0.62, color=colour, alpha=0.55)
        values = [100 * value for value in each.mean_iou.values]
        axes.scatter(values, [place] * len(values), s=12, color=colour, zorder=3)
    axes.set_yticks(range(len(shown)), [each.method.title for each in shown])
    axes.invert_yaxis()
    axes.set_xlabel(_PROBE)
    axes.set_title("Whole images or places?")


def _lengths(axes, plan: Plan, found: dict[str, Measured]) -> None:
    """Draws a curve against the generations of the target for each method."""
    random = found["random"]
    lines = [
        (base, [(passed, each.mean_iou) for _, passed, each in points])
        for base, points in curves.by_length(found)
    ]
    ends = [passed for passed, _ in lines[0][1]]
    _curves(axes, [*lines, (random, [(ends[0], random.mean_iou), (ends[-1], random.mean_iou)])])
    axes.set_xlabel("generations of the target network")
    axes.set_title("How long?")


def _labels(axes, plan: Plan, found: dict[str, Measured]) -> None:
    """Draws a curve against the number of labelled images for each method."""
    counts = plan.fine_tuning["images"]
    lines = [
        (each, [(count, fine_tuned(each, count, "linear_mean_iou")) for count in counts])
        for each in found.values()
    ]
    _curves(axes, lines)
    axes.set_xlabel("images with labels")
    axes.set_title("Few labels, frozen features")


def _curves(axes, lines: Sequence[tuple[Measured, Sequence[tuple[float, Sample]]]]) -> None:
    """Draws curves through means, with a dot for each seed and the name of the method at the end."""
    for each, points in lines:
        plots.curve(axes, points, each.method)
    plots.mark(axes, [place for place, _ in lines[0][1]])
    axes.set_ylabel(_PROBE)
    ends = [100 * points[-1][1].mean for _, points in lines]
    low, high = axes.get_ylim()
    for (each, points), end, height in zip(
        lines, ends, _apart(ends, 0.06 * (high - low)), strict=True
    ):
        axes.annotate(
            each.method.title,
            (points[-1][0], end),
            xytext=(1.03, height),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=plots.colour_of(each.method),
        )


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Moves heights up, as far as necessary for them to be at least `gap` apart, and keeps their order."""
    moved = list(heights)
    lowest = -float("inf")
    for place in sorted(range(len(moved)), key=lambda place: heights[place]):
        moved[place] = lowest = max(moved[place], lowest + gap)
    return moved


_Panel = Callable[[matplotlib.axes.Axes, Plan, dict[str, Measured]], None]
_PANELS: Sequence[tuple[str, _Panel]] = (
    ("matched", _pairs),
    ("long", _lengths),
    ("labels", _labels),
)


def _run(flags: Settings) -> None:
    figure, missing = draw(flags.plans, flags.measurements)
    figure.savefig(flags.output, dpi=110)
    for each in missing:
        print(f"No panel of {each}")
    print(f"Wrote {flags.output}")


main = Command(Settings, __doc__, "python -m benchmarks.report.opening", _run)

if __name__ == "__main__":
    sys.exit(main())
