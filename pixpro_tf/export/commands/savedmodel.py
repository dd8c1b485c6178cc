"""Exports a backbone as a Reusable SavedModel, which TF Hub loads without this project.

    python -m export.savedmodel --from=runs/mine --output=exported/mine

`hub.load("exported/mine")(images)` takes float32 RGB images in [0, 1] and returns `[B, C]`;
`hub.KerasLayer("exported/mine", trainable=True, dtype="float32", arguments=dict(return_endpoints=True))` returns c2 to c5.
"""

import dataclasses
import sys

from pixpro_tf.cli.settings import run_flag
from pixpro_tf.config.flag import flag, required
from pixpro_tf.export.commands.settings import ExportSettings, command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ExportSettings):
    """Flags of the export as a SavedModel."""

    source: str = run_flag()
    output: str = required(
        "Output",
        "folder to create; a name that ends with .tar.gz creates an archive instead",
        path=True,
    )
    include_heads: bool = flag(
        False,
        "Output",
        "whether to also save the projector and the propagation, as the endpoints projected and propagated",
    )
    licence: str = flag("", "Output", "licence of the weights, for the model card")


def _run(settings: Settings) -> None:
    from pixpro_tf.export.savedmodel import export
    from pixpro_tf.storage.hub_handles import is_archive

    export(
        settings.source,
        settings.output,
        include_heads=settings.include_heads,
        licence=settings.licence,
        **settings.common_arguments,
    )
    output = settings.output.rstrip("/")
    hub = "or, from an https:// or gs:// address, hub.load" if is_archive(output) else "or hub.load"
    print(f"Wrote {output}; load it with --init_from={output}, pixpro_tf.load_backbone {hub}")


main = command(Settings, "savedmodel", __doc__, _run)

if __name__ == "__main__":
    sys.exit(main())
