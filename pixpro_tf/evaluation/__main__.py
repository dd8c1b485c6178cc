"""The evaluations as one command of an installed package, `pixpro-evaluate NAME ...`; also `python -m pixpro_tf.evaluation.NAME ...`."""

import sys

from pixpro_tf.cli.commands import run_subcommand

COMMANDS = {
    name: f"pixpro_tf.evaluation.{name}"
    for name in ("dense", "detection", "linear", "correspondence")
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return run_subcommand("pixpro-evaluate", "Evaluates a trained backbone.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
