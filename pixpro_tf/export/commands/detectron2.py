"""Exports a backbone as the pickle that Detectron2 loads.

    python -m export.detectron2 --from=runs/mine --output=mine.pkl

The command prints the matching Detectron2 settings, which train and synchronise batch norm, as the paper does for fine-tuning.
"""

import dataclasses
import sys

from pixpro_tf.config.flag import required
from pixpro_tf.export.commands.settings import ExportSettings, command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings):
    """Flags of the export to Detectron2."""

    output: str = required("Output", "path of the file to write, e.g. backbone.pkl", path=True)


def _run(settings: Settings) -> None:
    from pixpro_tf.export.detectron2 import export

    lines = export(settings.source, settings.output, **settings.common_arguments)
    print(f"Wrote {settings.output}; add these settings to Detectron2's configuration:")
    print("\n".join(f"  {line}" for line in lines))


main = command(Settings, "detectron2", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
