"""Plan of what the report trains and measures, from a file that is written before anything is measured."""

import dataclasses
import json
import os
from collections.abc import Iterator
from typing import Any

from pixpro_tf.errors import ConfigError, RunError

KINDS = ("random", "supervised", "pretrained")


@dataclasses.dataclass(frozen=True)
class Method:
    """Method of obtaining a backbone.

    Attributes:
        name: name of the method in file names.
        title: name of the method on the page.
        kind: "random" (no training), "supervised" (with the labels of the training split), or "pretrained" (by `train.py`).
        flags: flags of `train.py`, in addition to the common ones.
        of: name of the method of which this is an ablation; empty for other methods.
        rates: grid of `--base_lr` of this method alone; empty for that of the plan, and, in an ablation, for the learning rate of `of`.
        init_from: name of the method, of kind "supervised", whose backbone with the same seed pre-training starts from; empty for random weights.
        dataset: dataset with whose labels a method of kind "supervised" is trained; empty for that of the plan.
    """

    name: str
    title: str
    kind: str = "pretrained"
    flags: tuple[str, ...] = ()
    of: str = ""
    rates: tuple[float, ...] = ()
    init_from: str = ""
    dataset: str = ""

    @property
    def rate_of(self) -> str:
        """Name of the method for which the learning rate is chosen: itself, or that of which it is an ablation."""
        return self.name if self.rates or not self.of else self.of


@dataclasses.dataclass(frozen=True)
class Lead:
    """Claim that is fixed before anything is measured: one method leads another one.

    Attributes:
        method, over: names of the two methods.
        points: smallest difference of their mean mIoU, in percentage points.
        standard_errors: smallest difference, in standard errors of it.
        images: number of labelled images to train with; 0 for all of them and a linear layer on frozen features.
        frozen: whether a linear layer on frozen features is trained with those images; else, all weights are fine-tuned.
    """

    method: str
    over: str
    points: float
    standard_errors: float
    images: int = 0
    frozen: bool = False


@dataclasses.dataclass(frozen=True)
class Run:
    """One backbone.

    Attributes:
        method: method of obtaining it.
        rate: `--base_lr` of pre-training, or Adam's learning rate of supervised training; 0 without training.
        seed: seed of everything random.
    """

    method: Method
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder and files."""
        rate = f"-rate{self.rate:g}" if self.rate else ""
        return f"{self.method.name}{rate}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Plan of the whole report.

    Attributes:
        title: title of the page.
        leads: leads that are claimed.
        pictured: names of the methods whose features are plotted.
        common: flag file of all pre-training.
        dataset: one of the `scenes` datasets, for all training and measuring.
        backbone, output_stride: architecture and output stride of every method.
        methods: methods to compare, and their ablations.
        rates: grid of `--base_lr` for every pre-trained method.
        extra_rates: largest number of values by which the grid of a method is extended, by factors of two, while its best value is at an end.
        supervised_rates: grid of Adam's learning rates for supervised training.
        split: split on which backbones are measured: "test", or "validation" for a plan that only shows that everything runs.
        other_splits: further splits on which the linear layer is scored, such as "test_new_things".
        closes_gap: name of the method that is expected to close a third of the gap between random weights and training with labels; empty
            for none.
        selection_seed: seed of the runs among which a learning rate is chosen, on the validation split.
        seeds: seeds of the measured runs.
        ablation_seeds: seeds of the ablations; the first of `seeds`, so that each run of an ablation has a counterpart.
        detection_seeds: those of `seeds` whose backbones are fine-tuned as detectors.
        probe, correspondence, detection: settings of `evaluation.dense` for the linear layer, `evaluation.correspondence` and
            `evaluation.detection`.
        supervised: arguments of `benchmarks.supervised.train_with_labels`.
        margin: margin of the padding control in pixels; see `evaluation.dense`.
        fine_tuning: attributes of `benchmarks.report.fine_tuning.FineTuning`, to fine-tune with some of the labels; empty for none.
        of_lengths: whether an ablation is the same method at another length, so that the page plots scores against generations.
    """

    title: str
    leads: tuple[Lead, ...]
    pictured: tuple[str, ...]
    common: str
    dataset: str
    backbone: str
    output_stride: int
    methods: tuple[Method, ...]
    rates: tuple[float, ...]
    extra_rates: int
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
    other_splits: tuple[str, ...] = ()
    closes_gap: str = ""
    fine_tuning: dict[str, Any] = dataclasses.field(default_factory=dict)
    of_lengths: bool = False

    def training_flags(self, method: Method | None = None, start: str = "") -> list[str]:
        """Returns the flags of `train.py` for all pre-training or one method, without learning rate, seed and folders.

        Args:
            method: method to train; None for what all have in common.
            start: folder of the backbone from which the method starts, if it does; empty for the name of that backbone's method.
        """
        return [
            f"--flagfile={self.common}",
            f"--dataset={self.dataset}",
            f"--backbone={self.backbone}",
            f"--output_stride={self.output_stride}",
            *(method.flags if method else ()),
            *([f"--init_from={start or method.init_from}"] if method and method.init_from else ()),
        ]

    def grid(self, method: Method) -> tuple[float, ...]:
        """Returns the learning rates among which that of a method is chosen, before any extension; only 0 without training."""
        own = {"random": (0.0,), "supervised": self.supervised_rates}.get(method.kind, self.rates)
        return method.rates or own

    def choosing(self) -> list[Method]:
        """Returns the methods for which a learning rate is chosen."""
        return [method for method in self.methods if method.rate_of == method.name]

    def selection_run(self, method: Method, rate: float) -> Run:
        """Returns the run that shows how good a learning rate is for a method."""
        return Run(method, rate, self.selection_seed)

    def starts(self) -> list[Run]:
        """Returns the runs from whose backbones others start."""
        names = {method.init_from for method in self.methods if method.init_from}
        seeds = dict.fromkeys((self.selection_seed, *self.seeds))
        methods = [method for method in self.methods if method.name in names]
        return [Run(method, self.grid(method)[0], seed) for method in methods for seed in seeds]

    def start_of(self, run: Run) -> Run:
        """Returns the run from whose backbone another one starts."""
        named = (run.method.init_from, run.seed)
        return next(each for each in self.starts() if (each.method.name, each.seed) == named)

    def measured_runs(self, rates: dict[str, float]) -> list[Run]:
        """Returns the runs that are measured, by seed: a report that is interrupted has measured all methods with the first ones.

        Args:
            rates: learning rate of each method, by its name.
        """
        return [
            Run(method, rates[method.name], seed)
            for seed in self.seeds
            for method in self.methods
            if not method.of or seed in self.ablation_seeds
        ]

    def pictured_runs(self, rates: dict[str, float]) -> list[Run]:
        """Returns the trained runs whose features are plotted, those of the first seed.

        Args:
            rates: learning rate of each method, by its name.
        """
        methods = [self.method(name) for name in self.pictured]
        return [
            Run(method, rates[method.name], self.seeds[0])
            for method in methods
            if method.kind != "random"
        ]

    def conditions(self) -> dict[str, Any]:
        """Returns, as JSON, all conditions of a result besides the method, learning rate and seed in the name of its run."""
        common = _flags_of(self.common)
        names = ["dataset", "backbone", "output_stride", "split", "probe", "supervised"]
        names += ["correspondence", "detection", "detection_seeds", "margin", "fine_tuning"]
        names += ["other_splits"]
        found = {name: getattr(self, name) for name in names} | {"common": common}
        for each in self.methods:
            start: list[Any] = [value for value in (each.init_from, each.dataset) if value]
            if each.init_from:
                start += self.grid(self.method(each.init_from))
            found[f"method {each.name}"] = [each.kind, each.flags, *start]
        return json.loads(json.dumps(found))

    @property
    def ceiling(self) -> Method | None:
        """Method that is trained with all labels of the plan's own dataset; a start, which others continue from, does not count."""
        starts = {method.init_from for method in self.methods}
        for method in self.methods:
            if method.kind == "supervised" and not method.dataset and method.name not in starts:
                return method
        return None

    def method(self, name: str) -> Method:
        """Returns the method with a name."""
        return next(method for method in self.methods if method.name == name)


