"""Writes a run's weights as a PyTorch checkpoint with the authors' names.

python -m pixpro_tf.interop.torch export --run=runs/mine --output=mine.pth
"""

from pixpro_tf.cli.commands import (
    Parser,
    exit_code_of,
    is_installed_command,
    quiet_tensorflow,
    refuse_existing,
)


def make_parser() -> Parser:
    """The parser of the command."""
    installed = is_installed_command()
    parser = Parser(
        prog="pixpro-export torch" if installed else "python -m pixpro_tf.interop.torch export",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--run", required=True, help="folder of a run")
    parser.add_argument("--output", required=True, help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an output")
    return parser


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    flags = vars(make_parser().parse_args(arguments))
    refuse_existing("output", flags["output"], flags["overwrite"])
    quiet_tensorflow()
    from pixpro_tf.interop.torch.exporting import export_checkpoint

    written = export_checkpoint(**flags)
    print(f"{len(written)} arrays written to {flags['output']}")
