"""Results by method: chosen learning rates, means and spreads."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.report.place import CHOICE, MEASUREMENT, Place
from benchmarks.report.plan import Method, Plan, Run
from pixpro_tf.errors import RunError


def read_result(place: Place, run: Run, stage: str) -> dict[str, Any]:
    """Reads the measurements that `backbone.measure` wrote.

    Raises:
        RunError: if the backbone has not been measured or the file is damaged.
    """
    path = place.result_file(run, stage)
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        raise RunError(f"{path} cannot be read: it has not been measured yet") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}; remove it and measure again") from None


def chosen_rates(plan: Plan, place: Place) -> dict[str, float]:
    """Returns the learning rate of each method: that with the best validation mIoU, or that of the method of which it is an ablation."""
    found = {}
    for method in plan.choosing():
        scores = selection_scores(plan, place, method)
        found[method.name] = max(scores, key=lambda rate: scores[rate])
    return {method.name: found[method.rate_of] for method in plan.methods}


def extended_grid(plan: Plan, place: Place, method: Method) -> list[float]:
    """Returns the learning rates among which that of a method is chosen, in ascending order.

    While the best of the measured values is the smallest or the largest one, half or double that value follows, at most `plan.extra_rates`
    times. The grid of a method that has one value only stays as it is.
    """
    grid = sorted(plan.grid(method))
    for _ in range(plan.extra_rates if len(grid) > 1 else 0):
        runs = [plan.selection_run(method, rate) for rate in grid]
        if not all(os.path.exists(place.result_file(run, CHOICE)) for run in runs):
            break
        scores = {run.rate: read_result(place, run, CHOICE)["mean_iou"] for run in runs}
        best = max(scores, key=lambda rate: scores[rate])
        if best == grid[0]:
            grid.insert(0, best / 2)
        elif best == grid[-1]:
            grid.append(best * 2)
        else:
            break
    return grid


def selection_runs(plan: Plan, place: Place) -> list[Run]:
    """Returns the runs among which learning rates are chosen; more of them once extensions of a grid are measured."""
    return [
        plan.selection_run(method, rate)
        for method in plan.choosing()
        if len(plan.grid(method)) > 1
        for rate in extended_grid(plan, place, method)
    ]


def selection_scores(plan: Plan, place: Place, method: Method) -> dict[float, float]:
    """Returns the mIoU on the validation split by learning rate; 0 for a single one, which is not measured there."""
    rates = extended_grid(plan, place, method)
    if len(rates) == 1:
        return {rates[0]: 0.0}
    return {
        rate: read_result(place, plan.selection_run(method, rate), CHOICE)["mean_iou"]
        for rate in rates
    }


@dataclasses.dataclass(frozen=True)
class Sample:
    """One metric of one method over its seeds.

    Attributes:
        values: value of each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation over the seeds, with n - 1; NaN for a single seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else float("nan")

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / len(self.values) ** 0.5

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """Formats mean and standard deviation, e.g. `12.3 ± 0.4`; the mean alone for a single seed."""
        if not self.values:
            return "–"
        mean = f"{scale * self.mean:.{digits}f}"
        if len(self.values) == 1:
            return mean
        return f"{mean} ± {scale * self.deviation:.{digits}f}"


def standard_error_of_difference(first: Sample, second: Sample) -> float:
    """Computes the standard error of the difference of two means over independent seeds."""
    return (first.standard_error**2 + second.standard_error**2) ** 0.5


def difference_of_pairs(first: Sample, second: Sample) -> Sample:
    """Returns the differences of two metrics over the same seeds."""
    pairs = zip(first.values, second.values, strict=True)
    return Sample(tuple(one - other for one, other in pairs))


@dataclasses.dataclass(frozen=True)
class Measured:
    """All results of a method.

    Attributes:
        method: method that was measured.
        rate: chosen learning rate.
        results: measurements of each seed, as `backbone.measure` wrote them.
    """

    method: Method
    rate: float
    results: Sequence[dict[str, Any]]

    def sample(self, figure: Callable[[dict[str, Any]], float | None]) -> Sample:
        """Returns a metric over the seeds that have it."""
        values = (figure(result) for result in self.results)
        return Sample(tuple(value for value in values if value is not None))

    @property
    def mean_iou(self) -> Sample:
        """mIoU of the linear layer."""
        return self.sample(lambda result: result["mean_iou"])


def steps_of_pretraining(main: Sequence[Measured]) -> int:
    """Returns the number of steps of the pre-trained methods that are not ablations, which all have as many."""
    return next(each.results[0]["steps"] for each in main if each.method.kind == "pretrained")


def fine_tuned(each: Measured, images: int, metric: str) -> Sample:
    """Returns a metric, "mean_iou" or "ap", after fine-tuning with a number of labelled images."""
    return each.sample(lambda result: result["fine_tuned"][str(images)][metric])


def measured(plan: Plan, place: Place, rates: dict[str, float]) -> dict[str, Measured]:
    """Returns the results of each method, by its name; raises `RunError` if one is missing."""
    runs = plan.measured_runs(rates)
    return {
        method.name: Measured(
            method,
            rates[method.name],
            [read_result(place, run, MEASUREMENT) for run in runs if run.method == method],
        )
        for method in plan.methods
    }
