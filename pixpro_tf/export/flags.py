"""The flags that all exports have, and what they refuse before any work is done."""

import os

from pixpro_tf.cli.commands import Parser, is_installed_command, refuse_existing
from pixpro_tf.errors import ConfigError


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


def check_output(source: str, output: str, overwrite: bool) -> None:
    """Refuses an output that is there already, or that would replace what it is made from; before any work is done.

    Raises:
        ConfigError: with the reason.
    """
    refuse_existing("output", output, overwrite)
    if "://" in source:
        return
    made, given = (os.path.realpath(os.path.expanduser(path)) for path in (output, source))
    if os.path.commonpath([made, given]) == made:
        raise ConfigError(
            f"--output={output} would replace {source}, which is exported; give another"
        )
