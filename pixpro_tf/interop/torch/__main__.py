"""Converts between PyTorch checkpoints and checkpoints of this project.

python -m pixpro_tf.interop.torch import --checkpoint=pixpro.pth --output=runs/imported
python -m pixpro_tf.interop.torch export --from=runs/mine --output=mine.pth
"""

import sys

from pixpro_tf.cli.commands import Program

main = Program(
    "python -m pixpro_tf.interop.torch",
    (__doc__ or "").splitlines()[0],
    {
        "import": "pixpro_tf.interop.torch.import_command",
        "export": "pixpro_tf.interop.torch.export_command",
    },
)

if __name__ == "__main__":
    sys.exit(main())
