"""Measures time, arithmetic and memory of a training step on one device.

    python -m benchmarks.step
    python -m benchmarks.step --backbones=resnet18,resnet50 --batch_sizes=8,16 --precisions=float32,bfloat16 --jit_modes=ppm,step
    python -m benchmarks.step --recipe=configs/pixpro_fpn.flags --batch_sizes=8,24 --repeats=1

The step is that of `train.py` with the flags of the main recipe, or of `--recipe`, on random views in memory. Each row is measured in its
own process (Linux only, because of the memory measurement). `images/s` counts images; a step sees two views of each. `GFLOP/s` counts the
convolutions and matrix products of the method (see `flops.py`). `of peak` is `GFLOP/s` relative to `peak`, the product of two 4096 x 4096
matrices (16384 x 16384 on a GPU) in the row's precision, timed after each step. `first step` includes building the model. `MB` is the peak memory of the whole
process, or of the GPU, before those products; two or more batch sizes also show the memory of each additional image. With
--augment_on=device, `colours` is the share of the photometric augmentation, timed alone.

--torch also measures the same algorithm in plain PyTorch (`tests/support/reference_torch.py`, eager): in float32 with maps in NCHW, and in
half precision with autocast and maps in channels-last order, which is fastest on GPUs.
"""

import collections
import dataclasses
import functools
import importlib
import json
import statistics
import sys

from benchmarks import measuring
from pixpro_tf.cli import command_line
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config import Config
from pixpro_tf.config.flag import INTERNAL, flag
from pixpro_tf.errors import ConfigError

