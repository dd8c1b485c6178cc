"""A backbone as a Reusable SavedModel, which TF Hub loads without this project.

    python -m export.savedmodel --run=runs/mine --output=exported/mine

`hub.load("exported/mine")(images)` takes images in float32 RGB in [0, 1] and gives `[B, C]`;
`hub.KerasLayer("exported/mine", trainable=True, dtype="float32", arguments=dict(return_endpoints=True))` gives c2 to c5.
"""

import sys

from pixpro_tf.cli.commands import exit_code_of, quiet_tensorflow
from pixpro_tf.export.flags import check_output, make_parser
from pixpro_tf.storage.hub_handles import is_archive


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    parser = make_parser(
        "savedmodel",
        __doc__,
        "folder to make, or with a name that ends with .tar.gz, an archive",
        takes_handles=False,
    )
    parser.add_argument(
        "--include_heads",
        action="store_true",
        help="save the projector and the propagation too, as the endpoints projected and propagated",
    )
    parser.add_argument("--licence", default="", help="of the weights, for the model card")
    flags = vars(parser.parse_args(arguments))
    check_output(flags["run"], flags["output"], flags["overwrite"])
    quiet_tensorflow()
    from pixpro_tf.export.savedmodel import export

    export(**flags)
    output = flags["output"].rstrip("/")
    hub = "and, from an address, hub.load" if is_archive(output) else "and hub.load"
    print(f"Written: {output}; it loads with --init_from={output}, pixpro_tf.load_backbone {hub}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
