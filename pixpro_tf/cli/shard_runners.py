"""Where the shards of a set of images are written: by processes of this machine, or by the workers of an Apache Beam pipeline."""

import concurrent.futures
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from pixpro_tf.cli.commands import quiet_tensorflow
from pixpro_tf.data.parallelism import num_cores
from pixpro_tf.data.sources.cache import memory_bytes
from pixpro_tf.errors import ConfigError, RunError, UserError

# Memory of a process, most of which TensorFlow takes.
_BYTES_PER_WORKER = 2**30


def run_on_this_machine(
    task: Callable[[int], int], shards: Sequence[int], num_workers: int
) -> Iterator[int]:
    """Runs a task for each shard in processes of this machine, and yields each shard when it is done.

    Args:
        task: function of a shard that returns the shard; it must be picklable.
        shards: shards to write.
        num_workers: number of processes; 0 for one per core, and fewer where memory is short.

    Raises:
        UserError: the first error of a task. Tasks that have begun are finished.
    """
    automatic = max(1, min(num_cores(), memory_bytes() // _BYTES_PER_WORKER))
    workers = min(num_workers or automatic, len(shards))
    if workers <= 1:
        yield from map(task, shards)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin_worker
    )
    try:
        left = [pool.submit(task, shard) for shard in shards]
        for future in concurrent.futures.as_completed(left):
            yield future.result()
    except concurrent.futures.process.BrokenProcessPool:
        raise RunError(
            f"one of {workers} processes was killed, perhaps for lack of memory; the same command continues, with --num_workers={workers // 2} in half the memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Prepares a process: only its parent is interrupted by Ctrl-C, and the process ends with its parent, however that ends."""
    quiet_tensorflow()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tf.config.set_visible_devices([], "GPU")
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def run_on_beam(
    task: Callable[[int], int], shards: Sequence[int], runner: str, options: Sequence[str]
) -> None:
    """Runs a task for each shard on the workers of an Apache Beam pipeline.

    Args:
        task: function of a shard; it must be picklable, and its modules must be installed on the workers.
        shards: shards to write.
        runner: name of a Beam runner.
        options: options of the pipeline, each `name=value`.

    Raises:
        ConfigError: if Beam does not know the runner or an option.
        RunError: if Beam is not installed, or the pipeline fails.
    """
    if not shards:
        return
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise RunError(
            f"{runner} needs Apache Beam; install it with `pip install 'pixpro_tf[beam]'`, in an environment of its own",
            of="beam_runner",
        ) from None
    without = PipelineOptions([]).get_all_options()
    for option in options:
        # Beam itself ignores what it does not know.
        if PipelineOptions([f"--{option}"]).get_all_options() == without:
            raise ConfigError(
                f"{option} has no effect: Beam does not know this option, or the value is its default",
                of="beam_options",
            )
    try:
        arguments = [f"--runner={runner}", *(f"--{option}" for option in options)]
        with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
            # Without the reshuffle, one worker would write all shards.
            shards_of_workers = pipeline | beam.Create(list(shards)) | beam.Reshuffle()
            _ = shards_of_workers | "Write" >> beam.Map(functools.partial(_task_of_beam, task))
    except Exception as error:
        raise _of_the_pipeline(error, runner) from error


def _task_of_beam(task: Callable[[int], int], shard: int) -> int:
    try:
        return task(shard)
    except UserError as error:
        # Workers return errors as text, between lines about where they occurred; Beam also logs those.
        raise RuntimeError(_MARK.join(["", error.of, error.message, ""])) from None


_MARK = "|pixpro|"


def _of_the_pipeline(error: Exception, runner: str) -> UserError:
    parts = str(error).split(_MARK)
    if len(parts) > 2:
        return RunError(parts[2], of=parts[1])
    if isinstance(error, ValueError) and "runner" in str(error).lower():
        return ConfigError(
            f"{runner} is not a runner of Beam; use one such as DirectRunner, DataflowRunner, FlinkRunner or SparkRunner",
            of="beam_runner",
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return RunError(f"{runner} failed: {lines[-1]}", of="beam_runner")
