"""Entry point of `python -m export.model_garden`; see `pixpro_tf.export.commands.model_garden`."""

import sys

from pixpro_tf.export.commands.model_garden import main

if __name__ == "__main__":
    sys.exit(main())
