"""Tables of the checks of an accelerator, for the terminal and in Markdown."""

import dataclasses
import statistics

from benchmarks import measuring
from benchmarks.step import PRODUCTS, Case, Cost

WHAT = {
    "xla": "XLA compiles for the device",
    "golden": "two steps of a ResNet-50 in float32 agree with the authors' numbers",
    "golden64": "the same in float64",
    "replicas": "two replicas on one device train the weights of one replica",
    "resume": "a killed run resumes bit for bit",
    "input": "pairs of views that the cores of the host prepare",
    "batch_norm": "one synchronised batch norm, forward and backward",
}
Row = tuple[Case, str, Cost | str]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a check: "passed", "failed", "measured" or "skipped", and what was found."""

    check: str
    result: str
    found: str
    seconds: float

    @classmethod
    def of(cls, check: str, found: dict | str, seconds: float) -> "Outcome":
        """Returns the outcome of a check from what its process printed, or from the reason why it printed nothing."""
        if isinstance(found, dict):
            result = {True: "passed", False: "failed", None: "measured"}[found["passed"]]
            return cls(check, result, found["found"], seconds)
        result = "skipped" if found.startswith("skipped") else "failed"
        return cls(check, result, found, seconds)

    @property
    def line(self) -> str:
        """Line for the terminal."""
        return f"{self.check:<11} {self.result:<9}{self.seconds:>5.0f} s  {self.found}"


def markdown(device: dict, outcomes: list[Outcome], rows: list[Row]) -> str:
    """Formats everything in Markdown."""
    gigabytes = device["bytes"] / 1e9
    product = PRODUCTS[device["kind"]]
    lines = [
        f"# {device['name']}",
        "",
        f"{gigabytes:.0f} GB, {device['cores']} cores of the host, TensorFlow {device['tensorflow']}.",
        "",
        "| check | result | seconds | found |",
        "|---|---|---:|---|",
    ]
    lines += [
        f"| {WHAT[each.check]} | {each.result} | {each.seconds:.0f} | {_cell(each.found)} |"
        for each in outcomes
    ]
    if rows:
        lines += [
            "",
            "| training step | batch | images/s | s/step | share of the peak | peak memory |",
            "|---|---:|---:|---:|---:|---:|",
            *(_step_row(*row) for row in rows),
            "",
            f"Medians with the range of the repeats. The peak is a product of two square matrices in the same precision, with {product} rows.",
        ]
    return "\n".join(lines) + "\n"


def _step_row(case: Case, framework: str, cost: Cost | str) -> str:
    mode = (
        "PyTorch, eager"
        if framework == "torch"
        else f"`--jit={case.jit}`" + ("" if case.deterministic else " `--nodeterministic`")
    )
    name = f"{case.backbone}, {case.image_size} pixels, {case.precision}, {mode}"
    if isinstance(cost, str):
        return f"| {name} | {case.batch_size} | {_cell(cost)} | | | |"
    step = statistics.median(cost.seconds)
    shares = [100 * share for share in cost.of_peak]
    return (
        f"| {name} | {case.batch_size} | {case.batch_size / step:.1f} | {step:.3f} ({measuring.spread(cost.seconds, '.3f')}) "
        f"| {statistics.median(shares):.0f} % ({measuring.spread(shares, '.0f')}) | {cost.megabytes / 1e3:.1f} GB |"
    )


def _cell(value: str) -> str:
    return value.replace("|", "\\|")
