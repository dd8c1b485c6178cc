"""Exports the weights of a run as a PyTorch checkpoint with the authors' names.

python -m pixpro_tf.interop.torch export --from=runs/mine --output=mine.pth
"""

import dataclasses

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import CheckedSettings, allow_unfinished_flag, overwrite_flag, run_flag
from pixpro_tf.config.flag import required


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(CheckedSettings):
    """Flags of the export to PyTorch."""

    source: str = run_flag()
    allow_unfinished: bool = allow_unfinished_flag()
    output: str = required("Output", "path of the file to write", path=True)
    overwrite: bool = overwrite_flag()


def _run(settings: Settings) -> None:
    from pixpro_tf.interop.torch.exporting import export_checkpoint

    written = export_checkpoint(
        settings.source,
        settings.output,
        allow_unfinished=settings.allow_unfinished,
        overwrite=settings.overwrite,
    )
    print(f"Wrote {len(written)} arrays to {settings.output}")


main = Command(
    Settings, __doc__, "python -m pixpro_tf.interop.torch export", _run, "pixpro-export authors"
)