# Values that the flags of train.py allow.
PRECISIONS = ("float32", "bfloat16", "float16")
CHOICES = {field.name: field.metadata["choices"] for field in dataclasses.fields(Config)}
# Rows of the square matrices of the product. A small one takes a fast GPU hardly longer than starting it.
PRODUCTS = {"CPU": 4096, "GPU": 16384}
# Length of an epoch for the schedules; any number that the benchmark does not reach.
STEPS_PER_EPOCH = 1000
# Images per GPU: the recipes train with batches of 1024 images on eight GPUs.
PER_GPU = 128
# Number of steps before the measured ones; memory reaches its peak in them.
WARM_UP = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """Settings of one row of the table."""

    backbone: str
    batch_size: int
    precision: str
    jit: str
    augment_on: str = "host"
    image_size: int = 224
    repeats: int = 7
    recipe: str = ""
    deterministic: bool = True

    def config(self) -> Config:
        """Returns the config of a run with the flags of the recipe and of this case."""
        flags = {
            "strategy": "one_device",
            "tpu": "",
            "backbone": self.backbone,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "jit": self.jit,
            "augment_on": self.augment_on,
            "image_size": self.image_size,
            "deterministic": self.deterministic,
        }
        file = [f"--flagfile={self.recipe}"] if self.recipe else []
        given = [f"--{name}={value}" for name, value in flags.items()]
        found = command_line.parse(Config, [*file, *given])
        assert found is not None
        return found


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a case.

    Attributes:
        device: name of the device.
        flops: floating-point operations of a step.
        seconds: seconds of each step.
        product_flops: FLOP/s of the matrix product after each step.
        colours: seconds of the photometric augmentation, one value per step; empty if the step does not include it.
        megabytes: peak memory.
        first_step: seconds of the first step, including building the model.
    """

    device: str
    flops: int
    seconds: list[float]
    product_flops: list[float]
    colours: list[float]
    megabytes: float
    first_step: float

    @property
    def of_peak(self) -> list[float]:
        """Share of the peak FLOP/s in each step."""
        pairs = zip(self.seconds, self.product_flops, strict=True)
        return [self.flops / seconds / peak for seconds, peak in pairs]


def table(rows: list[tuple[Case, str, Cost | str]]) -> str:
    """Formats a row for each case: medians, followed by ranges."""
    lines = [
        f"{'backbone':<17}{'batch':>5}  {'precision':<10}{'jit':<6}{'images/s':>8}  {'s/step':<22}{'GFLOP':>6}{'GFLOP/s':>9}"
        f"  {'of peak':<16}{'peak':>6}{'colours':>9}{'MB':>7}{'first step':>12}"
    ]
    for case, framework, cost in rows:
        mode = framework if framework == "torch" else case.jit
        line = f"{case.backbone:<17}{case.batch_size:>5}  {case.precision:<10}{mode:<6}"
        if isinstance(cost, str):
            lines.append(f"{line}  {cost}")
            continue
        step = statistics.median(cost.seconds)
        seconds = f"{step:.3f} ({measuring.spread(cost.seconds, '.3f')})"
        shares = [100 * share for share in cost.of_peak]
        of_peak = f"{statistics.median(shares):.0f} % ({measuring.spread(shares, '.0f')})"
        colours = f"{statistics.median(cost.colours) / step:.1%}" if cost.colours else ""
        lines.append(
            f"{line}{case.batch_size / step:>8.2f}  {seconds:<22}{cost.flops / 1e9:>6.1f}{cost.flops / 1e9 / step:>9.1f}"
            f"  {of_peak:<16}{statistics.median(cost.product_flops) / 1e9:>6.0f}{colours:>9}{cost.megabytes:>7.0f}"
            f"{cost.first_step:>10.1f} s{'' if case.deterministic else '  --nodeterministic'}"
        )
    return "\n".join(lines)


def ratios(rows: list[tuple[Case, str, Cost | str]]) -> str:
    """Formats the throughput relative to PyTorch, for each case that was also run in PyTorch."""
    of_torch = {case: cost for case, framework, cost in rows if framework == "torch"}
    lines = []
    for case, framework, cost in rows:
        other = of_torch.get(dataclasses.replace(case, jit="off", augment_on="host"))
        if framework == "torch" or isinstance(cost, str) or other is None or isinstance(other, str):
            continue
        ratio = statistics.median(other.seconds) / statistics.median(cost.seconds)
        lines.append(
            f"{case.backbone}, {case.batch_size} images, --jit={case.jit}: {ratio:.2f} times PyTorch's images/s"
        )
    return "\n".join(lines)


def memory_by_image(rows: list[tuple[Case, str, Cost | str]]) -> str:
    """Formats the memory per additional image and per GPU, in one line for all cases that differ only in batch size."""
    peaks: dict[tuple[Case, str], dict[int, float]] = collections.defaultdict(dict)
    for case, framework, cost in rows:
        if isinstance(cost, Cost):
            alike = dataclasses.replace(case, batch_size=0), framework
            peaks[alike][case.batch_size] = cost.megabytes
    lines = []
    for (case, framework), by_size in peaks.items():
        small, large = min(by_size), max(by_size)
        if small == large:
            continue
        each = (by_size[large] - by_size[small]) / (large - small)
        mode = framework if framework == "torch" else f"--jit={case.jit}"
        lines.append(
            f"{case.backbone}, {case.precision}, {mode}: {each:.0f} MB per image plus {by_size[small] - small * each:.0f} MB; "
            f"{(by_size[small] + (PER_GPU - small) * each) / 1e3:.1f} GB with {PER_GPU} images"
        )
    return "\n".join(lines)


def _cases(flags: "Settings") -> list[tuple[Case, str]]:
    cases = []
    for backbone in flags.backbones:
        for batch_size in flags.batch_sizes:
            alike = functools.partial(
                Case,
                backbone,
                batch_size,
                image_size=flags.image_size,
                repeats=flags.repeats,
                recipe=flags.recipe,
            )
            for precision in flags.precisions:
                for jit in flags.jit_modes:
                    cases.append((alike(precision, jit, flags.augment_on), "tensorflow"))
            if flags.torch:
                cases += [(alike(precision, "off"), "torch") for precision in flags.precisions]
    return cases


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Cases to measure."""

    backbones: tuple[str, ...] = flag(
        ("resnet50",), "Cases", "architectures, separated by commas", choices=CHOICES["backbone"]
    )
    batch_sizes: tuple[int, ...] = flag(
        (8,), "Cases", "batch sizes, separated by commas", unit="images", minimum=1
    )
    precisions: tuple[str, ...] = flag(
        ("float32",), "Cases", "precisions, separated by commas", choices=PRECISIONS
    )
    jit_modes: tuple[str, ...] = flag(
        ("ppm",), "Cases", "parts that XLA compiles, separated by commas", choices=CHOICES["jit"]
    )
    augment_on: str = flag(
        "host", "Cases", "where photometric augmentation runs", choices=CHOICES["augment_on"]
    )
    image_size: int = flag(224, "Cases", "side of a view", unit="pixels", minimum=1)
    recipe: str = flag(
        "", "Cases", "flag file of the run to measure; the flags of this command override it"
    )
    torch: bool = flag(False, "Cases", "whether to measure PyTorch too")
    repeats: int = flag(7, "Cases", "number of timed steps per case", minimum=1)
    json: str = flag("", "Output", "JSON file for the results; empty to write none")
    case: str = flag("", INTERNAL, "one case, as JSON")
    framework: str = flag("", INTERNAL, "framework of the case")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.torch and self.recipe:
            raise ConfigError("--torch measures the main recipe only; remove --recipe")


def _run(flags: Settings) -> None:
    if flags.case:
        case = Case(**json.loads(flags.case))
        module = "step_cost_torch" if flags.framework == "torch" else "step_cost"
        cost = importlib.import_module(f"benchmarks.{module}").measure(case)
        print(json.dumps(vars(cost)))
        return

    rows: list[tuple[Case, str, Cost | str]] = []
    for case, framework in _cases(flags):
        found = measuring.apart(
            "benchmarks.step", f"--case={json.dumps(vars(case))}", f"--framework={framework}"
        )
        rows.append((case, framework, found if isinstance(found, str) else Cost(**found)))
    devices = {cost.device for _, _, cost in rows if isinstance(cost, Cost)}
    print(", ".join(sorted(devices)))
    print(table(rows))
    if by_image := memory_by_image(rows):
        print(by_image)
    if flags.torch:
        print(ratios(rows))
    if flags.json:
        results = [
            {"framework": framework, "case": vars(case), "cost": _plain(cost)}
            for case, framework, cost in rows
        ]
        with open(flags.json, "w") as file:
            json.dump(results, file, indent=2)


def _plain(cost):
    return cost if isinstance(cost, str) else vars(cost)


main = Command(Settings, __doc__, "python -m benchmarks.step", _run)

if __name__ == "__main__":
    sys.exit(main())
