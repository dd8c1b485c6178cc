"""Program `pixpro-export NAME ...` of the installed package; in a checkout, use `python -m export.NAME ...`."""

import sys

from pixpro_tf.cli.commands import Program

_EXPORTS = ("savedmodel", "od_api", "model_garden", "keras_hub", "torch", "detectron2")

main = Program(
    "pixpro-export",
    "Exports a trained backbone to other frameworks.",
    {name: f"pixpro_tf.export.commands.{name}" for name in _EXPORTS}
    | {"authors": "pixpro_tf.interop.torch.export_command"},
)

if __name__ == "__main__":
    sys.exit(main())
