"""Pre-trains a visual backbone without labels.

python train.py --flagfile=configs/pixpro.flags [--flag=value ...]
"""

import sys

from pixpro_tf.cli.commands import Command
from pixpro_tf.config import Config


def _run(config: Config) -> int:
    config.check_surroundings()
    from pixpro_tf.training.run import train

    return train(config)


main = Command(Config, __doc__, "python train.py", _run, "pixpro-train")


if __name__ == "__main__":
    sys.exit(main())
