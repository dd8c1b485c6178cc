"""Page of the report: Markdown, tables, plots and figures from the measured results."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.report import curves, plots
from benchmarks.report.findings import GAP, findings
from benchmarks.report.markdown import table
from benchmarks.report.place import CHOICE, MEASUREMENT, TRAINING, Place
from benchmarks.report.plan import Plan, Run
from benchmarks.report.results import (
    Measured,
    difference_of_pairs,
    measured,
    read_result,
    selection_runs,
    selection_scores,
    steps_of_pretraining,
)
from benchmarks.report.setting import setting
from pixpro_tf.cli.outputs import atomic_output

Figure = Callable[[dict[str, Any]], float | None]


def write_page(
    output: str, plan_file: str, plan: Plan, place: Place, rates: dict[str, float]
) -> None:
    """Writes README.md, plots and figures into a folder, replacing its previous content.

    Args:
        output: folder of the page.
        plan_file, plan, place: file of the plan, the plan itself, and the folders of the report.
        rates: chosen learning rate of each method, by its name.

    Raises:
        RunError: if a result is missing or the folder cannot be written.
    """
    found = measured(plan, place, rates)
    main = [each for each in found.values() if not each.method.of]
    with atomic_output(output, overwrite=True) as folder:
        os.makedirs(folder)
        _draw_plots(folder, plan, found, main)
        pictures = _draw_pictures(folder, plan, place, rates)
        parts = [
            f"# {plan.title}",
            setting(output, plan_file, plan),
            "## Summary",
            findings(plan, found),
            # What the plan is about comes first.
            curves.lengths(folder, found) if plan.of_lengths else "",
            curves.few_labels(folder, plan, main),
            "## Methods",
            _length(plan, main),
            _methods_table(plan, main),
            "![mIoU by method](methods.png)",
            _explanations(plan, main),
            "" if plan.of_lengths else _ablations(plan, found),
            "## Content or position?",
            _content_table(plan, main),
            "## Classes",
            _classes_table(main),
            "## Learning rates",
            _rates_table(plan, place, rates),
            "## Figures",
            pictures,
            _notes(plan_file),
            "## Reproducing this page",
            _commands(output, plan_file, place, _processor_hours(plan, place, rates)),
        ]
        with open(os.path.join(folder, "README.md"), "w") as file:
            file.write("\n\n".join(part for part in parts if part) + "\n")


def _length(plan, main):
    """Says which of several lengths of pre-training the following sections are about; "" for one length."""
    if not plan.of_lengths:
        return ""
    steps = steps_of_pretraining(main)
    chosen = any(len(plan.grid(method)) > 1 for method in plan.choosing())
    of_rates = ", for which the learning rates were chosen" if chosen else ""
    return f"From here on, all tables are of the runs of {steps} steps{of_rates}."


def _average_precision(result: dict[str, Any]) -> float | None:
    return result.get("detection", {}).get("ap")


_METHOD_COLUMNS: list[tuple[str, Figure, float, int]] = [
    ("mIoU", lambda r: r["mean_iou"], 100, 1),
    ("pixel accuracy", lambda r: r["pixel_accuracy"], 100, 1),
    ("AP", _average_precision, 100, 1),
    ("AP50", lambda r: r.get("detection", {}).get("ap_50"), 100, 1),
    ("AP75", lambda r: r.get("detection", {}).get("ap_75"), 100, 1),
    ("matching, held-out images", lambda r: r["found_held_out"], 100, 1),
    ("matching, photographs", lambda r: r["found_photographs"], 100, 1),
]
_CONTENT_COLUMNS: list[tuple[str, Figure, float, int]] = [
    ("mIoU", lambda r: r["mean_iou"], 100, 1),
    ("mIoU with a margin", lambda r: r["margin_mean_iou"], 100, 1),
    ("position share", lambda r: r["figures"]["position_share"], 1, 3),
    ("feature spread", lambda r: r["figures"]["feature_spread"], 1, 2),
    ("cross-image cosine", lambda r: r["figures"]["cross_image_cosine"], 1, 2),
]


def _columns(found: Sequence[Measured], columns) -> str:
    rows = [
        [each.method.title]
        + [each.sample(figure).text(scale, digits) for _, figure, scale, digits in columns]
        for each in found
    ]
    return table(["", *(name for name, *_ in columns)], rows)


def _methods_table(plan, main):
    shown = [
        column
        for column in _METHOD_COLUMNS
        if plan.detection_seeds or not column[0].startswith("AP")
    ]
    shown[1:1] = [(name, figure, 100, 1) for name, figure in _other_splits(plan).items()]
    shown.append(("generations of the target", lambda result: result.get("generations"), 1, 1))
    return _columns(main, shown)


def _explanations(plan, main):
    chance = " and ".join(
        f"{100 * main[0].sample(figure).mean:.1f}"
        for figure in (lambda r: r["chance_held_out"], lambda r: r["chance_photographs"])
    )
    parts = [
        "mIoU and pixel accuracy are those of a linear layer that is trained on frozen features with the whole split `train`, in %."
    ]
    if plan.ceiling:
        parts.append(
            "*With labels*: the backbone and a linear layer are trained together on the "
            f"split `train` for {plan.supervised['steps']} steps with batch size {plan.supervised['batch_size']}; then a new layer is trained as for the "
            "other methods."
        )
    if plan.detection_seeds:
        seeds = ", ".join(map(str, plan.detection_seeds))
        parts.append(
            "AP is COCO's average precision, in %, of a small FCOS-style detector on an FPN with all weights fine-tuned "
            f"(seeds {seeds}; output stride 32, as is usual for detectors)."
        )
    parts.append(
        "*Matching* is the dense matching accuracy: two views of an image are cropped, "
        "colour-jittered and blurred independently; of the bins that both views show, it is the share, in %, whose nearest feature in the other view "
        f"lies within one bin of the correct position, on held-out images and on the photographs of scikit-image. The chance levels are {chance}."
    )
    return " ".join(parts)


def _content_table(plan, main):
    return (
        _columns(main, _CONTENT_COLUMNS)
        + f"\n\n*With a margin*, the network sees images that are extended by mirroring, by {plan.margin} pixels on each side, and its maps are cropped "
        "back: the zeros of the padding are then further from the scored area and tell the linear layer less about the position of a bin. "
        "*Position share* is the share of the features' variance that the position in the grid explains; "
        "*feature spread* falls to 0 and *cross-image cosine* rises to 1 when features collapse to a constant. All values are from held-out images."
    )


def _ablations(plan, found):
    parts = []
    for name in dict.fromkeys(method.of for method in plan.methods if method.of):
        base, *others = _ablated(plan, found, name)
        seeds = ", ".join(map(str, plan.ablation_seeds))
        header = ["", "mIoU", "difference", *_other_splits(plan)]
        header += ["matching, held-out images", "feature spread"]
        parts += [
            f"Each row below {base.method.title} changes what its name says. All rows, including {base.method.title}, are over the seeds {seeds}.",
            table(header, [_ablation_row(plan, base, each) for each in (base, *others)]),
            f"![Ablations of {name}](ablations_{name}.png)",
        ]
    return "\n\n".join(["## Ablations", *parts]) if parts else ""


def _ablation_row(plan, base, each):
    difference = difference_of_pairs(each.mean_iou, base.mean_iou)
    return [
        each.method.title,
        each.mean_iou.text(100),
        "" if each is base else difference.text(100),
        *(each.sample(figure).text(100) for figure in _other_splits(plan).values()),
        each.sample(lambda r: r["found_held_out"]).text(100),
        each.sample(lambda r: r["figures"]["feature_spread"]).text(1, 2),
    ]


def _other_splits(plan) -> dict[str, Figure]:
    """Returns the mIoU on each of the other splits by the name of its column."""
    return {
        f"mIoU on `{split}`": functools.partial(
            lambda result, name: result["other_splits"][name], name=split
        )
        for split in plan.other_splits
    }


def _ablated(plan, found, name):
    """Returns a method and its ablations, over the same seeds."""
    results = found[name].results[: len(plan.ablation_seeds)]
    base = dataclasses.replace(found[name], results=results)
    return [base, *(each for each in found.values() if each.method.of == name)]


def _classes_table(main):
    rows = [
        [name.replace("_", " "), *(_class_text(each, name) for each in main)]
        for name in main[0].results[0]["class_iou"]
    ]
    return "IoU of each class, in %:\n\n" + table(["", *(each.method.title for each in main)], rows)


def _class_text(each: Measured, name: str) -> str:
    return each.sample(lambda result: result["class_iou"][name]).text(100)


def _rates_table(plan, place, rates):
    rows, shown_methods = [], []
    for method in plan.choosing():
        scores = selection_scores(plan, place, method)
        if len(scores) > 1:
            cells = [
                f"{rate:g}: {100 * score:.1f}"
                if rate != rates[method.name]
                else f"**{rate:g}: {100 * score:.1f}**"
                for rate, score in scores.items()
            ]
            rows.append([method.title, ", ".join(cells)])
            shown_methods.append(method)
    if not rows:
        return "There was only one learning rate to choose from."
    lines = [["", "learning rate: mIoU on `validation`"], ["---", "---"], *rows]
    shown = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    labels = (
        " and Adam's learning rate of supervised training"
        if any(method.kind == "supervised" for method in shown_methods)
        else ""
    )
    ablations = (
        " Ablations that are not listed use the learning rate of the method that they change."
        if any(method.of and not method.rates for method in plan.methods) and not plan.of_lengths
        else ""
    )
    return (
        f"`--base_lr` of pre-training (the learning rate is `--base_lr` times the batch size over 256){labels}, "
        f"seed {plan.selection_seed}; the chosen one is in bold.{ablations}"
        f"\n\n{shown}"
    )


def _draw_plots(folder, plan, found, main):
    lines = []
    if plan.closes_gap:
        floor, ceiling = found["random"].mean_iou.mean, found["supervised"].mean_iou.mean
        lines = [("a third of the gap", floor + GAP * (ceiling - floor))]
    figure = plots.mean_iou_plot(main, "Linear segmentation of held-out images", lines)
    figure.savefig(os.path.join(folder, "methods.png"), dpi=110)
    ablated = [] if plan.of_lengths else [each.method.of for each in found.values()]
    for name in dict.fromkeys(filter(None, ablated)):
        rows = _ablated(plan, found, name)
        figure = plots.mean_iou_plot(rows, f"Ablations of {found[name].method.title}")
        figure.savefig(os.path.join(folder, f"ablations_{name}.png"), dpi=110)


def _draw_pictures(folder, plan, place, rates) -> str:
    """Plots what some backbones of the first seed have learnt; returns the Markdown that shows the figures."""
    from pixpro_tf.evaluation import visualize
    from pixpro_tf.evaluation.features import figures

    parts = []
    kinds = {
        "components": "First three principal components of c5 over four held-out images",
        "propagation": "Weights with which a propagation with gamma 2 mixes features into three points, computed from the projections of the "
        "first level of a pixel-level method, and from c5 of the others; only PixPro is trained with propagation",
        "neighbours": "Nearest neighbours, in other images, of the features at three points of the first image",
        "matches": "Dense matches of bins between two views",
    }
    made = []
    for method in plan.methods:
        if method.name not in plan.pictured:
            continue
        run = Run(method, rates[method.name], plan.seeds[0])
        source = f"random:{plan.backbone}" if method.kind == "random" else place.run_dir(run)
        pictures = os.path.join(folder, method.name)
        os.makedirs(pictures)
        figures.write(
            pictures,
            visualize.Settings(
                source=source,
                name=method.title,
                images=plan.dataset,
                split=plan.split,
                data_dir=place.data_dir,
                output=pictures,
                output_stride=plan.output_stride,
                image_size=128,
                seed=run.seed,
            ),
        )
        made.append(method)
    for kind, text in kinds.items():
        parts.append(f"**{text}.**")
        for method in made:
            if kind == "neighbours" and method is not made[-1]:
                # Each of these figures fills a page, and one is enough to make the point.
                os.remove(os.path.join(folder, method.name, f"{kind}.png"))
            else:
                parts.append(f"![{kind} of {method.title}]({method.name}/{kind}.png)")
    return "\n\n".join(parts)


def _notes(plan_file):
    """Returns the notes in the Markdown file beside the plan; empty if it does not exist."""
    path = os.path.splitext(plan_file)[0] + ".md"
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read().strip()


def _processor_hours(plan, place, rates):
    """Sums the processor time of all training and measuring in hours; each stage counts only its own work."""
    measured_runs = plan.measured_runs(rates)
    stages = [(run, CHOICE) for run in (*plan.starts(), *selection_runs(plan, place))]
    stages += [(run, MEASUREMENT) for run in measured_runs]
    # Backbones that were trained by themselves: on an accelerator, or again on another machine.
    stages += [
        (run, TRAINING)
        for run in dict.fromkeys((*plan.starts(), *measured_runs))
        if os.path.exists(place.result_file(run, TRAINING))
    ]
    spent = (read_result(place, run, stage).get("seconds", {}) for run, stage in stages)
    return sum(sum(seconds.values()) for seconds in spent) / 3600


def _commands(output, plan_file, place, processor_hours):
    return f"""```bash
python -m benchmarks.report --plan={plan_file} --work_dir={place.work_dir} --measurements={place.measurements} --output={output}
python -m pixpro_tf.visualize --from={place.work_dir}/runs/NAME --images=photographs --output=pictures
```

The first command creates this page, the second figures of the backbone NAME, which is a folder in `{place.work_dir}/runs`. Training and
measuring took {processor_hours:.1f} hours of processor time, without that of processes that were killed. `{place.measurements}` contains the measurements
of every seed, from which the first command goes on."""
