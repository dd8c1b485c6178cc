"""A backbone as the pickle that Detectron2 loads.

    python -m export.detectron2 --from=runs/mine --output=mine.pkl

The command prints the settings that go with it, with the norms trained and synchronised as the paper fine-tunes.
"""

import sys

from pixpro_tf.cli.commands import exit_code_of, quiet_tensorflow
from pixpro_tf.export.flags import check_output, make_parser


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    parser = make_parser("detectron2", __doc__, "file to write, as backbone.pkl")
    flags = vars(parser.parse_args(arguments))
    check_output(flags["source"], flags["output"], flags["overwrite"])
    quiet_tensorflow()
    from pixpro_tf.export.detectron2 import export

    lines = export(**flags)
    print(f"Written: {flags['output']}; in Detectron2's configuration:")
    print("\n".join(f"  {line}" for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
