"""Entry point of `python -m export.savedmodel`; see `pixpro_tf.export.commands.savedmodel`."""

import sys

from pixpro_tf.export.commands.savedmodel import main

if __name__ == "__main__":
    sys.exit(main())
