"""What the report trains and measures, from a file that is written before anything is measured."""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from pixpro_tf.errors import ConfigError, RunError

KINDS = ("random", "supervised", "pretrained")


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to come to a backbone.

    Attributes:
        name: in file names.
        title: for readers.
        kind: "random" (no training), "supervised" (with the labels of the training split), or "pretrained" (by `train.py`).
        flags: of `train.py`, beside the common ones.
        of: name of the method that this is an ablation of, whose rate it takes; empty for a method of its own.
    """

    name: str
    title: str
    kind: str = "pretrained"
    flags: tuple[str, ...] = ()
    of: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """One backbone.

    Attributes:
        method: how it comes about.
        rate: `--base_lr` of pre-training, Adam's of supervised training; 0 without training.
        seed: of everything random.
    """

    method: Method
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Of its folder and files."""
        rate = f"-rate{self.rate:g}" if self.rate else ""
        return f"{self.method.name}{rate}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The whole report.

    Attributes:
        common: flag file of all pre-training.
        dataset: one of the `scenes`; of all training and measuring.
        backbone, output_stride: of every method.
        methods: those that are compared, and ablations.
        rates: the grid of `--base_lr` for every pre-trained method.
        supervised_rates: the grid of Adam's rates for supervised training.
        split: on which backbones are measured: "test", or "validation" for a plan that only shows that all of it runs.
        selection_seed: of the runs among which a rate is chosen, on the validation split.
        seeds: of the runs that are measured.
        ablation_seeds: likewise, of ablations; the first of `seeds`, so that each has its like.
        detection_seeds: those of `seeds` that detectors are fine-tuned from.
        probe, correspondence, detection: settings of `evaluation.dense` for the linear layer, `evaluation.correspondence` and
            `evaluation.detection`.
        supervised: arguments of `benchmarks.supervised.train_with_labels`.
        margin: of the padding control, in pixels; see `evaluation.dense`.
    """

    common: str
    dataset: str
    backbone: str
    output_stride: int
    methods: tuple[Method, ...]
    rates: tuple[float, ...]
    supervised_rates: tuple[float, ...]
    split: str
    selection_seed: int
    seeds: tuple[int, ...]
    ablation_seeds: tuple[int, ...]
    detection_seeds: tuple[int, ...]
    probe: dict[str, Any]
    supervised: dict[str, Any]
    correspondence: dict[str, Any]
    detection: dict[str, Any]
    margin: int

    def training_flags(self, method: Method | None = None) -> list[str]:
        """Flags of `train.py` for all pre-training, or for that of one method; without rate, seed and folders."""
        return [
            f"--flagfile={self.common}",
            f"--dataset={self.dataset}",
            f"--backbone={self.backbone}",
            f"--output_stride={self.output_stride}",
            *(method.flags if method else ()),
        ]

    def grid(self, method: Method) -> tuple[float, ...]:
        """The rates among which a method's is chosen; 0 alone where nothing is trained."""
        return {"random": (0.0,), "supervised": self.supervised_rates}.get(method.kind, self.rates)

    def selection_runs(self) -> list[Run]:
        """Those among which rates are chosen."""
        return [
            Run(method, rate, self.selection_seed)
            for method in self.methods
            if not method.of
            for rate in self.grid(method)
            if len(self.grid(method)) > 1
        ]

    def measured_runs(self, rates: dict[str, float]) -> list[Run]:
        """Those that are measured.

        Args:
            rates: the chosen one of each method that is no ablation, by its name.
        """
        return [
            Run(method, rates[method.of or method.name], seed)
            for method in self.methods
            for seed in (self.ablation_seeds if method.of else self.seeds)
        ]

    def conditions(self) -> dict[str, Any]:
        """All that the result of a run depends on beside its method, rate and seed, which are in its name; as JSON has it."""
        common = _flags_of(self.common)
        names = ["dataset", "backbone", "output_stride", "split", "probe", "supervised"]
        names += ["correspondence", "detection", "detection_seeds", "margin"]
        found = {name: getattr(self, name) for name in names} | {"common": common}
        found |= {f"method {each.name}": [each.kind, each.flags] for each in self.methods}
        return json.loads(json.dumps(found))

    def method(self, name: str) -> Method:
        """By its name."""
        return next(method for method in self.methods if method.name == name)


def read_plan(path: str) -> Plan:
    """The plan in a JSON file.

    Raises:
        RunError: if it cannot be read.
        ConfigError: if it is no plan.
    """
    try:
        with open(path) as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise RunError(f"--plan={path} cannot be read: {error}") from None
    try:
        content = _with_tuples(content)
        methods = tuple(Method(**entry) for entry in content.pop("methods"))
        plan = Plan(methods=methods, **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"--plan={path} is no plan: {error}") from None
    for problem in _problems(plan):
        raise ConfigError(f"--plan={path}: {problem}")
    return plan


def _flags_of(path: str) -> list[str]:
    """The flags of a file and of those that it includes, without comments."""
    with open(path) as file:
        lines = [line.strip() for line in file]
    found = []
    for line in lines:
        if line.startswith("--flagfile="):
            found += _flags_of(line.removeprefix("--flagfile="))
        elif line and not line.startswith("#"):
            found.append(line)
    return found


def _with_tuples(content: Any) -> Any:
    """JSON's lists as tuples, which are what settings are made of."""
    if isinstance(content, dict):
        return {name: _with_tuples(value) for name, value in content.items()}
    return tuple(map(_with_tuples, content)) if isinstance(content, list) else content


def _problems(plan: Plan) -> Iterator[str]:
    names = [method.name for method in plan.methods]
    if len(set(names)) < len(names):
        yield f"names of methods are given twice: {', '.join(names)}"
    for method in plan.methods:
        if method.kind not in KINDS:
            yield f"{method.name} is of no kind {method.kind!r}; give one of {', '.join(KINDS)}"
        if method.of and (method.of not in names or plan.method(method.of).of):
            yield f"{method.name} is an ablation of {method.of!r}, which is no method"
    if plan.split not in ("test", "validation"):
        yield f"split is {plan.split!r}; give test or validation"
    for name in ("rates", "supervised_rates", "seeds", "ablation_seeds"):
        if not getattr(plan, name):
            yield f"{name} is empty"
    if plan.split == "validation" and len(plan.rates) + len(plan.supervised_rates) > 2:
        yield "rates are chosen on validation, which is no split to measure on then; give the split test, or one rate"
    if plan.ablation_seeds != plan.seeds[: len(plan.ablation_seeds)]:
        yield "ablation_seeds have to be the first of seeds"
    if not set(plan.detection_seeds) <= set(plan.seeds):
        yield "detection_seeds have to be some of seeds"
    if not os.path.isfile(plan.common):
        yield f"there is no flag file {plan.common}"
