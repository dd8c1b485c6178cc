"""Conversion of images to TFRecord files, each of which is a random sample of all images."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

from pixpro_tf.cli.partial_output import PartialOutput
from pixpro_tf.cli.shard_runners import check_beam, run_on_beam, run_on_this_machine
from pixpro_tf.cli.shards import Plan, bad_images_of, write_shard
from pixpro_tf.data import limits
from pixpro_tf.data.progress import Progress
from pixpro_tf.data.sources import bad_images
from pixpro_tf.errors import argument_called


def _with_limits(used: limits.Limits, write: Callable[..., int], *arguments: Any) -> int:
    """Calls a function in another process with the limits of this one."""
    limits.use(used)
    return write(*arguments)


def write(
    images: str,
    output: str,
    *,
    per_shard: int,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
    num_workers: int = 0,
    beam_runner: str = "",
    beam_options: Sequence[str] = (),
) -> int:
    """Writes the images of a source in random order, so that every shard is a random sample of all images.

    Complete shards are collected in the folder `partial_NAME` beside the output, and become the output at the end. An interrupted call leaves that
    folder, and the same call goes on from there. The files are the same, byte for byte, however many processes and machines write them.

    Args:
        images: source of the images, `folder:PATH` or `zip:FILE`.
        output: folder to create, with `images-00000-of-00012.tfrecord` and so on. A record is a `tf.train.Example` with `image/encoded`,
            the unchanged bytes of the file, and `image/filename`. Local, or in any file system that TensorFlow writes.
        per_shard: number of images per file; the last file may have fewer.
        seed: seed of the order.
        skip_bad: whether images that cannot be decoded are left out, and printed, instead of ending the command.
        overwrite: whether to replace an existing output.
        num_workers: number of processes on this machine; 0 for one per core.
        beam_runner: name of a runner of Apache Beam, e.g. "DataflowRunner"; empty to do without Beam.
        beam_options: options of the Beam pipeline, each `name=value`.

    Returns:
        Number of images written.

    Raises:
        UserError: for any problem that the user can fix, such as an image that cannot be decoded.
    """
    partial = PartialOutput(output, overwrite)
    if beam_runner:
        check_beam(beam_runner, beam_options)
    plan = Plan.of(images, seed, per_shard)
    with partial.of(plan):
        missing = partial.missing(plan)
        done = 0
        if len(missing) < len(plan.shards):
            done = sum(len(plan.positions(shard)) for shard in plan.shards if shard not in missing)
            print(f"Continuing {partial.folder}, which has {done} of {plan.num_images} images")
        progress = Progress(plan.num_images, done=done)
        task = functools.partial(
            _with_limits,
            limits.current(),
            write_shard,
            plan,
            partial.shards,
            partial.folder,
            skip_bad,
        )
        if beam_runner:
            run_on_beam(task, missing, beam_runner, beam_options)
        else:
            with contextlib.closing(run_on_this_machine(task, missing, num_workers)) as written:
                for shard in written:
                    progress.add(len(plan.positions(shard)))
        bad = bad_images_of(plan, partial.folder)
        if len(bad) == plan.num_images:
            partial.discard()
        with argument_called(dataset="images"):
            bad_images.report(bad, plan.num_images, images)
        partial.finish(plan)
    return plan.num_images - len(bad)
