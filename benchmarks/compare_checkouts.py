"""Step time of this checkout and of another one, on the same flags, in one run.

    git worktree add /tmp/before OLD_COMMIT
    python -m benchmarks.compare_checkouts --other=/tmp/before --rounds=3 -- \
        --flagfile=configs/pixpro.flags --dataset=scenes/128 --data_dir=data --batch_size=8 --max_steps=12

The two take turns, each round in new processes, so that what else the machine does meets both; a round's figure is the median of its steps
without the first two, which compile. Flags after `--` are those of `train.py`, whose `--run_dir` and `--log_every` are set here.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent.parent
COMPILED_STEPS = 2


def seconds_per_step(checkout: pathlib.Path, flags: list[str]) -> float:
    """Median step of a short run of a checkout, by the rate that it logs.

    Raises:
        SystemExit: if the run failed, or was too short.
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
            errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
            sys.exit(f"{checkout}: train.py failed: {' '.join(errors) or process.stderr[-500:]}")
        run = pathlib.Path(folder) / "run"
        batch_size = json.loads((run / "config.json").read_text())["flags"]["batch_size"]
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [line["images_per_second"] for line in lines[COMPILED_STEPS:]]
    if not rates:
        sys.exit(f"too few steps to time: give --max_steps of more than {COMPILED_STEPS}")
    return batch_size / statistics.median(rates)


def main(arguments: list[str]) -> None:
    """Runs a command line, without the command's name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", required=True, help="folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("flags", nargs="*", help="of train.py, after --")
    asked = parser.parse_args(arguments)
    other = pathlib.Path(asked.other).resolve()
    if not (other / "train.py").is_file():
        sys.exit(f"--other={asked.other} has no train.py; give the folder of a checkout")
    flags = [
        # Each runs in its own folder, and reads the same data.
        f"--data_dir={os.path.abspath(flag.removeprefix('--data_dir='))}"
        if flag.startswith("--data_dir=")
        else flag
        for flag in asked.flags
    ]
    ratios = []
    for number in range(1, asked.rounds + 1):
        theirs, ours = (seconds_per_step(checkout, flags) for checkout in (other, HERE))
        ratios.append(ours / theirs)
        print(
            f"round {number}: other {theirs:.3f} s, this {ours:.3f} s a step, ratio {ratios[-1]:.3f}"
        )
    print(f"median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main(sys.argv[1:])
