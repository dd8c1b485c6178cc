"""Entry point of `python -m export.detectron2`; see `pixpro_tf.export.commands.detectron2`."""

import sys

from pixpro_tf.export.commands.detectron2 import main

if __name__ == "__main__":
    sys.exit(main())
