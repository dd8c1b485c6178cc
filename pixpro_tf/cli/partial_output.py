"""Folder of shards that is not finished yet; an interrupted command leaves it, and the same command continues from there."""

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.cli.outputs import in_use, locked, refuse_existing, replace
from pixpro_tf.cli.shards import Plan
from pixpro_tf.errors import ConfigError, RunError, UserError, why_unwritable

_PLAN, _SHARDS, _MOVING, _LOCK = "plan.json", "shards", "moving", "lock"


class PartialOutput:
    """Folder `partial_NAME` beside the output `NAME`: the plan, incomplete files, and the folder of the complete shards.

    Args:
        output: folder that the folder of the shards becomes at the end.
        overwrite: whether to replace an existing output.

    Attributes:
        folder: path of this folder.
        shards: path of the folder of the complete shards.

    Raises:
        ConfigError: if the output exists, or is a whole bucket.
    """

    def __init__(self, output: str, overwrite: bool) -> None:
        self._is_remote = "://" in output
        if self._is_remote and "/" not in output.partition("://")[2].strip("/"):
            raise ConfigError(f"{output} is a whole bucket; use a folder in it", of="output")
        self._output = output.rstrip("/")
        if not self._is_remote:
            self._output = os.path.abspath(os.path.expanduser(output))
        self._overwrite = overwrite
        # Whether the folder is of no more use.
        self._is_done = False
        # The output's name does not begin this folder's name: some remote file systems look for files by the beginning of their names.
        parent, name = os.path.split(self._output)
        self.folder = os.path.join(parent, f"partial_{name}")
        self.shards = os.path.join(self.folder, _SHARDS)
        # Remote folders cannot be renamed in one step. This file says that the shards are being moved one by one.
        self._moving = os.path.join(self.folder, _MOVING)
        if not self._is_remote:
            refuse_existing("output", output, overwrite)
        elif not overwrite and self._exists(self._output) and not self._exists(self._moving):
            raise ConfigError(
                f"{output} already exists; use another path, or add --overwrite", of="output"
            )

    @contextlib.contextmanager
    def of(self, plan: Plan) -> Iterator[None]:
        """Context in which the shards of a plan are written; if it fails or is interrupted, says what is left.

        Raises:
            ConfigError: if the folder belongs to another plan or to something else, or another command is using it.
        """
        with self._writing():
            self._begin(plan)
        try:
            with self._locked():
                try:
                    yield
                except (UserError, KeyboardInterrupt):
                    self._leave(plan)
                    raise
        finally:
            # After the lock has been released: network file systems keep a file that is open, and with it the folder.
            if self._is_done:
                with self._writing():
                    tf.io.gfile.rmtree(self.folder)

    def _begin(self, plan: Plan) -> None:
        """Creates the folder, or checks that an existing one is of the same plan."""
        described = json.dumps(dataclasses.asdict(plan), indent=1, sort_keys=True) + "\n"
        path = os.path.join(self.folder, _PLAN)
        if self._exists(path):
            with tf.io.gfile.GFile(path) as file:
                found = file.read()
            # A full disk or a kill may have cut the description, before which nothing is written.
            if found != described and described.startswith(found) and not self._has_shards():
                _write_text(path, described)
            elif found != described:
                raise ConfigError(
                    f"{self.folder} contains shards of other images or other flags; repeat the command that created it, or delete the folder"
                )
        elif self._exists(self.folder) and tf.io.gfile.listdir(self.folder):
            raise ConfigError(
                f"{self.folder} already exists but was not created by this command, which keeps incomplete output there; rename it, or use another --output"
            )
        else:
            tf.io.gfile.makedirs(self.folder)
            _write_text(path, described)
        tf.io.gfile.makedirs(self.shards)

    def _has_shards(self) -> bool:
        return self._exists(self.shards) and bool(tf.io.gfile.listdir(self.shards))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Locks a local folder against other commands; remote ones have no locks."""
        if self._is_remote:
            yield
            return
        with locked(os.path.join(self.folder, _LOCK), in_use(self.folder)):
            yield

    def missing(self, plan: Plan) -> list[int]:
        """Indices of the shards that have not been written yet.

        Raises:
            RunError: if the folder cannot be read.
        """
        with self._writing():
            found = set(tf.io.gfile.listdir(self.shards))
            if self._exists(self._moving) and self._exists(self._output):
                found |= set(tf.io.gfile.listdir(self._output))
        return [shard for shard in plan.shards if plan.file_name(shard) not in found]

    def _leave(self, plan: Plan) -> None:
        """Says how many shards are complete; removes the folder if there are none."""
        if self._is_done:
            return
        with contextlib.suppress(OSError, tf.errors.OpError, RunError):
            complete = len(plan.shards) - len(self.missing(plan))
            if complete:
                print(
                    f"Kept {complete} of {len(plan.shards)} shards in {self.folder}; run the same command again to continue"
                )
            else:
                self._is_done = True

    def discard(self) -> None:
        """Lets the folder be removed, so that the next command begins again."""
        self._is_done = True

    def finish(self, plan: Plan) -> None:
        """Makes the folder of the shards the output, and removes the rest.

        Raises:
            RunError: if shards are missing, or the output cannot be written.
        """
        if missing := len(self.missing(plan)):
            raise RunError(
                f"{missing} of {len(plan.shards)} shards are missing from {self.folder}; run the command again once no other process writes to it"
            )
        with self._writing():
            if self._is_remote:
                self._move_shards(plan)
            elif os.path.lexists(self._output):
                # It has existed from the beginning, or has been created in the meantime.
                refuse_existing("output", self._output, self._overwrite)
                replaced = os.path.join(self.folder, f"replaced-{uuid.uuid4().hex}")
                replace(self._output, self.shards, replaced)
            else:
                os.rename(self.shards, self._output)
        self._is_done = True

    def _move_shards(self, plan: Plan) -> None:
        if not self._exists(self._moving):
            if self._exists(self._output):
                tf.io.gfile.rmtree(self._output)
            _write_text(self._moving, "The shards are being moved.\n")
        tf.io.gfile.makedirs(self._output)
        for name in map(plan.file_name, plan.shards):
            made = os.path.join(self.shards, name)
            if self._exists(made):
                tf.io.gfile.rename(made, os.path.join(self._output, name), overwrite=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise RunError(
                f"{self._output} cannot be written: {why_unwritable(error)}", of="output"
            ) from None

    def _exists(self, path: str) -> bool:
        return tf.io.gfile.exists(path)


def _write_text(path: str, text: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)
