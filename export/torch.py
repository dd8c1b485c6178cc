"""Entry point of `python -m export.torch`; see `pixpro_tf.export.commands.torch`."""

import sys

from pixpro_tf.export.commands.torch import main

if __name__ == "__main__":
    sys.exit(main())
