"""Run folder: its contents, and whether a run may start or resume in it."""

import contextlib
import dataclasses
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

import pixpro_tf
from pixpro_tf.cli import outputs
from pixpro_tf.config import Config
from pixpro_tf.errors import DAMAGED_JSON, ConfigError, RunError, first_line
from pixpro_tf.storage import checkpoint_files
from pixpro_tf.storage.checkpoint_files import write_atomically


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder, on any file system that TensorFlow can write to.

    Attributes:
        path: path of the folder.
    """

    path: str

    @property
    def config(self) -> str:
        """Path of the JSON file with flags, versions and git commit."""
        return os.path.join(self.path, "config.json")

    @property
    def checkpoints(self) -> str:
        """Path of the folder with the last few checkpoints, and under `kept/` those that are kept permanently."""
        return os.path.join(self.path, "checkpoints")

    @property
    def tensorboard(self) -> str:
        """Path of the folder with the logs for TensorBoard."""
        return os.path.join(self.path, "tensorboard")

    @property
    def events(self) -> str:
        """Path of the event files in the folder of the TensorBoard logs, where TensorBoard shows them by the name of the run."""
        return os.path.join(self.tensorboard, os.path.basename(self.path.rstrip("/")))

    @property
    def pictures(self) -> str:
        """Path of the folder with the figures of the views, as PNG files."""
        return os.path.join(self.path, "pictures")

    @property
    def metrics(self) -> str:
        """Path of the metrics: one JSON object per line, one line every `--log_every` steps."""
        return os.path.join(self.path, "metrics.jsonl")

    @property
    def bad_images(self) -> str:
        """Path of the JSON list with the names of the images that `--on_bad_image=skip` skipped."""
        return os.path.join(self.path, "bad_images.json")

    @property
    def has_checkpoint(self) -> bool:
        """Whether the folder contains a run that can be resumed, or the remains of one."""
        return checkpoint_files.holds_any(self.checkpoints)


def find_run_folder(config: Config) -> RunFolder:
    """Returns the run folder of a configuration, and rejects one that belongs to another run. Writes nothing.

    Raises:
        ConfigError: if the folder contains checkpoints of a run with different flags, or of any run if `--noresume` was passed.
        RunError: if the description of the run in the folder is missing or damaged, or the folder is that of something else.
    """
    folder = RunFolder(os.path.expanduser(config.run_dir))
    if folder.has_checkpoint:
        _check_same_run(config, folder)
        return folder
    with checkpoint_files.reached(folder.path):
        begun = tf.io.gfile.exists(folder.config) or tf.io.gfile.exists(folder.metrics)
    if begun:
        # Those of an attempt that ended before its first checkpoint are replaced, those of another program are not.
        read_description(folder)
    return folder


@contextlib.contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Locks a folder against other processes of this machine while a run trains in it, however that run ends.

    Does nothing for remote file systems (gs://), which have no locks.

    Raises:
        ConfigError: if another process has locked the folder.
        RunError: if the folder cannot be written.
    """
    if "://" in folder.path:
        yield
        return
    refusal = f"--run_dir={folder.path} is in use by another run; wait until it ends, or use another folder"
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(folder.path, exist_ok=True)
            stack.enter_context(outputs.locked(os.path.join(folder.path, ".lock"), refusal))
        except OSError as error:
            named = "" if error.filename == folder.path else f"{error.filename}: "
            raise RunError(
                f"--run_dir={folder.path} cannot be written: {named}{error.strerror}; make it writable, or use another folder"
            ) from error
        # Otherwise the first checkpoint would fail, after minutes or hours.
        for part in (folder.checkpoints, os.path.join(folder.checkpoints, checkpoint_files.KEPT)):
            if os.path.lexists(part) and not _is_writable_folder(part):
                raise RunError(
                    f"{part} must be a folder that this user can write, or must not exist; make it writable, or use another --run_dir"
                )
        yield


def _is_writable_folder(path: str) -> bool:
    return os.path.isdir(path) and os.access(path, os.R_OK | os.W_OK | os.X_OK)


def check_same_images(
    config: Config, folder: RunFolder, num_images: int, images_digest: str
) -> None:
    """Rejects resuming a run whose images are not the same: the order of all images would change. They may be in another place.

    Args:
        config: configuration of the run.
        folder: run folder; a folder without a checkpoint is new and always accepted.
        num_images: current number of images in the dataset, without skipped ones.
        images_digest: see `Source.images_digest`.

    Raises:
        RunError: if the run was started with other images.
    """
    if not folder.has_checkpoint:
        return
    description = read_description(folder)
    begun_with = description["num_images"]
    if num_images != begun_with:
        difference = f"has {num_images} images, but the run in {config.run_dir} was started with {begun_with}"
    elif description.get("images_digest", images_digest) != images_digest:
        difference = f"has other image names than when the run in {config.run_dir} was started"
    else:
        return
    raise RunError(
        f"--dataset={config.dataset} {difference}; restore the dataset to resume the run, or start a new run with another --run_dir "
        f"and --init_from={config.run_dir}"
    )


