"""Compares the step time of this checkout with that of another one, using the same flags.

    git worktree add /tmp/before OLD_COMMIT
    python -m benchmarks.compare_checkouts --other=/tmp/before --rounds=3 \
        --flags="--flagfile=configs/pixpro.flags --dataset=scenes/128 --data_dir=data --batch_size=8 --max_steps=12"

The checkouts take turns, and each round starts new processes, so that other load on the machine affects both. The result of a round is the
median of its steps without the first two, which compile. `--flags` are flags of `train.py`; `--run_dir` and `--log_every` are set here.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measuring import reason
from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings
from pixpro_tf.config.flag import flag, refuse, required
from pixpro_tf.errors import RunError

HERE = pathlib.Path(__file__).parent.parent
COMPILED_STEPS = 2


def seconds_per_step(checkout: pathlib.Path, flags: list[str]) -> float:
    """Measures the median step time of a short run of a checkout, from the throughput that it logs.

    Raises:
        RunError: if the run failed or was too short.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.run(
            [sys.executable, "train.py", *flags, f"--run_dir={folder}/run", "--log_every=1"],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if process.returncode:
            raise RunError(
                f"{checkout}: train.py failed: {reason(process.returncode, process.stderr)}"
            )
        run = pathlib.Path(folder) / "run"
        batch_size = json.loads((run / "config.json").read_text())["flags"]["batch_size"]
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [line["images_per_second"] for line in lines[COMPILED_STEPS:]]
    if not rates:
        raise RunError(
            f"the run is too short to time; in --flags, pass --max_steps greater than {COMPILED_STEPS}"
        )
    return batch_size / statistics.median(rates)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Settings of the comparison."""

    other: str = required("Comparison", "folder of the other checkout")
    flags: str = required("Comparison", "flags of train.py in one string, separated by spaces")
    rounds: int = flag(
        3, "Comparison", "number of rounds; each checkout runs once per round", minimum=1
    )


def _run(asked: Settings) -> None:
    other = pathlib.Path(asked.other).resolve()
    if not (other / "train.py").is_file():
        refuse(asked, "other", "does not contain train.py; pass the folder of a checkout")
    try:
        words = shlex.split(asked.flags)
    except ValueError as error:
        refuse(asked, "flags", f"cannot be split into flags: {error}; close each quotation mark")
    flags = [
        # Each checkout runs in its own folder but reads the same data.
        f"--data_dir={os.path.abspath(given.removeprefix('--data_dir='))}"
        if given.startswith("--data_dir=")
        else given
        for given in words
    ]
    ratios = []
    for number in range(1, asked.rounds + 1):
        theirs, ours = (seconds_per_step(checkout, flags) for checkout in (other, HERE))
        ratios.append(ours / theirs)
        print(
            f"round {number}: other {theirs:.3f} s, this {ours:.3f} s a step, ratio {ratios[-1]:.3f}"
        )
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


main = Command(Settings, __doc__, "python -m benchmarks.compare_checkouts", _run)

if __name__ == "__main__":
    sys.exit(main())
