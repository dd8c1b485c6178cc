"""Converts between PyTorch's checkpoints and this project's.

python -m pixpro_tf.interop.torch import --checkpoint=pixpro.pth --output=runs/imported
python -m pixpro_tf.interop.torch export --run=runs/mine --output=mine.pth
"""

import sys
from typing import Any

from pixpro_tf.cli.commands import Parser, exit_code_of, quiet_tensorflow, refuse_existing
from pixpro_tf.errors import listed
from pixpro_tf.interop.torch import files


def make_parser() -> Parser:
    """The parser of both commands."""
    parser = Parser(prog="python -m pixpro_tf.interop.torch", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="import|export")

    importing = commands.add_parser(
        "import",
        help="reads a .pth file and writes a folder that --init_from and the exports take",
    )
    importing.add_argument(
        "--checkpoint",
        required=True,
        help="PyTorch file: of the authors' PixPro, of MoCo, of MMLab's tools, or a torchvision ResNet",
    )
    importing.add_argument("--output", required=True, help="folder to make")
    importing.add_argument(
        "--output_stride",
        type=int,
        default=32,
        choices=(8, 16, 32),
        help="of the backbone, where the file's options do not say (default: %(default)s)",
    )
    importing.add_argument(
        "--gamma",
        type=float,
        default=2.0,
        help="of the propagation, where the file's options do not say (default: %(default)s)",
    )
    importing.add_argument(
        "--resume_training",
        action="store_true",
        help="take over momentum and step too, so that train.py --run_dir=OUTPUT goes on with the run",
    )
    exporting = commands.add_parser(
        "export", help="writes a run's weights as a .pth file with the authors' names"
    )
    exporting.add_argument("--run", required=True, help="folder of a run")
    exporting.add_argument("--output", required=True, help="file to write")
    for command in (importing, exporting):
        command.add_argument("--overwrite", action="store_true", help="replace an output")
    return parser


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    flags = vars(make_parser().parse_args(arguments))
    command = flags.pop("command")
    refuse_existing("output", flags["output"], flags["overwrite"])
    quiet_tensorflow()
    if command == "import":
        _import(**flags)
    else:
        _export(**flags)


def _import(checkpoint: str, output: str, **flags: Any) -> None:
    file = files.read(checkpoint)
    from pixpro_tf.interop.torch.importing import import_file

    done = import_file(file, output, **flags)
    print(f"{done.kind} with a {done.backbone}: {done.num_arrays} arrays written to {output}")
    if done.passed_over:
        print(f"Passed over: {listed(done.passed_over, 5)}")
    if done.step is not None:
        print(
            f"The run goes on from step {done.step}: python train.py --run_dir={output} {done.go_on}"
        )
    else:
        print(f"Start from it: python train.py --flagfile=... --init_from={output}")


def _export(**flags: Any) -> None:
    from pixpro_tf.interop.torch.exporting import export_checkpoint

    written = export_checkpoint(**flags)
    print(f"{len(written)} arrays written to {flags['output']}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
