"""A run's folder: what is in it, and whether a run may go on in it."""

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

import pixpro_tf
from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError, first_line
from pixpro_tf.storage import checkpoint_files
from pixpro_tf.storage.checkpoint_files import write_atomically


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths inside the folder; any file system that TensorFlow writes.

    Attributes:
        path: of the folder.
    """

    path: str

    @property
    def config(self) -> str:
        """Flags, versions and git commit, as JSON."""
        return os.path.join(self.path, "config.json")

    @property
    def checkpoints(self) -> str:
        """The last few checkpoints, and under `kept/` those that stay."""
        return os.path.join(self.path, "checkpoints")

    @property
    def tensorboard(self) -> str:
        """Logs for TensorBoard."""
        return os.path.join(self.path, "tensorboard")

    @property
    def pictures(self) -> str:
        """Pictures of the views, as PNG."""
        return os.path.join(self.path, "pictures")

    @property
    def metrics(self) -> str:
        """One JSON object a line, one line every `--log_every` steps."""
        return os.path.join(self.path, "metrics.jsonl")

    @property
    def bad_images(self) -> str:
        """Names of the images that `--on_bad_image=skip` left out, as a JSON list."""
        return os.path.join(self.path, "bad_images.json")

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a run to go on with, or what is left of one."""
        return checkpoint_files.holds_any(self.checkpoints)


def find_run_folder(config: Config) -> RunFolder:
    """The folder of a run; refuses one that belongs to another run. Writes nothing.

    Raises:
        ConfigError: if the folder holds checkpoints of a run with other flags, or of any run and `--noresume` was given.
        RunError: if what it holds cannot be understood.
    """
    folder = RunFolder(os.path.expanduser(config.run_dir))
    if folder.has_checkpoint:
        _check_same_run(config, folder)
    return folder


@contextlib.contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Keeps other processes of this machine out of a folder while one trains in it; however that one ends.

    File systems behind an address (gs://) have no locks; there it does nothing.

    Raises:
        ConfigError: if another process holds the folder.
        RunError: if the folder cannot be written.
    """
    if "://" in folder.path:
        yield
        return
    try:
        os.makedirs(folder.path, exist_ok=True)
        file = open(os.path.join(folder.path, ".lock"), "w")  # noqa: SIM115 - held to the end
    except OSError as error:
        raise RunError(
            f"--run_dir={folder.path} cannot be written: {error.strerror}; give another"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"--run_dir={folder.path} is in use by a run that is going on; wait for it, or give another"
            ) from None
        except OSError:
            # Some network file systems have no locks.
            pass
        yield


def check_same_images(config: Config, folder: RunFolder, num_images: int) -> None:
    """Refuses to go on with a run whose dataset has since gained or lost images: the order of all would change.

    Args:
        config: of the run.
        folder: of the run; one without a checkpoint is new, and passes.
        num_images: that the dataset has now, bad ones left out.

    Raises:
        RunError: if the run was begun with another number.
    """
    if not folder.has_checkpoint:
        return
    begun_with = read_description(folder)["num_images"]
    if num_images != begun_with:
        raise RunError(
            f"--dataset={config.dataset} has {num_images} images, and the run in {config.run_dir} was begun with {begun_with}; "
            "put them back as they were to go on with it, or begin another with a new --run_dir "
            f"and --init_from={config.run_dir}"
        )


def start_run_folder(
    config: Config, folder: RunFolder, num_images: int, bad_images: list[bytes]
) -> None:
    """Makes the folder of a run that is about to begin, with its `config.json`.

    Args:
        config: of the run.
        folder: without a checkpoint; what an earlier try left in it is overwritten.
        num_images: that the run uses.
        bad_images: names of those that it leaves out.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        tf.io.gfile.makedirs(folder.path)
        names = [os.fsdecode(name) for name in bad_images]
        write_atomically(folder.bad_images, json.dumps(names, indent=2) + "\n")
        write_description(config, folder, num_images)
    except (OSError, tf.errors.OpError) as error:
        raise RunError(
            f"--run_dir={config.run_dir} cannot be written: {error}; give another"
        ) from error


def write_description(
    config: Config,
    folder: RunFolder,
    num_images: int | None,
    imported: dict[str, Any] | None = None,
) -> None:
    """Writes `config.json`.

    Args:
        config: of the run.
        folder: that exists.
        num_images: that the run uses; None for a folder that holds weights only, in which no run can go on.
        imported: where weights that this project did not train came from.
    """
    description = {
        "flags": config.to_dict(),
        "num_images": num_images,
        "versions": {
            "pixpro_tf": pixpro_tf.__version__,
            "tensorflow": tf.__version__,
            "python": platform.python_version(),
        },
        "git_commit": _git_commit(),
    }
    if imported is not None:
        description["imported"] = imported
    write_atomically(folder.config, json.dumps(description, indent=2) + "\n")


def read_description(folder: RunFolder) -> dict[str, Any]:
    """What `write_description` wrote.

    Raises:
        RunError: if it is missing or damaged.
    """
    try:
        with tf.io.gfile.GFile(folder.config) as file:
            description = json.load(file)
        return description | {name: description[name] for name in ("flags", "num_images")}
    except (ValueError, KeyError, TypeError, tf.errors.OpError):
        raise RunError(
            f"{folder.config} is missing or damaged, so it cannot be told whose run this is; give another folder"
        ) from None


def read_config(folder: RunFolder) -> Config:
    """The configuration of a folder's run.

    Raises:
        RunError: if it is missing or damaged.
    """
    flags = read_description(folder)["flags"]
    # A flag of another version of this project may be unknown to this one.
    known = {field.name for field in dataclasses.fields(Config)}
    try:
        return Config(**{name: value for name, value in flags.items() if name in known})
    except (ConfigError, TypeError) as error:
        raise RunError(f"{folder.config} is damaged: {first_line(error)}") from error


def read_bad_images(folder: RunFolder) -> list[bytes]:
    """Names that the folder's run leaves out."""
    with tf.io.gfile.GFile(folder.bad_images) as file:
        return [os.fsencode(name) for name in json.load(file)]


def _check_same_run(config: Config, folder: RunFolder) -> None:
    if not config.resume:
        raise ConfigError(
            f"--run_dir={config.run_dir} holds a run already; leave out --noresume to go on with it, or give another folder"
        )
    description = read_description(folder)
    if description["num_images"] is None:
        raise ConfigError(
            f"--run_dir={config.run_dir} holds weights and no run to go on with; "
            f"start from them with --init_from={config.run_dir} and another --run_dir"
        )
    differing = config.differing_flags(description["flags"])
    if differing:
        raise ConfigError(
            f"--run_dir={config.run_dir} holds a run with other flags: {', '.join(differing)}; "
            "give the same flags to go on with it, or another --run_dir"
        )


def _git_commit() -> str | None:
    """Commit of the code that runs, with "-dirty" where it was changed; None outside a checkout."""
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
