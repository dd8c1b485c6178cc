"""Exports a backbone to PyTorch, with the names of torchvision and timm.

    python -m export.torch --from=runs/mine --output=mine.safetensors

Files that end in .safetensors do not require PyTorch; .pth files do. pixpro_tf.interop.torch exports a run with its heads and the authors' names.
"""

import dataclasses
import sys

from pixpro_tf.config.flag import required
from pixpro_tf.errors import ConfigError
from pixpro_tf.export.commands.settings import ExportSettings, command

SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings):
    """Flags of the export to PyTorch; raises `ConfigError` if a value is invalid."""

    output: str = required(
        "Output", "file to write: NAME.safetensors, NAME.pth or NAME.pt", path=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.output.endswith(SUFFIXES):
            raise ConfigError(
                f"--output={self.output} must be a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
            )


def _run(settings: Settings) -> None:
    from pixpro_tf.export.torch import export

    lines, images = export(settings.source, settings.output, **settings.common_arguments)
    print(f"Wrote {settings.output}" + ("; load it with" if lines else ""))
    for line in lines:
        print(f"  {line}")
    print(f"Images: {images}")


main = command(Settings, "torch", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
