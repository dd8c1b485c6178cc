"""Pre-trains a backbone: `python train.py --flagfile=configs/pixpro.flags`; `--help` lists the flags."""

import sys

from pixpro_tf.training import command

if __name__ == "__main__":
    sys.exit(command.main(sys.argv))
