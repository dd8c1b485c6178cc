"""Compares the results of the report with what was expected before anything was measured."""

from collections.abc import Mapping, Sequence

from benchmarks.report.plan import Lead, Plan
from benchmarks.report.results import (
    Measured,
    difference_of_pairs,
    fine_tuned,
    standard_error_of_difference,
    steps_of_pretraining,
)

# A dataset is suitable if training with labels reaches the first value, and random weights at most the second share of its score.
_FIT_SUPERVISED, _FIT_RANDOM = 0.5, 0.5
# Share of the gap between random weights and training with labels that PixPro was expected to close.
GAP = 1 / 3
# Task and metric of training with few labels.
_FINE_TUNED = (("mIoU of the segmenter", "mean_iou"), ("AP of the detector", "ap"))


def findings(plan: Plan, found: Mapping[str, Measured]) -> str:
    """Compares the numbers with what was expected before they were measured."""
    main = [each for each in found.values() if not each.method.of]
    lines = []
    if plan.ceiling and "random" in found:
        floor, ceiling = (found[name].mean_iou.mean for name in ("random", plan.ceiling.name))
        fit = ceiling >= _FIT_SUPERVISED and floor <= _FIT_RANDOM * ceiling
        lines.append(
            f"{_mark(fit)} On a suitable dataset, training with labels reaches at least 50 mIoU, and random weights at most half of its "
            f"score: they reach {100 * ceiling:.1f} and {100 * floor:.1f}."
        )
        if plan.closes_gap and ceiling > floor:
            lines.append(_gap(found[plan.closes_gap], main, floor, ceiling))
    lines += [_lead(lead, found) for lead in plan.leads]
    if plan.fine_tuning:
        lines += [_order_of_fine_tuned(plan, main, *each) for each in _FINE_TUNED]
    ordered = sorted(main, key=lambda each: each.mean_iou.mean)
    order = ", ".join(f"{each.method.title} ({each.mean_iou.text(100)})" for each in ordered)
    when = f"After {steps_of_pretraining(main)} steps, from" if plan.of_lengths else "From"
    lines.append(f"{when} the lowest score to the highest: {order}.")
    return "\n".join(f"- {line}" for line in lines)


def _gap(expected: Measured, main: Sequence[Measured], floor: float, ceiling: float) -> str:
    shares = {
        each.method.title: (each.mean_iou.mean - floor) / (ceiling - floor)
        for each in main
        if each.method.kind == "pretrained"
    }
    share = shares.pop(expected.method.title)
    others = ", ".join(f"{title} {100 * value:.0f} %" for title, value in shares.items())
    return (
        f"{_mark(share >= GAP)} {expected.method.title} was expected to close a third of the gap between random weights and training with labels: it closes "
        f"{100 * share:.0f} %{f' ({others})' if others else ''}."
    )


def _order_of_fine_tuned(plan: Plan, main: Sequence[Measured], task: str, metric: str) -> str:
    """Orders all methods by their fine-tuned scores, because a lead over the start says nothing about random weights."""
    orders = []
    for count in plan.fine_tuning["images"]:
        scores = {each.method.title: fine_tuned(each, count, metric) for each in main}
        ordered = sorted(scores, key=lambda title: scores[title].mean)
        named = ", ".join(f"{title} ({100 * scores[title].mean:.1f})" for title in ordered)
        orders.append(f"with {count} images, {named}")
    return (
        f"With all weights fine-tuned, {task} from the lowest to the highest: {'; '.join(orders)}."
    )


def _lead(lead: Lead, found: Mapping[str, Measured]) -> str:
    first, second = found[lead.method], found[lead.over]
    if lead.images:
        # The seeds of both have trained with the same labelled images.
        metric = "linear_mean_iou" if lead.frozen else "mean_iou"
        samples = [fine_tuned(each, lead.images, metric) for each in (first, second)]
        error = difference_of_pairs(*samples).standard_error
        trained = "frozen under a linear layer trained" if lead.frozen else "fine-tuned"
        condition = f", {trained} with {lead.images} labelled images,"
    else:
        samples = [first.mean_iou, second.mean_iou]
        error = standard_error_of_difference(*samples)
        condition = ""
    pairs = difference_of_pairs(*samples)
    difference = pairs.mean
    met = 100 * difference >= lead.points and difference >= lead.standard_errors * error
    # A single seed has no standard error.
    if error >= 0:
        mark = _mark(met)
        spread = f"with a standard error of the difference of {100 * error:.1f} over {len(pairs.values)} seeds"
    else:
        mark = "**Undecided.**"
        spread = "with a single seed and therefore no estimate of the spread"
    return (
        f"{mark} {_capital(first.method.title)}{condition} was expected to lead {second.method.title} by at least {lead.points:g} points and "
        f"{lead.standard_errors:g} standard errors: its lead is {100 * difference:.1f} points, {spread} (by seed: "
        f"{', '.join(f'{100 * value:+.1f}' for value in pairs.values)})."
    )


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _mark(met: bool) -> str:
    return "**Met.**" if met else "**Missed.**"
