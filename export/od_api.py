"""Entry point of `python -m export.od_api`; see `pixpro_tf.export.commands.od_api`."""

import sys

from pixpro_tf.export.commands.od_api import main

if __name__ == "__main__":
    sys.exit(main())
