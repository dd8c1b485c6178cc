"""A backbone for TF Model Garden: checkpoint, and experiments that start from it.

python -m export.model_garden --from=runs/mine --output=exported/garden
"""

import sys

from pixpro_tf.cli.commands import exit_code_of, quiet_tensorflow
from pixpro_tf.export.flags import check_output, make_parser


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    flags = vars(make_parser("model_garden", __doc__, "folder to make").parse_args(arguments))
    check_output(flags["source"], flags["output"], flags["overwrite"])
    quiet_tensorflow()
    from pixpro_tf.export.model_garden.exporting import export

    export(**flags)
    print(f"Written: {flags['output']}; its README.md has the Garden's command")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
