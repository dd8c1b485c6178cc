"""Converts between PyTorch's checkpoints and this project's.

python -m pixpro_tf.interop.torch import --checkpoint=pixpro.pth --output=runs/imported
python -m pixpro_tf.interop.torch export --run=runs/mine --output=mine.pth
"""

import sys

from pixpro_tf.cli.commands import run_subcommand

COMMANDS = {
    "import": "pixpro_tf.interop.torch.import_command",
    "export": "pixpro_tf.interop.torch.export_command",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    description = (__doc__ or "").splitlines()[0]
    return run_subcommand("python -m pixpro_tf.interop.torch", description, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
