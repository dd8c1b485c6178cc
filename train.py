"""Pre-trains a backbone: `python train.py --flagfile=configs/pixpro.flags`; `--help` lists the flags."""

import sys

from pixpro_tf import command_line

if __name__ == "__main__":
    sys.exit(command_line.main(sys.argv))
