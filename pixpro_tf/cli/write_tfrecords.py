"""Conversion of images to TFRecord files, each of which is a random sample of all images."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Iterator, Sequence

import tensorflow as tf

from pixpro_tf.cli.outputs import refuse_existing, replace
from pixpro_tf.cli.shard_runners import run_on_beam, run_on_this_machine
from pixpro_tf.cli.shards import Plan, write_shard
from pixpro_tf.data.progress import Progress
from pixpro_tf.errors import ConfigError, RunError, UserError, first_line


def write(
    images: str,
    output: str,
    *,
    per_shard: int,
    seed: int = 0,
    overwrite: bool = False,
    num_workers: int = 0,
    beam_runner: str = "",
    beam_options: Sequence[str] = (),
) -> int:
    """Writes the images of a source in random order, so that every shard is a random sample of all images.

    Complete shards are collected in the folder `partial_NAME` beside the output, which becomes the output at the end. An interrupted call leaves that
    folder, and the same call goes on from there. The files are the same, byte for byte, however many processes and machines write them.

    Args:
        images: source of the images, `folder:PATH` or `zip:FILE`.
        output: folder to create, with `images-00000-of-00012.tfrecord` and so on. A record is a `tf.train.Example` with `image/encoded`,
            the unchanged bytes of the file, and `image/filename`. Local, or in any file system that TensorFlow writes.
        per_shard: number of images per file; the last file may have fewer.
        seed: seed of the order.
        overwrite: whether to replace an existing output.
        num_workers: number of processes on this machine; 0 for one per core.
        beam_runner: name of a runner of Apache Beam, e.g. "DataflowRunner"; empty to do without Beam.
        beam_options: options of the Beam pipeline, each `name=value`.

    Returns:
        Number of images written.

    Raises:
        UserError: for any problem that the user can fix.
    """
    partial = _Partial(output, overwrite)
    plan = Plan.of(images, seed, per_shard)
    partial.begin(plan)
    missing = partial.missing(plan)
    done = sum(len(plan.positions(shard)) for shard in plan.shards if shard not in missing)
    if done:
        print(f"Continuing {partial.folder}, which has {done} of {plan.num_images} images")
    task = functools.partial(write_shard, plan, partial.shards, partial.folder)
    progress = Progress(plan.num_images)
    progress.add(done)
    with partial.kept(plan):
        if beam_runner:
            run_on_beam(task, missing, beam_runner, beam_options)
        else:
            for shard in run_on_this_machine(task, missing, num_workers):
                progress.add(len(plan.positions(shard)))
    partial.finish(plan)
    return plan.num_images


class _Partial:
    """Folder of an unfinished output: `plan.json`, incomplete files, and the folder of the complete shards.

    Args:
        output: folder that it becomes.
        overwrite: whether to replace an existing output.

    Raises:
        ConfigError: if the output exists.
    """

    def __init__(self, output: str, overwrite: bool) -> None:
        self._is_remote = "://" in output
        self._output = output if self._is_remote else os.path.abspath(os.path.expanduser(output))
        self._overwrite = overwrite
        # The output's name does not begin this folder's name: some remote file systems look for files by the beginning of their names.
        parent, name = os.path.split(self._output.rstrip("/"))
        self.folder = os.path.join(parent, f"partial_{name}")
        self.shards = os.path.join(self.folder, "shards")
        self._plan = os.path.join(self.folder, "plan.json")
        # Remote folders cannot be renamed in one step. This file says that the shards are being moved one by one.
        self._moving = os.path.join(self.folder, "moving")
        if not self._is_remote:
            refuse_existing("output", output, overwrite)
        elif (
            not overwrite
            and tf.io.gfile.exists(self._output)
            and not tf.io.gfile.exists(self._moving)
        ):
            raise ConfigError(
                f"{output} already exists; use another path, or add --overwrite", of="output"
            )

    def begin(self, plan: Plan) -> None:
        """Creates the folder, or checks that an existing one is of the same plan."""
        described = json.dumps(dataclasses.asdict(plan), indent=1, sort_keys=True) + "\n"
        with self._writing():
            if not tf.io.gfile.exists(self.shards):
                tf.io.gfile.makedirs(self.folder)
                _write_text(self._plan, described)
                tf.io.gfile.makedirs(self.shards)
                return
            with tf.io.gfile.GFile(self._plan) as file:
                found = file.read()
        if found != described:
            raise ConfigError(
                f"{self.folder} contains shards of other images or of other flags; repeat the command that began it, or delete it",
            )

    def missing(self, plan: Plan) -> list[int]:
        """Indices of the shards that have not been written yet."""
        with self._writing():
            found = set(tf.io.gfile.listdir(self.shards))
            if self._is_remote and tf.io.gfile.exists(self._moving):
                found |= set(tf.io.gfile.listdir(self._output))
        return [shard for shard in plan.shards if plan.file_name(shard) not in found]

    @contextlib.contextmanager
    def kept(self, plan: Plan) -> Iterator[None]:
        """Says what a block that fails or is interrupted leaves behind; removes the folder if that is nothing."""
        try:
            yield
        except (UserError, KeyboardInterrupt):
            complete = len(plan.shards) - len(self.missing(plan))
            if complete:
                print(
                    f"{self.folder} keeps {complete} of {len(plan.shards)} shards; the same command continues from there"
                )
            else:
                tf.io.gfile.rmtree(self.folder)
            raise

    def finish(self, plan: Plan) -> None:
        """Makes the folder of the shards the output, and removes the rest."""
        with self._writing():
            if self._is_remote:
                self._move_shards(plan)
            elif os.path.lexists(self._output):
                # It has existed from the beginning, or has been created in the meantime.
                refuse_existing("output", self._output, self._overwrite)
                replace(self._output, self.shards, os.path.join(self.folder, "replaced"))
            else:
                os.rename(self.shards, self._output)
            tf.io.gfile.rmtree(self.folder)

    def _move_shards(self, plan: Plan) -> None:
        if not tf.io.gfile.exists(self._moving):
            if tf.io.gfile.exists(self._output):
                tf.io.gfile.rmtree(self._output)
            _write_text(self._moving, "The shards are being moved.\n")
            tf.io.gfile.makedirs(self._output)
        for name in map(plan.file_name, plan.shards):
            made = os.path.join(self.shards, name)
            if tf.io.gfile.exists(made):
                tf.io.gfile.rename(made, os.path.join(self._output, name), overwrite=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise RunError(f"{self._output} cannot be written: {reason}", of="output") from None


def _write_text(path: str, text: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)
