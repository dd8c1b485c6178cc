"""Pre-trains a backbone: `python train.py --flagfile=configs/pixpro.flags`; `--help` lists the flags."""

import sys

from pixpro_tf.training.command import main

if __name__ == "__main__":
    sys.exit(main())
