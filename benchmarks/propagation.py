"""Time and memory of the propagation and the pixel loss, forward and backward, all pairs at once and block by block.

    python -m benchmarks.propagation

Each row of the table comes from processes of their own. Memory is the peak of the first step, its compilation included, less what the
process has when its inputs are there and the same step of a map of four bins has been run. --views=2 computes the propagation of both
views and the loss of both directions, --views=1 one of each. Linux only, for the memory.
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
# What a view of 224 pixels has on c5, p4, p3 and p2, and one of 448 on p2.
SIZES = ("7x7x32", "14x14x16", "28x28x4", "56x56x4", "112x112x1")
CHANNELS = 256


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured: maps of `height` x `width` bins of `batch` images, and how."""

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
    """Seconds of each step, and megabytes above the inputs."""

    seconds: list[float]
    megabytes: float


def measured_apart(case: Case) -> Cost | None:
    """Measures in a process of its own; None if it did not live."""
    found = measuring.apart("benchmarks.propagation", f"--case={json.dumps(vars(case))}")
    return None if isinstance(found, str) else Cost(**found)


def table(rows: list[tuple[str, dict[str, Cost | None]]]) -> str:
    """Both forms side by side: seconds of a step, the median and the range, and megabytes; and how many bytes a bin takes."""
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
    """Which cases are measured."""

    sizes: tuple[str, ...] = flag(SIZES, "Cases", "maps, HEIGHTxWIDTHxIMAGES, with commas")
    loss: str = flag("pixpro", "Cases", "which loss", choices=LOSSES)
    views: int = flag(1, "Cases", "views of each image", choices=(1, 2))
    forms: tuple[str, ...] = flag(FORMS, "Cases", "forms of the computation", choices=FORMS)
    jit: bool = flag(True, "Cases", "compile with XLA")
    repeats: int = flag(5, "Cases", "steps timed of each case", minimum=1)
    json: str = flag("", "Output", "file to write the results to; empty is none")
    case: str = flag("", INTERNAL, "one case, as JSON")

    def __post_init__(self) -> None:
        super().__post_init__()
        for size in self.sizes:
            if not re.fullmatch(r"\d+x\d+x\d+", size):
                refuse(self, "sizes", f"has {size}; write HEIGHTxWIDTHxIMAGES, as 56x56x4")


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
