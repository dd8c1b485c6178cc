"""First paragraph of the page: how backbones were trained and evaluated."""

import os

from benchmarks.report.plan import Plan
from pixpro_tf.cli import command_line
from pixpro_tf.config import Config


def setting(output: str, plan_file: str, plan: Plan) -> str:
    """Returns the paragraph of the page that says how backbones were trained and evaluated.

    Args:
        output: folder of the page, for links.
        plan_file, plan: file of the plan, and the plan itself.
    """
    config = command_line.parse(Config, [*plan.training_flags()])
    assert config is not None
    steps = f" of {config.steps_per_epoch} steps" if config.steps_per_epoch else ""
    return (
        f"Backbones are pre-trained without labels on the split `unlabelled` of `{plan.dataset}` and evaluated on other "
        f"images: a linear layer on frozen c5 maps is trained on the split `train` and scored on `{plan.split}`. The backbone is a "
        f"`{plan.backbone}` with output stride {plan.output_stride}. Pre-training takes {_epochs(plan)} epochs{steps} with batch size "
        f"{config.batch_size} at {config.image_size} pixels, `--optimizer={config.optimizer}` and `--augmentation={config.augmentation}`.{_start(plan)} "
        f"{_choice(plan)} {_seeds(plan)} "
        f"{_link(output, plan_file)} and {_link(output, plan.common)} contain the seeds, grids and settings."
    )


def _epochs(plan):
    """Returns the numbers of epochs of pre-training as text."""
    methods = [each for each in plan.methods if each.kind == "pretrained"]
    shown = methods if plan.of_lengths else [None]
    configs = [command_line.parse(Config, [*plan.training_flags(each)]) for each in shown]
    *fewer, most = sorted({config.epochs for config in configs if config is not None})
    return f"{', '.join(map(str, fewer))} or {most}" if fewer else f"{most}"


def _seeds(plan):
    seeds = len(plan.seeds)
    others = []
    if plan.detection_seeds:
        others.append(f"{len(plan.detection_seeds)} for AP")
    if not plan.of_lengths and any(method.of for method in plan.methods):
        others.append(f"{len(plan.ablation_seeds)} for the ablations")
    number = f"; the number of seeds is {' and '.join(others)}" if others else ""
    return f"Results are means over {seeds} seed{'s' if seeds > 1 else ''} ± the standard deviation over seeds{number}."


def _link(output, path):
    return f"[`{path}`]({os.path.relpath(path, output)})"


def _start(plan):
    """Describes the backbones from which pre-training starts; "" for random weights."""
    names = dict.fromkeys(method.init_from for method in plan.methods if method.init_from)
    starts = [plan.method(name).dataset or plan.dataset for name in names]
    if not starts:
        return ""
    datasets = " or ".join(f"`{dataset}`" for dataset in starts)
    return (
        f" It starts from a backbone that was trained with the labels of {datasets} for {plan.supervised['steps']} steps with batch size "
        f"{plan.supervised['batch_size']}."
    )


def _choice(plan):
    choosing = [method for method in plan.methods if len(plan.grid(method)) > 1]
    if not choosing and plan.split == "validation":
        return (
            f"All methods of pre-training use the same learning rate, and scores are on `{plan.split}`: this page only shows that everything runs; "
            "it does not compare methods."
        )
    if not choosing:
        return "The learning rates are those of the plan."
    others = []
    if any(method.rates and method.of for method in choosing):
        others.append(", some ablations the best of a grid of their own")
    if any(method.kind == "supervised" for method in choosing):
        others.append(
            f", and training with labels the best of its own {len(plan.supervised_rates)}"
        )
    extended = (
        f" While the best value of a grid was at an end, it was extended by a factor of two, at most {plan.extra_rates} times."
        if plan.extra_rates
        else ""
    )
    return (
        f"Each method of pre-training uses the best of the same {len(plan.rates)} learning rates by mIoU on `validation`{''.join(others)}.{extended} "
        f"`{plan.split}` was used only after that."
    )
