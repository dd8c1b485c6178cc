"""The imports as one command of an installed package, `pixpro-import NAME ...`."""

import sys

from pixpro_tf.cli.commands import run_subcommand

COMMANDS = {"torch": "pixpro_tf.interop.torch.import_command"}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return run_subcommand("pixpro-import", "Imports the weights of others.", COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
