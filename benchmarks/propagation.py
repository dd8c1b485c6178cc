"""Measures time and memory of the propagation and the pixel loss, forward and backward, dense and blockwise.

    python -m benchmarks.propagation

The dense form computes all pairs of bins at once, the blockwise form one block of pairs at a time. Each case runs in its own process.
Memory is the peak of the first step, including its compilation, minus the memory of the process once the inputs exist and the same step has
run on a map of four bins. --views=2 computes the propagation of both views and the loss in both directions, --views=1 one of each. Requires
Linux, because of the memory measurement.
"""

import dataclasses
import json
import re
import statistics
import sys

from benchmarks import measuring
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import INTERNAL, flag, refuse

FORMS = ("dense", "blockwise")
LOSSES = ("pixpro", "pixcontrast")
# Map sizes and images: a view of 224 pixels on c5, p4, p3 and p2, and a view of 448 pixels on p2.
SIZES = ("7x7x32", "14x14x16", "28x28x4", "56x56x4", "112x112x1")
CHANNELS = 256


@dataclasses.dataclass(frozen=True)
class Case:
    """Case to measure: maps of `height` x `width` bins for `batch` images, and how to compute them."""

    height: int
    width: int
    batch: int
    form: str
    loss: str = "pixpro"
    views: int = 1
    jit: bool = True
    repeats: int = 5


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of each step, and megabytes in addition to the inputs."""

    seconds: list[float]
    megabytes: float


def measured_apart(case: Case) -> Cost | None:
    """Measures a case in its own process; returns None if the process failed."""
    found = measuring.apart("benchmarks.propagation", f"--case={json.dumps(vars(case))}")
    return None if isinstance(found, str) else Cost(**found)


def table(rows: list[tuple[str, dict[str, Cost | None]]]) -> str:
    """Formats both forms side by side: seconds per step (median and range), megabytes, and kilobytes per bin."""
    lines = [
        f"{'map x images':<14}{'bins':>7}"
        + "".join(f"{form:>36}{'MB':>8}{'KB/bin':>8}" for form in FORMS)
        + f"{'time ratio':>12}"
    ]
    for size, costs in rows:
        height, width, batch = map(int, size.split("x"))
        line, medians = f"{size:<14}{height * width:>7}", []
        for form in FORMS:
            cost = costs.get(form)
            if cost is None:
                line += f"{'not measured':>52}"
                continue
            medians.append(statistics.median(cost.seconds))
            seconds = f"{medians[-1]:.3f} s ({measuring.spread(cost.seconds, '.3f')})"
            of_a_bin = cost.megabytes * 1e3 / (height * width * batch)
            line += f"{seconds:>36}{cost.megabytes:>8.0f}{of_a_bin:>8.1f}"
        lines.append(line + (f"{medians[1] / medians[0]:>12.2f}" if len(medians) == 2 else ""))
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Cases to measure."""

    sizes: tuple[str, ...] = flag(
        SIZES, "Cases", "sizes of the maps as HEIGHTxWIDTHxIMAGES, separated by commas"
    )
    loss: str = flag("pixpro", "Cases", "pixel loss", choices=LOSSES)
    views: int = flag(1, "Cases", "number of views of each image", choices=(1, 2))
    forms: tuple[str, ...] = flag(
        FORMS, "Cases", "forms of the computation, separated by commas", choices=FORMS
    )
    jit: bool = flag(True, "Cases", "whether to compile with XLA")
    repeats: int = flag(5, "Cases", "number of timed steps per case", minimum=1)
    json: str = flag("", "Output", "JSON file for the results; empty to write none")
    case: str = flag("", INTERNAL, "one case, as JSON")

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in self.sizes:
            if not re.fullmatch(r"\d+x\d+x\d+", size):
                refuse(
                    self,
                    "sizes",
                    f"contains the invalid size {size}; use HEIGHTxWIDTHxIMAGES, e.g. 56x56x4",
                )


def _run(flags: Settings) -> None:
    if flags.case:
        from benchmarks.propagation_cost import measure

        print(json.dumps(vars(measure(Case(**json.loads(flags.case))))))
        return

    rows = []
    for size in flags.sizes:
        height, width, batch = map(int, size.split("x"))
        costs = {
            form: measured_apart(
                Case(
                    height,
                    width,
                    batch,
                    form,
                    flags.loss,
                    flags.views,
                    flags.jit,
                    flags.repeats,
                )
            )
            for form in flags.forms
        }
        rows.append((size, costs))
    print(table(rows))
    if flags.json:
        figures = {
            size: {form: cost and vars(cost) for form, cost in costs.items()}
            for size, costs in rows
        }
        with open(flags.json, "w") as file:
            json.dump({"flags": vars(flags), "results": figures}, file, indent=2)


main = Command(Settings, __doc__, "python -m benchmarks.propagation", _run)

if __name__ == "__main__":
    sys.exit(main())
