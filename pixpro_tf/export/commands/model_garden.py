"""Exports a backbone to TF Model Garden: a checkpoint, and experiments that start from it.

python -m export.model_garden --from=runs/mine --output=exported/garden
"""

import sys

from pixpro_tf.export.commands.settings import ExportSettings, command


def _run(settings: ExportSettings) -> None:
    from pixpro_tf.export.model_garden.exporting import export

    export(settings.source, settings.output, **settings.common_arguments)
    print(f"Wrote {settings.output}; its README.md contains the command for TF Model Garden")


main = command(ExportSettings, "model_garden", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
