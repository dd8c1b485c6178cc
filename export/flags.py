"""The flags that all exports have."""

from pixpro_tf.commands import Parser


def make_parser(name: str, description: str, output: str) -> Parser:
    """A parser with `--run`, `--output`, `--network` and `--overwrite`.

    Args:
        name: of the module in this package.
        description: whose first line heads the help.
        output: what `--output` is.
    """
    parser = Parser(prog=f"python -m export.{name}", description=description.splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of a run, or of imported weights")
    parser.add_argument("--output", required=True, help=output)
    parser.add_argument(
        "--network",
        choices=("online", "target"),
        default="online",
        help="which of the two networks (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output")
    return parser