def start_run_folder(
    config: Config,
    folder: RunFolder,
    num_images: int,
    bad_images: list[bytes],
    images_digest: str = "",
    objectives: Sequence[str] = (),
) -> None:
    """Creates the folder of a new run, with its `config.json`.

    Args:
        config: configuration of the run.
        folder: run folder without a checkpoint; files from an earlier attempt are overwritten.
        num_images: number of images that the run uses.
        bad_images: names of the images that the run skips.
        images_digest: see `Source.images_digest`; empty if it is unknown.
        objectives: classes of the objectives; empty if they are those of the flags.

    Raises:
        RunError: if the folder cannot be written.
    """
    try:
        tf.io.gfile.makedirs(folder.path)
        names = [os.fsdecode(name) for name in bad_images]
        write_atomically(folder.bad_images, json.dumps(names, indent=2) + "\n")
        write_description(config, folder, num_images, images_digest, objectives=objectives)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"--run_dir={config.run_dir} cannot be written: {error}; use another folder"
        ) from error


def write_description(
    config: Config,
    folder: RunFolder,
    num_images: int | None,
    images_digest: str = "",
    imported: dict[str, Any] | None = None,
    objectives: Sequence[str] = (),
) -> None:
    """Writes `config.json`.

    Args:
        config: configuration of the run.
        folder: existing run folder.
        num_images: number of images that the run uses; None for a folder that contains weights only and cannot be resumed.
        images_digest: see `Source.images_digest`; empty if it is unknown.
        imported: origin of weights that this project did not train.
        objectives: see `start_run_folder`.
    """
    description: dict[str, Any] = {
        "flags": config.to_dict(),
        "num_images": num_images,
        "versions": {
            "pixpro_tf": pixpro_tf.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
        "git_commit": _git_commit(),
    }
    if images_digest:
        description["images_digest"] = images_digest
    if imported is not None:
        description["imported"] = imported
    if objectives:
        description["objectives"] = list(objectives)
    write_atomically(folder.config, json.dumps(description, indent=2) + "\n")


def read_description(folder: RunFolder) -> dict[str, Any]:
    """Reads the description that `write_description` wrote.

    Raises:
        RunError: if the description is missing or damaged.
    """
    try:
        with tf.io.gfile.GFile(folder.config) as file:
            description: dict[str, Any] = json.load(file)
        if not isinstance(description["flags"], dict):
            raise TypeError
        if not isinstance(description["num_images"], int | None):
            raise TypeError
        return description
    except (*DAMAGED_JSON, tf.errors.OpError):
        raise RunError(
            f"{folder.config} is missing or damaged, so the run cannot be identified; use another folder"
        ) from None


def read_config(folder: RunFolder) -> Config:
    """Reads the configuration of the run in a folder.

    Raises:
        RunError: if the configuration is missing or damaged.
    """
    flags = read_description(folder)["flags"]
    # The run may have flags of another version of this project that this version does not know.
    known = {field.name for field in dataclasses.fields(Config)}
    try:
        return Config(**{name: value for name, value in flags.items() if name in known})
    except (ConfigError, TypeError, AttributeError) as error:
        raise RunError(f"{folder.config} is damaged: {first_line(error)}") from error


def read_bad_images(folder: RunFolder) -> list[bytes]:
    """Reads the names of the images that the run in a folder skips.

    Raises:
        RunError: if the list is missing or damaged.
    """
    try:
        with tf.io.gfile.GFile(folder.bad_images) as file:
            return [os.fsencode(name) for name in json.load(file)]
    except (*DAMAGED_JSON, tf.errors.OpError):
        raise RunError(
            f"{folder.bad_images} is missing or damaged, so it is unknown which images the run skips; restore the file from a copy, "
            f"or start a new run with another --run_dir and --init_from={folder.path}"
        ) from None


def _check_same_run(config: Config, folder: RunFolder) -> None:
    if not config.resume:
        raise ConfigError(
            f"--run_dir={config.run_dir} already contains a run; omit --noresume to resume it, or use another folder"
        )
    description = read_description(folder)
    if description["num_images"] is None:
        raise ConfigError(
            f"--run_dir={config.run_dir} contains weights only and cannot be resumed; "
            f"start from them with --init_from={config.run_dir} and another --run_dir"
        )
    begun_with = dict(description["flags"])
    if "images_digest" in description or "imported" in description:
        # The same images in another place are accepted; they are compared when they have been listed. An imported run knows only their number.
        begun_with.pop("dataset", None)
    differing = config.differing_flags(begun_with)
    if differing:
        raise ConfigError(
            f"--run_dir={config.run_dir} contains a run with different flags: {', '.join(differing)}; "
            f"use the same flags to resume it, or start a new run with another --run_dir and --init_from={config.run_dir}"
        )


def _git_commit() -> str | None:
    """Returns the commit of the running code, with "-dirty" if it has uncommitted changes; None outside a checkout."""
    package = os.path.dirname(os.path.abspath(pixpro_tf.__file__))
    try:
        described = subprocess.run(
            ["git", "-C", package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
