"""The imports as one program of an installed package, `pixpro-import NAME ...`."""

import sys

from pixpro_tf.cli.commands import Program

main = Program(
    "pixpro-import",
    "Imports the weights of others.",
    {"torch": "pixpro_tf.interop.torch.import_command"},
)

if __name__ == "__main__":
    sys.exit(main())
