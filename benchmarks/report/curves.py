"""Sections of the page with curves: scores against the length of pre-training, and against the number of labelled images."""

import os
from collections.abc import Mapping, Sequence

from benchmarks.report import plots
from benchmarks.report.markdown import table
from benchmarks.report.plan import Plan
from benchmarks.report.results import Measured, Sample, difference_of_pairs, fine_tuned

# Metric in the results, its name on the page, the name of its plot, and the title.
_FEW_LABELS = (
    ("linear_mean_iou", "mIoU of a linear layer", "linear", "Frozen features: a linear layer"),
    ("mean_iou", "mIoU", "segmentation", "All weights fine-tuned: segmentation"),
    ("ap", "AP", "detection", "All weights fine-tuned: detection"),
)


def lengths(folder: str, found: Mapping[str, Measured]) -> str:
    """Plots the scores of methods against the generations of their targets; returns the section of the page.

    Args:
        folder: folder of the page.
        found: results of each method, by its name; ablations are the same method at other lengths.
    """
    series, rows = [], []
    for base, points in by_length(found):
        series.append((base, [(passed, each.mean_iou) for _, passed, each in points]))
        rows += [
            [
                base.method.title,
                f"{steps}",
                f"{passed:.1f}",
                each.mean_iou.text(100),
                each.sample(lambda result: result["found_held_out"]).text(100),
                each.sample(lambda result: result["figures"]["feature_spread"]).text(1, 2),
            ]
            for steps, passed, each in points
        ]
    references = [
        (each.method.title, each.mean_iou.mean)
        for each in found.values()
        if each.method.kind != "pretrained"
    ]
    figure = plots.curves(
        series,
        ("generations of the target", "mIoU of a linear layer on frozen features, %"),
        "Longer pre-training",
        lines=references,
    )
    figure.savefig(os.path.join(folder, "lengths.png"), dpi=110)
    header = ["", "steps", "generations", "mIoU", "matching, held-out images", "feature spread"]
    return "\n\n".join(
        [
            "## Length of pre-training",
            "The generations of the target are the sum of its steps towards the online network, 1 - momentum. The learning rate of a method is the "
            "same at all lengths.",
            "![mIoU against generations](lengths.png)",
            table(header, rows),
        ]
    )


def by_length(
    found: Mapping[str, Measured],
) -> list[tuple[Measured, list[tuple[int, float, Measured]]]]:
    """Returns each method that was trained at several lengths, with its steps, generations and results at each of them."""
    families = []
    for base in found.values():
        family = [
            each
            for each in found.values()
            if base.method.name in (each.method.name, each.method.of)
        ]
        if not base.method.of and len(family) > 1:
            points = [(*_length(each), each) for each in family]
            families.append((base, sorted(points, key=lambda point: point[0])))
    return families


def _length(each: Measured) -> tuple[int, float]:
    """Returns the number of steps of a method and the generations of its target, which are the same for all seeds."""
    return each.results[0]["steps"], each.results[0]["generations"]


def few_labels(folder: str, plan: Plan, main: Sequence[Measured]) -> str:
    """Plots the scores after fine-tuning against the number of labelled images; returns the section of the page, or "" without fine-tuning.

    Args:
        folder: folder of the page.
        plan: plan of the report.
        main: results of each method that is not an ablation.
    """
    if not plan.fine_tuning:
        return ""
    counts = plan.fine_tuning["images"]
    parts = [
        "## Few labels",
        "A linear layer on frozen features, and then all weights of a segmenter and of a detector, are trained with some of the labelled images, for "
        f"about {plan.fine_tuning['steps']} steps whatever their number. The segmenter is a fully convolutional network (FCN) on c5; the "
        "detector is a small one in the style of FCOS on an FPN, and its AP is COCO's, over IoUs of 0.5 to 0.95. All methods train "
        "with the same images; each seed has its own, as far as there are enough. *Gain* is the mean difference from the start without pre-training over the seeds, ± its "
        "standard error.",
    ]
    for name, metric, task, title in _FEW_LABELS:
        samples = {
            each.method.name: [fine_tuned(each, count, name) for count in counts] for each in main
        }
        series = [
            (each, list(zip(counts, samples[each.method.name], strict=True))) for each in main
        ]
        figure = plots.curves(series, ("labelled images", f"{metric}, %"), title)
        figure.savefig(os.path.join(folder, f"labels_{task}.png"), dpi=110)
        header = ["", *(f"{metric}, {count} images" for count in counts)]
        rows = [
            [each.method.title, *(sample.text(100) for sample in samples[each.method.name])]
            for each in main
        ]
        for each in main:
            if each.method.init_from:
                before = samples[each.method.init_from]
                rows.append(
                    [
                        f"gain of {each.method.title}",
                        *map(_gain, samples[each.method.name], before),
                    ]
                )
        parts += [f"![{metric} against labelled images](labels_{task}.png)", table(header, rows)]
    return "\n\n".join(parts)


def _gain(after: Sample, before: Sample) -> str:
    """Formats the mean of the differences of pairs, which share seed and labelled images, and its standard error."""
    difference = difference_of_pairs(after, before)
    return f"{100 * difference.mean:+.1f} ± {100 * difference.standard_error:.1f}"
