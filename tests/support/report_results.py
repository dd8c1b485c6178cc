"""Made-up results of the report."""

import json
import os

from benchmarks.report.place import CHOICE, MEASUREMENT
from benchmarks.report.results import chosen_rates, selection_runs

RESULT = {
    "mean_iou": 0.2,
    "margin_mean_iou": 0.1,
    "pixel_accuracy": 0.4,
    "class_iou": {"sand": 0.1, "striped_ball": 0.2},
    "figures": {"feature_spread": 0.9, "cross_image_cosine": 0.1, "position_share": 0.02},
    "found_held_out": 0.3,
    "found_photographs": 0.2,
    "chance_held_out": 0.02,
    "chance_photographs": 0.03,
}


def put(place, run, stage, **figures):
    """Writes the result of a run."""
    path = place.result_file(run, stage)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump(RESULT | figures, file)


def put_plan(place, plan):
    """Writes results of a plan: mIoU 0.2, 0.21 and so on by method, plus a thousandth for each seed and labelled image."""
    for run in plan.starts():
        put(place, run, CHOICE)
    for run in selection_runs(plan, place):
        # The best learning rate is inside the grid, which is therefore not extended.
        rate = sorted(plan.grid(run.method))[1]
        put(place, run, CHOICE, mean_iou=0.2 - abs(run.rate - rate))
    names = [each.name for each in plan.methods]
    for run in plan.measured_runs(chosen_rates(plan, place)):
        score = 0.2 + 0.01 * names.index(run.method.name) + 0.001 * run.seed
        found = {"mean_iou": score, "other_splits": dict.fromkeys(plan.other_splits, score)}
        if run.method.kind == "pretrained":
            length = {"short": 1, "long": 16}.get(run.method.name.split("_")[-1], 4)
            found |= {"steps": 372 * length, "generations": 1.86 * length}
        tuned = {}
        for count in plan.fine_tuning.get("images", ()):
            tuned[count] = dict.fromkeys(
                ("linear_mean_iou", "mean_iou", "ap"), score + 0.001 * count
            )
        put(place, run, MEASUREMENT, **found, fine_tuned=tuned)
