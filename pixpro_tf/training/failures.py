"""Explanations of why a training step failed."""

import tensorflow as tf

from pixpro_tf.config import Config
from pixpro_tf.data import pipeline
from pixpro_tf.data.service import SEVERAL_WORKERS
from pixpro_tf.data.sources.bad_images import names_of_images
from pixpro_tf.errors import RunError, first_line, is_of_full_disk
from pixpro_tf.ops import devices
from pixpro_tf.training.inputs import damaged_dataset, missing_records
from pixpro_tf.training.session import Session


def _out_of_memory(config: Config, replicas: int, has_begun: bool) -> RunError:
    parts = config.gradient_accumulation
    images = config.batch_size // (replicas * parts)
    ways = []
    best = devices.best_precision()
    if config.precision == "float32" != best:
        ways.append(f"--precision={best}, which halves the memory")
    if images % 2 == 0:
        ways.append(f"--gradient_accumulation={2 * parts}, which halves the images in memory")
    elif images > 1:
        ways.append(f"--batch_size={images // 2 * replicas * parts}")
    else:
        ways.append(f"an --image_size below {config.image_size} or a smaller --backbone")
    return RunError(
        f"out of memory with {images} {'image' if images == 1 else 'images'} of {config.image_size} pixels on each device in {config.precision}; use "
        + ", or ".join(ways)
        # These flags are part of what makes a run.
        + (
            f", in a new run with another --run_dir and --init_from={config.run_dir}"
            if has_begun
            else ""
        )
    )


def explained(session: Session, error: tf.errors.OpError) -> RuntimeError:
    """Returns an error that explains an error of TensorFlow in one line.

    It is a `RunError` if the user can fix the cause. Otherwise it is not, so that Python prints the traceback, which then ends with the
    number of the step instead of TensorFlow's many lines.

    Args:
        session: run that failed.
        error: error that `fit` raised.
    """
    config = session.config
    if isinstance(error, tf.errors.ResourceExhaustedError) and not is_of_full_disk(error):
        has_begun = session.store.latest is not None
        return _out_of_memory(config, session.strategy.num_replicas_in_sync, has_begun)
    if isinstance(error, tf.errors.DataLossError):
        return damaged_dataset(config, session.source, first_line(error))
    if SEVERAL_WORKERS in str(error):
        return RunError(
            f"--data_service={config.data_service} returned views out of order: "
            "a worker was restarted, or a dispatcher has several workers; "
            "run one `python -m pixpro_tf.data_service` for each address. The same command resumes from the last checkpoint"
        )
    if short := missing_records(config, session.source, error):
        return short
    step = session.model.finished_steps
    bad = pipeline.bad_images_of_step(session.source, step, config.batch_size, config.seed)
    if bad:
        kept = f", delete the cached copy in {config.cache_dir}" if config.cache == "disk" else ""
        return RunError(
            f"step {step + 1} failed on unreadable images: {names_of_images(bad)} ({first_line(error)}); "
            f"fix them{kept}, or leave them out with --on_bad_image=skip and another --run_dir"
        )
    if isinstance(session.strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return RunError(
            f"this worker or another one failed after step {step}: {first_line(error)}; check the output of the other workers"
        )
    if config.data_service:
        return RunError(
            f"--data_service={config.data_service} failed after step {step}: {first_line(error)}; "
            "it must find the images at the same paths as this process. The same command resumes from the last checkpoint"
        )
    return RuntimeError(f"step {step + 1} failed: {first_line(error)}")
