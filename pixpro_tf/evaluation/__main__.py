"""Command `pixpro-evaluate NAME ...` of the installed package, with one subcommand for each evaluation.

`python -m pixpro_tf.evaluation.NAME ...` runs the same evaluation.
"""

import sys

from pixpro_tf.cli.commands import Program

main = Program(
    "pixpro-evaluate",
    "Evaluates a trained backbone.",
    {
        name: f"pixpro_tf.evaluation.{name}"
        for name in ("compare", "dense", "detection", "linear", "correspondence")
    },
)

if __name__ == "__main__":
    sys.exit(main())
