"""Imports a PyTorch checkpoint into a folder that `--init_from` and the exports accept.

python -m pixpro_tf.interop.torch import --checkpoint=pixpro.pth --output=runs/imported
"""

import dataclasses

from pixpro_tf.cli.commands import Command, called
from pixpro_tf.cli.settings import CheckedSettings, overwrite_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.errors import listed
from pixpro_tf.interop.torch import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Flags of the import, including settings that a file may not contain."""

    checkpoint: str = required(
        "Checkpoint",
        "path of a PyTorch file: the authors' PixPro, MoCo, a model of MMLab's tools, or a torchvision ResNet",
    )
    output_stride: int = flag(
        32,
        "Checkpoint",
        "output stride of the backbone, if the file does not contain it",
        choices=(8, 16, 32),
    )
    gamma: float = flag(
        2.0, "Checkpoint", "sharpness of the propagation, if the file does not contain it"
    )
    resume_training: bool = flag(
        False,
        "Checkpoint",
        "whether to also import momentum and step, so that train.py --run_dir=OUTPUT resumes the run",
    )
    output: str = required("Output", "folder to create", path=True)
    overwrite: bool = overwrite_flag()


def _run(settings: Settings) -> None:
    output = settings.output
    file = files.read(settings.checkpoint)
    from pixpro_tf.interop.torch.importing import import_file

    done = import_file(
        file,
        output,
        output_stride=settings.output_stride,
        gamma=settings.gamma,
        resume_training=settings.resume_training,
        overwrite=settings.overwrite,
    )
    print(f"Imported {done.num_arrays} arrays of a {done.backbone} ({done.kind}) to {output}")
    if done.kind == "ResNet":
        # As in torchvision; the file does not say.
        print(
            "Images are assumed to be RGB, normalised with ImageNet's mean and standard deviation"
        )
    if done.passed_over:
        print(f"Skipped: {listed(done.passed_over, 5)}")
    train = called("python train.py", "pixpro-train")
    if done.step is not None:
        print(f"Resume the run from step {done.step}: {train} --run_dir={output} {done.go_on}")
    else:
        print(f"Start a run from these weights: {train} --flagfile=... --init_from={output}")


main = Command(
    Settings, __doc__, "python -m pixpro_tf.interop.torch import", _run, "pixpro-import torch"
)
