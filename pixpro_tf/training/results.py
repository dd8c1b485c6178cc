"""Summary that a finished run prints: where its results are, and which commands to run next."""

import itertools
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


# Layouts that one framework reads, the architectures that it builds, and further flags of its export. The SavedModel takes all others.
_EXPORTS = {
    "od_api": (
        ("resnet50", "resnet101", "resnet152"),
        " --model=faster_rcnn_resnet50_keras --task=custom --labels=/path/to/annotations.json",
    ),
    "model_garden": (("resnet50", "resnet101", "resnet152", "resnet50w2"), ""),
}


# Flags without which a command could not read the images of the run.
_OF_IMAGES = ("data_dir", "split", "on_bad_image", "max_megapixels", "max_image_megabytes")


def next_commands(folder: RunFolder, config: Config) -> str:
    """Returns commands that work for this run as printed, once the path of the user's labels is filled in."""
    python = os.path.relpath(sys.executable)
    python = shlex.quote(sys.executable if python.startswith("..") else python)
    kind, flags = export_of(config)
    visualize, evaluate = f"{python} -m pixpro_tf.visualize", f"{python} -m pixpro_tf.evaluation."
    # The package `export` is found in a checkout only.
    exporter = (
        f"export.{kind}" if os.path.isfile("export/__init__.py") else f"pixpro_tf.export {kind}"
    )
    export = f"{python} -m {exporter}"
    if is_installed_command():
        visualize, evaluate, export = (
            "pixpro-visualize",
            "pixpro-evaluate ",
            f"pixpro-export {kind}",
        )
    run = shlex.quote(folder.path)
    name = os.path.basename(folder.path.rstrip("/"))
    exported, pictured = (
        shlex.quote(_unused(os.path.join(each, name))) for each in ("exported", "pictures")
    )
    images = shlex.quote(config.dataset) + "".join(
        f" --{name}={shlex.quote(str(getattr(config, name)))}"
        for name in _OF_IMAGES
        if getattr(config, name) != getattr(Config, name)
    )
    compare = f"{evaluate}compare --from={run} --from=random --labels=/path/to/annotations.json"
    if not config.image_channels.is_photograph:
        # Labels are of RGB images.
        compare = f"{evaluate}correspondence --from={run} --dataset={images}"
    # A run with --max_steps may end before its schedule does.
    unfinished = " --allow_unfinished" if config.max_steps else ""
    return f"""\
  {python} -m tensorboard.main --logdir {shlex.quote(folder.tensorboard)}
  {visualize} --from={run} --images={images} --output={pictured}
  {compare}
  {export} --from={run} --output={exported}{flags}{unfinished}"""


def _unused(path: str) -> str:
    """Returns a path that does not exist: outputs are not overwritten, and another run may have had the same name."""
    paths = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(each for each in paths if not os.path.lexists(each))


def export_of(config: Config) -> tuple[str, str]:
    """Returns the name of the export that suits the backbone of a run, and its further flags."""
    architectures, flags = _EXPORTS.get(config.backbone_layout, ((), ""))
    reads = config.image_channels.is_photograph and config.backbone in architectures
    if not reads or config.output_stride != 32:
        return "savedmodel", ""
    return config.backbone_layout, flags
