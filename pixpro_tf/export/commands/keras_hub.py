"""Exports a backbone as a preset of KerasHub, which Keras 3 loads on TensorFlow, JAX and PyTorch.

    python -m export.keras_hub --from=runs/mine --output=exported/mine

The folder loads by keras_hub.models.ResNetBackbone.from_preset; KerasHub is not required to write it.
"""

import dataclasses
import sys

from pixpro_tf.export.commands.settings import ExportSettings, command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings):
    """Flags of the export to KerasHub."""


def _run(settings: Settings) -> None:
    from pixpro_tf.export.keras_hub import export

    export(settings.source, settings.output, **settings.common_arguments)
    print(f"Wrote {settings.output}; load it with")
    print(f'  keras_hub.models.ResNetBackbone.from_preset("{settings.output}")')


main = command(Settings, "keras_hub", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
