"""The report's page: Markdown, tables, plots and pictures from what was measured."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.report import plots
from benchmarks.report.place import CHOICE, MEASUREMENT, Place
from benchmarks.report.plan import Plan, Run
from benchmarks.report.results import (
    Measured,
    Sample,
    measured,
    read_result,
    selection_scores,
    standard_error_of_difference,
)
from pixpro_tf.cli import command_line
from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.config import Config
from pixpro_tf.data.scenes.renderer import CLASS_NAMES

# What the report was made to find out.
_FIT_SUPERVISED, _FIT_RANDOM = 0.5, 0.5
_GAP, _LEAD = 1 / 3, 0.02
_PICTURED = ("random", "instance", "pixcontrast", "pixpro")

Figure = Callable[[dict[str, Any]], float | None]


def write_page(
    output: str, plan_file: str, plan: Plan, place: Place, rates: dict[str, float]
) -> None:
    """Writes README.md, results.json, plots and pictures into a folder, in the place of what was there.

    Args:
        output: folder.
        plan_file, plan, place: of the report.
        rates: that were chosen, by method.

    Raises:
        RunError: if something has not been measured, or the folder cannot be written.
    """
    found = measured(plan, place, rates)
    main = [each for each in found.values() if not each.method.of]
    with atomic_output(output, overwrite=True) as folder:
        os.makedirs(folder)
        _draw_plots(folder, plan, found, main)
        pictures = _draw_pictures(folder, plan, place, rates)
        parts = [
            "# Methods of pre-training, compared on rendered scenes",
            _setting(output, plan_file, plan),
            "## In short",
            _findings(found),
            "## Methods",
            _methods_table(main),
            "![mIoU by method](methods.png)",
            _explanations(plan, main),
            _ablations(plan, found),
            "## Content or place?",
            _content_table(plan, main),
            "## Classes",
            _classes_table(main),
            "## Rates",
            _rates_table(plan, place, rates),
            "## Pictures",
            pictures,
            _notes(plan_file),
            "## To make this page",
            _commands(output, plan_file, place, _core_hours(plan, place, rates)),
        ]
        with open(os.path.join(folder, "README.md"), "w") as file:
            file.write("\n\n".join(part for part in parts if part) + "\n")
        with open(os.path.join(folder, "results.json"), "w") as file:
            json.dump(_all_results(found), file, indent=1)
            file.write("\n")


def _setting(output, plan_file, plan):
    config = command_line.parse(Config, [*plan.training_flags()])
    assert config is not None
    seeds = len(plan.seeds)
    steps = f" of {config.steps_per_epoch} steps" if config.steps_per_epoch else ""
    return (
        f"Backbones are pre-trained without labels on the split `unlabelled` of `{plan.dataset}`, and evaluated on other "
        f"scenes: a linear layer on frozen c5 maps is trained on the split `train` and scored on `{plan.split}`. The encoder is a "
        f"`{plan.backbone}` of output stride {plan.output_stride}; {config.epochs} epochs{steps} of batch {config.batch_size} at "
        f"{config.image_size} pixels, `--optimizer={config.optimizer}`, `--augmentation={config.augmentation}`. {_choice(plan)} "
        f"Figures are means over {seeds} seed{'s' if seeds > 1 else ''} ± the standard deviation of a seed, AP over {len(plan.detection_seeds)}, "
        f"ablations over {len(plan.ablation_seeds)}. "
        f"Seeds, grids and settings stand in {_link(output, plan_file)} and {_link(output, plan.common)}."
    )


def _link(output, path):
    return f"[`{path}`]({os.path.relpath(path, output)})"


def _choice(plan):
    if len(plan.rates) == 1:
        return f"There is one rate for all, and scores are on `{plan.split}`: this page shows that everything runs, and compares nothing."
    return (
        f"Each method of pre-training has the best of the same {len(plan.rates)} rates by its mIoU on `validation`, as training with labels has of "
        f"its own {len(plan.supervised_rates)}; `{plan.split}` was used only after that."
    )


def _findings(found):
    """What was to be found out, answered from the numbers."""
    lines = []
    random, supervised = found.get("random"), found.get("supervised")
    pixpro, instance = found.get("pixpro"), found.get("instance")
    if random and supervised:
        ceiling, floor = supervised.mean_iou.mean, random.mean_iou.mean
        fit = ceiling >= _FIT_SUPERVISED and floor <= _FIT_RANDOM * ceiling
        lines.append(
            f"{_mark(fit)} To be fit for the question, the dataset has to give training with labels at least 50 mIoU, and random weights at "
            f"most half of that: {100 * ceiling:.1f} and {100 * floor:.1f}."
        )
        if pixpro and ceiling > floor:
            shares = {
                each.method.title: (each.mean_iou.mean - floor) / (ceiling - floor)
                for each in found.values()
                if each.method.kind == "pretrained" and not each.method.of
            }
            share = shares.pop(pixpro.method.title)
            others = ", ".join(f"{title} {100 * value:.0f} %" for title, value in shares.items())
            lines.append(
                f"{_mark(share >= _GAP)} PixPro was to close a third of the gap between random weights and training with labels: it closes "
                f"{100 * share:.0f} %{f' ({others})' if others else ''}."
            )
    if pixpro and instance:
        lead = pixpro.mean_iou.mean - instance.mean_iou.mean
        error = standard_error_of_difference(pixpro.mean_iou, instance.mean_iou)
        met = lead >= _LEAD and lead > 2 * error
        # Of one seed there is none.
        spread = (
            f"a standard error of the difference of {100 * error:.1f}"
            if error >= 0
            else "one seed, and so no spread to compare with"
        )
        lines.append(
            f"{_mark(met)} PixPro was to lead instance-level regression by at least 2 points, and by more than two standard errors: it does by "
            f"{100 * lead:.1f} points, with {spread}."
        )
    ordered = sorted(
        (each for each in found.values() if not each.method.of),
        key=lambda each: each.mean_iou.mean,
    )
    order = ", ".join(f"{each.method.title} ({each.mean_iou.text(100)})" for each in ordered)
    lines.append(
        f"The paper's order is random weights, instance level, PixContrast, PixPro. Here it is {order}."
    )
    return "\n".join(f"- {line}" for line in lines)


def _mark(met):
    return "**Met.**" if met else "**Missed.**"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _average_precision(result: dict[str, Any]) -> float | None:
    return result.get("detection", {}).get("ap")


_METHOD_COLUMNS: list[tuple[str, Figure, float, int]] = [
    ("mIoU", lambda r: r["mean_iou"], 100, 1),
    ("pixels right", lambda r: r["pixel_accuracy"], 100, 1),
    ("AP", _average_precision, 100, 1),
    ("AP50", lambda r: r.get("detection", {}).get("ap_50"), 100, 1),
    ("AP75", lambda r: r.get("detection", {}).get("ap_75"), 100, 1),
    ("found, scenes", lambda r: r["found_scenes"], 100, 1),
    ("found, photographs", lambda r: r["found_photographs"], 100, 1),
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
    return _table(["", *(name for name, *_ in columns)], rows)


def _methods_table(main):
    return _columns(main, _METHOD_COLUMNS)


def _explanations(plan, main):
    seeds = ", ".join(map(str, plan.detection_seeds))
    chance = " and ".join(
        f"{100 * main[0].sample(figure).mean:.1f}"
        for figure in (lambda r: r["chance_scenes"], lambda r: r["chance_photographs"])
    )
    return (
        "mIoU and the share of pixels that are right are the linear layer's, in %. *With labels*, the backbone and a layer have been trained "
        f"together on the split `train`, for {plan.supervised['steps']} steps of batch {plan.supervised['batch_size']}; then a new layer is trained "
        "as for the others. AP is that of a small FCOS-style detector on an FPN, everything fine-tuned "
        f"(COCO's, in %; seeds {seeds}; output stride 32, as detectors have it). *Found*: of the bins that two views of an image share, cropped, coloured and blurred "
        "apart, those whose nearest feature in the other view lies within one bin of the right place, in %; on held-out scenes, and on the "
        f"photographs that come with scikit-image. Guessing finds {chance}."
    )


def _content_table(plan, main):
    return (
        _columns(main, _CONTENT_COLUMNS)
        + f"\n\n*With a margin*, images are continued by mirroring, by {plan.margin} pixels on each side, while the network sees them, and the maps cut "
        "back: the zeros of the padding then lie further from what is scored, and tell the linear layer less of where in the image a bin lies. "
        "*Position share* is the share of the features' variance that the place in the grid explains; "
        "*spread* falls to 0 and *cosine* rises to 1 when features collapse to a constant. All on held-out scenes."
    )


def _ablations(plan, found):
    parts = []
    for name in dict.fromkeys(method.of for method in plan.methods if method.of):
        base, *others = _ablated(plan, found, name)
        text = []
        for each in (base, *others):
            pairs = zip(each.mean_iou.values, base.mean_iou.values, strict=True)
            difference = Sample(tuple(a - b for a, b in pairs))
            text.append(
                [
                    each.method.title,
                    each.mean_iou.text(100),
                    "" if each is base else difference.text(100),
                    each.sample(lambda r: r["found_scenes"]).text(100),
                    each.sample(lambda r: r["figures"]["feature_spread"]).text(1, 2),
                ]
            )
        seeds = ", ".join(map(str, plan.ablation_seeds))
        parts += [
            f"One thing changed at a time, {base.method.title} included over the seeds {seeds}.",
            _table(["", "mIoU", "difference", "found, scenes", "feature spread"], text),
            f"![Ablations of {name}](ablations_{name}.png)",
        ]
    return "\n\n".join(["## Ablations", *parts]) if parts else ""


def _ablated(plan, found, name):
    """A method and its ablations, over the same seeds."""
    results = found[name].results[: len(plan.ablation_seeds)]
    base = dataclasses.replace(found[name], results=results)
    return [base, *(each for each in found.values() if each.method.of == name)]


def _classes_table(main):
    rows = [
        [name.replace("_", " "), *(_class_text(each, index) for each in main)]
        for index, name in enumerate(CLASS_NAMES)
    ]
    return "IoU of each class, in %:\n\n" + _table(
        ["", *(each.method.title for each in main)], rows
    )


def _class_text(each: Measured, index: int) -> str:
    return each.sample(lambda result: result["class_iou"][index]).text(100)


def _rates_table(plan, place, rates):
    rows = []
    for method in plan.methods:
        scores = {} if method.of else selection_scores(plan, place, method)
        if scores:
            cells = [
                f"{rate:g}: {100 * score:.1f}"
                if rate != rates[method.name]
                else f"**{rate:g}: {100 * score:.1f}**"
                for rate, score in scores.items()
            ]
            rows.append([method.title, ", ".join(cells)])
    if not rows:
        return "There was one rate, and nothing to choose."
    lines = [["", "rate: mIoU on `validation`"], ["---", "---"], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"`--base_lr` of pre-training (the rate is that times the batch over 256) and Adam's rate of supervised training, seed {plan.selection_seed}; "
        f"in bold the one that was taken. Ablations take the rate of the method that they change.\n\n{table}"
    )


def _draw_plots(folder, plan, found, main):
    lines = []
    if "random" in found and "supervised" in found:
        floor, ceiling = found["random"].mean_iou.mean, found["supervised"].mean_iou.mean
        lines = [("a third of the gap", floor + _GAP * (ceiling - floor))]
    figure = plots.mean_iou_plot(main, "Linear segmentation of held-out scenes", lines)
    figure.savefig(os.path.join(folder, "methods.png"), dpi=110)
    for name in dict.fromkeys(each.method.of for each in found.values() if each.method.of):
        rows = _ablated(plan, found, name)
        figure = plots.mean_iou_plot(rows, f"Ablations of {found[name].method.title}")
        figure.savefig(os.path.join(folder, f"ablations_{name}.png"), dpi=110)


def _draw_pictures(folder, plan, place, rates) -> str:
    """Draws what some backbones of the first seed have learnt; returns the Markdown that shows it."""
    from pixpro_tf.evaluation import visualize
    from pixpro_tf.evaluation.features import figures

    parts = []
    kinds = {
        "components": "The three directions in which c5 varies most, over four held-out scenes",
        "propagation": "What a propagation with gamma 2 would mix into three points, by the projections of c3 where a method has them, and else by c5; "
        "of these four, PixPro alone was trained with one",
        "neighbours": "Where the features of three points of the first scene are found in others",
        "matches": "Bins of a view that are looked for in another",
    }
    made = []
    for method in plan.methods:
        if method.of or method.name not in _PICTURED:
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
            if kind == "neighbours" and method.name != "pixpro":
                # They take a page each, and one makes the point.
                os.remove(os.path.join(folder, method.name, f"{kind}.png"))
            else:
                parts.append(f"![{kind} of {method.title}]({method.name}/{kind}.png)")
    return "\n\n".join(parts)


def _notes(plan_file):
    """What a person has to say of it, beside the plan."""
    path = os.path.splitext(plan_file)[0] + ".md"
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read().strip()


def _core_hours(plan, place, rates):
    """Of all training and measuring; each backbone had a core, and what two stages did of it is in both."""
    runs = [(run, CHOICE) for run in plan.selection_runs()]
    runs += [(run, MEASUREMENT) for run in plan.measured_runs(rates)]
    spent = (read_result(place, run, stage).get("seconds", {}) for run, stage in runs)
    return sum(sum(seconds.values()) for seconds in spent) / 3600


def _commands(output, plan_file, place, core_hours):
    return f"""```bash
python -m benchmarks.report --plan={plan_file} --work_dir={place.work_dir} --output={output}
python -m pixpro_tf.visualize --from={place.work_dir}/runs/NAME --images=photographs --output=pictures
```

makes this page, and pictures of a backbone NAME, a folder there. Training and measuring took {core_hours:.1f} hours of one core, of runs that
were interrupted only the last part counted. `results.json` has what was measured of every seed."""


def _all_results(found):
    return {
        name: {"title": each.method.title, "rate": each.rate, "seeds": list(each.results)}
        for name, each in found.items()
    }
