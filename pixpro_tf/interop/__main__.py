"""Program `pixpro-import NAME ...` of the installed package."""

import sys

from pixpro_tf.cli.commands import Program

main = Program(
    "pixpro-import",
    "Imports weights from other frameworks.",
    {"torch": "pixpro_tf.interop.torch.import_command"},
)

if __name__ == "__main__":
    sys.exit(main())
