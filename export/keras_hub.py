"""Entry point of `python -m export.keras_hub`; see `pixpro_tf.export.commands.keras_hub`."""

import sys

from pixpro_tf.export.commands.keras_hub import main

if __name__ == "__main__":
    sys.exit(main())
