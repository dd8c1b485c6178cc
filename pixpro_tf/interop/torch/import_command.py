"""Reads a PyTorch checkpoint and writes a folder that `--init_from` and the exports take.

python -m pixpro_tf.interop.torch import --checkpoint=pixpro.pth --output=runs/imported
"""

from pixpro_tf.cli.commands import (
    Parser,
    exit_code_of,
    is_installed_command,
    quiet_tensorflow,
    refuse_existing,
)
from pixpro_tf.errors import listed
from pixpro_tf.interop.torch import files


def make_parser() -> Parser:
    """The parser of the command."""
    installed = is_installed_command()
    parser = Parser(
        prog="pixpro-import torch" if installed else "python -m pixpro_tf.interop.torch import",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="PyTorch file: of the authors' PixPro, of MoCo, of MMLab's tools, or a torchvision ResNet",
    )
    parser.add_argument("--output", required=True, help="folder to make")
    parser.add_argument(
        "--output_stride",
        type=int,
        default=32,
        choices=(8, 16, 32),
        help="output stride of the backbone, if the file's options do not say (default: %(default)s)",
    )
    parser.add_argument(
        "--gamma",
        type=float,
        default=2.0,
        help="sharpness of the propagation, if the file's options do not say (default: %(default)s)",
    )
    parser.add_argument(
        "--resume_training",
        action="store_true",
        help="take over momentum and step too, so that train.py --run_dir=OUTPUT goes on with the run",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output")
    return parser


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code and prints every user's mistake as one line."""
    return exit_code_of(lambda: _run(arguments))


def _run(arguments: list[str]) -> None:
    flags = vars(make_parser().parse_args(arguments))
    checkpoint, output = flags.pop("checkpoint"), flags.pop("output")
    refuse_existing("output", output, flags["overwrite"])
    quiet_tensorflow()
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
