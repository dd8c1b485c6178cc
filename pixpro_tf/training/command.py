"""Pre-trains a visual backbone without labels.

python train.py --flagfile=configs/pixpro.flags [--flag=value ...]
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pixpro_tf.cli.commands import Command
from pixpro_tf.config import Config

if TYPE_CHECKING:
    from pixpro_tf.objectives.base import Objective


def training_command(
    doc: str | None,
    checkout: str,
    installed: str = "",
    *,
    objectives: "Callable[[Config], Sequence[Objective]] | None" = None,
) -> Command[Config]:
    """Returns a command that trains with the flags of `train.py`.

    Args:
        doc, checkout, installed: see `Command`.
        objectives: function that returns the objectives for a configuration; None uses those that the flags select. See
            examples/densecl.py for a custom objective.
    """

    def run(config: Config) -> int:
        config.check_surroundings()
        from pixpro_tf.training.run import train

        return train(config) if objectives is None else train(config, objectives)

    return Command(Config, doc, checkout, run, installed)


main = training_command(__doc__, "python train.py", "pixpro-train")

if __name__ == "__main__":
    sys.exit(main())
