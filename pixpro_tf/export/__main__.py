"""The exports as one command of an installed package, `pixpro-export NAME ...`; in a checkout they are `python -m export.NAME ...`."""

import sys

from pixpro_tf.cli.commands import run_subcommand

COMMANDS = {
    name: f"pixpro_tf.export.commands.{name}"
    for name in ("savedmodel", "od_api", "model_garden", "detectron2")
} | {"torch": "pixpro_tf.interop.torch.export_command"}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return run_subcommand("pixpro-export", "Exports a trained backbone.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