def read_plan(path: str) -> Plan:
    """Reads the plan in a JSON file.

    Raises:
        RunError: if the file cannot be read.
        ConfigError: if it is not a valid plan.
    """
    try:
        with open(path) as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise RunError(f"--plan={path} cannot be read: {error}") from None
    try:
        content = _with_tuples(content)
        methods = tuple(Method(**entry) for entry in content.pop("methods"))
        leads = tuple(Lead(**entry) for entry in content.pop("leads"))
        plan = Plan(methods=methods, leads=leads, **content)
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"--plan={path} is not a valid plan: {error}") from None
    for problem in _problems(plan):
        raise ConfigError(f"--plan={path}: {problem}")
    return plan


def _flags_of(path: str) -> list[str]:
    """Returns the flags in a file and in the files that it includes, without comments."""
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
    """Converts the lists of JSON to tuples, as settings require."""
    if isinstance(content, dict):
        return {name: _with_tuples(value) for name, value in content.items()}
    return tuple(map(_with_tuples, content)) if isinstance(content, list) else content


def _problems(plan: Plan) -> Iterator[str]:
    names = [method.name for method in plan.methods]
    if len(set(names)) < len(names):
        yield f"methods must have different names (got {', '.join(names)})"
    for method in plan.methods:
        if method.kind not in KINDS:
            yield f"method {method.name} has the unknown kind {method.kind!r}; use one of {', '.join(KINDS)}"
        if method.of and (method.of not in names or plan.method(method.of).of):
            yield f"method {method.name} is an ablation of {method.of!r}; use the name of a method that is not an ablation itself"
    starts = [each.name for each in plan.methods if each.kind == "supervised"]
    for method in plan.methods:
        if method.init_from and (
            method.init_from not in starts or len(plan.grid(plan.method(method.init_from))) > 1
        ):
            yield (
                f"method {method.name} starts from {method.init_from!r}; use the name of a method of kind supervised with a single learning rate"
            )
    for name in (
        *plan.pictured,
        *filter(None, [plan.closes_gap]),
        *(name for each in plan.leads for name in (each.method, each.over)),
    ):
        if name not in names:
            yield f"{name!r} is not one of the methods"
    if plan.closes_gap and not {"random", "supervised"} <= set(names):
        yield f"closes_gap={plan.closes_gap} requires the methods random and supervised, between which the gap is"
    if plan.split not in ("test", "validation"):
        yield f"split must be test or validation (got {plan.split!r})"
    for name in ("rates", "supervised_rates", "seeds", "ablation_seeds"):
        if not getattr(plan, name):
            yield f"{name} must not be empty"
    if plan.split == "validation" and len(plan.rates) + len(plan.supervised_rates) > 2:
        yield (
            "rates are chosen on the split validation, so results must not be measured on it; "
            "use the split test, or a single value for rates and for supervised_rates"
        )
    if plan.ablation_seeds != plan.seeds[: len(plan.ablation_seeds)]:
        yield "ablation_seeds must be the first values of seeds"
    if not set(plan.detection_seeds) <= set(plan.seeds):
        yield "detection_seeds must be a subset of seeds"
    if not os.path.isfile(plan.common):
        yield f"flag file not found: {plan.common}"
