"""Summary that a finished run prints: where its results are, and which commands to run next."""

import os
import shlex
import sys

from pixpro_tf.cli.commands import is_installed_command
from pixpro_tf.config import Config
from pixpro_tf.storage.run_folder import RunFolder


def summary(folder: RunFolder, checkpoint: str | None, config: Config) -> str:
    """Returns a text with the paths of the results and the next commands."""
    return f"""
  checkpoint    {checkpoint}
  TensorBoard   {folder.tensorboard}
  pictures      {folder.pictures}
  metrics       {folder.metrics}

Next:
{next_commands(folder, config)}"""


def next_commands(folder: RunFolder, config: Config) -> str:
    """Returns commands that work for this run as printed, except that the last one needs the path of the user's images."""
    python = os.path.relpath(sys.executable)
    python = shlex.quote(sys.executable if python.startswith("..") else python)
    train = f"{python} train.py --flagfile=configs/pixpro.flags"
    export = f"{python} -m export.savedmodel"
    if is_installed_command():
        train, export = "pixpro-train --flagfile=pixpro", "pixpro-export savedmodel"
    run = shlex.quote(folder.path)
    exported = shlex.quote(os.path.join("exported", os.path.basename(folder.path.rstrip("/"))))
    # A run with --max_steps may end before its schedule does.
    unfinished = " --allow_unfinished" if config.max_steps else ""
    backbone = f"--backbone={config.backbone}"
    if config.backbone_layout != Config.backbone_layout:
        backbone += f" --backbone_layout={config.backbone_layout}"
    return f"""\
  {python} -m tensorboard.main --logdir {shlex.quote(folder.tensorboard)}
  {export} --from={run} --output={exported}{unfinished}
  {train} {backbone} --init_from={run} \\
      --dataset=folder:/path/to/your/images --batch_size=64 --run_dir=runs/mine"""
