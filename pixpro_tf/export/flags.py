"""The flags that all exports have."""

from pixpro_tf.cli.commands import Parser, is_installed_command


def make_parser(name: str, description: str, output: str, *, takes_handles: bool = True) -> Parser:
    """A parser with `--from` or `--run`, `--output`, `--network`, `--allow_unfinished` and `--overwrite`.

    Args:
        name: of the module in this package.
        description: whose first line heads the help.
        output: what `--output` is.
        takes_handles: whether it exports from SavedModels too, and not from runs only.
    """
    prog = f"pixpro-export {name}" if is_installed_command() else f"python -m export.{name}"
    parser = Parser(prog=prog, description=description.splitlines()[0])
    if takes_handles:
        parser.add_argument(
            "--from",
            dest="source",
            required=True,
            help="folder of a run or of imported weights, or TF Hub-style handle of a SavedModel that export.savedmodel wrote: "
            "folder, .tar.gz, gs:// or https://; a SavedModel is a program: load only those you trust",
        )
    else:
        parser.add_argument("--run", required=True, help="folder of a run, or of imported weights")
    parser.add_argument("--output", required=True, help=output)
    parser.add_argument(
        "--network",
        choices=("online", "target"),
        help="which of a run's two networks (default: online)",
    )
    parser.add_argument(
        "--allow_unfinished",
        action="store_true",
        help="take a run that has not made all its steps",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output")
    return parser
