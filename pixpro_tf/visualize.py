"""Entry point of `python -m pixpro_tf.visualize`; see `pixpro_tf.evaluation.visualize`."""

import sys

from pixpro_tf.evaluation.visualize import main

if __name__ == "__main__":
    sys.exit(main())
