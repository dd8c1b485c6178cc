"""Where the shards of a set of images are written: by processes of this machine, or by the workers of an Apache Beam pipeline."""

import concurrent.futures
import contextlib
import functools
import io
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Sequence

import tensorflow as tf

from pixpro_tf.cli import interruptions
from pixpro_tf.data.sources.cache import memory_bytes
from pixpro_tf.errors import ConfigError, RunError, UserError
from pixpro_tf.ops.cores import num_cores

# As in pyproject.toml.
BEAM = "apache-beam==2.77.0"
# Runners whose server has options that Beam itself does not know.
_WITH_OWN_OPTIONS = ("FlinkRunner", "SparkRunner", "PortableRunner", "PrismRunner")
# Memory of a process, most of which TensorFlow takes.
_BYTES_PER_WORKER = 2**30
# Separates the parts of an error within the text that Beam makes of it.
_MARK = "|pixpro|"


def run_on_this_machine(
    task: Callable[[int], int], shards: Sequence[int], num_workers: int
) -> Generator[int, None, None]:
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
        with interruptions.ignored():
            left = [pool.submit(task, shard) for shard in shards]
        for future in concurrent.futures.as_completed(left):
            yield future.result()
    except concurrent.futures.process.BrokenProcessPool:
        raise RunError(
            f"one of {workers} processes ended unexpectedly, perhaps out of memory; run the same command again to continue, "
            f"with --num_workers={workers // 2} to halve the memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Prepares a process, which ends with its parent, however that ends."""
    hide_gpus()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def hide_gpus() -> None:
    """Leaves the GPUs of this machine to runs; does nothing if TensorFlow has opened them already."""
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


def check_beam(runner: str, options: Sequence[str]) -> None:
    """Checks that Apache Beam is installed and knows the options.

    Args:
        runner: name of a Beam runner.
        options: options of the pipeline, each `name=value`.

    Raises:
        ConfigError: if Beam does not know an option.
        RunError: if Beam is not installed.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise RunError(
            f"{runner} requires Apache Beam; install it with `pip install {BEAM}`, in an environment of its own",
            of="beam_runner",
        ) from None
    without = PipelineOptions([]).get_all_options()
    for option in options:
        complaints = io.StringIO()
        try:
            with contextlib.redirect_stderr(complaints):
                # Beam itself ignores what it does not know.
                has_effect = PipelineOptions([f"--{option}"]).get_all_options() != without
        except SystemExit:
            reason = complaints.getvalue().strip().rpartition("error: ")[2]
            raise ConfigError(
                f"{option} is rejected by Beam: {reason}", of="beam_options"
            ) from None
        if not has_effect and runner not in _WITH_OWN_OPTIONS:
            raise ConfigError(
                f"{option} has no effect: Beam does not know this option, or the value is its default",
                of="beam_options",
            )


def run_on_beam(
    task: Callable[[int], int], shards: Sequence[int], runner: str, options: Sequence[str]
) -> None:
    """Runs a task for each shard on the workers of an Apache Beam pipeline.

    Args:
        task: function of a shard; it must be picklable, and its modules must be installed on the workers.
        shards: shards to write.
        runner, options: arguments that `check_beam` has accepted.

    Raises:
        ConfigError: if Beam does not know the runner.
        RunError: if the pipeline fails.
    """
    if not shards:
        return
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    try:
        arguments = [f"--runner={runner}", *(f"--{option}" for option in options)]
        with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
            # Without the reshuffle, one worker would write all shards.
            shards_of_workers = pipeline | beam.Create(list(shards)) | beam.Reshuffle()
            _ = shards_of_workers | "Write" >> beam.Map(functools.partial(_task_of_beam, task))
    except Exception as error:
        raise _of_the_pipeline(error, runner) from error


def _task_of_beam(task: Callable[[int], int], shard: int) -> int:
    hide_gpus()
    try:
        return task(shard)
    except UserError as error:
        # Workers return errors as text, between lines about where they occurred; Beam also logs those.
        raise RuntimeError(_MARK.join(["", error.of, error.message, ""])) from None


def _of_the_pipeline(error: Exception, runner: str) -> UserError:
    parts = str(error).split(_MARK)
    if len(parts) > 2:
        return RunError(parts[2], of=parts[1])
    if "Unexpected pipeline runner" in str(error):
        return ConfigError(
            f"{runner} is not a runner of Beam; use one such as DirectRunner, DataflowRunner, FlinkRunner or SparkRunner",
            of="beam_runner",
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return RunError(f"{runner} failed: {lines[-1]}", of="beam_runner")
