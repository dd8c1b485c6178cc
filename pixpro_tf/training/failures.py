"""Why a step of a training run failed, in a line for its user."""

import tensorflow as tf

from pixpro_tf.data import pipeline
from pixpro_tf.data.service import SEVERAL_WORKERS
from pixpro_tf.errors import RunError, first_line
from pixpro_tf.training.inputs import damaged_dataset, missing_records, names_of_images
from pixpro_tf.training.session import Session


def explained(session: Session, error: tf.errors.OpError) -> RunError | None:
    """The error of TensorFlow as a user's; None if nothing is known of it.

    Args:
        session: the run that failed.
        error: what `fit` has raised.
    """
    config = session.config
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return RunError(
            f"out of memory at --batch_size={config.batch_size}, --image_size={config.image_size}; "
            "make one of them smaller, split the batch by --gradient_accumulation, or use more devices or --precision=bfloat16"
        )
    if isinstance(error, tf.errors.DataLossError):
        return damaged_dataset(config, first_line(error))
    if SEVERAL_WORKERS in str(error):
        return RunError(
            f"--data_service={config.data_service} gave views out of order: a worker was started anew, or a dispatcher has several; "
            "run one `python -m pixpro_tf.data_service` for each address. The same command goes on from the last checkpoint"
        )
    if short := missing_records(config, session.source, error):
        return short
    step = session.model.finished_steps
    bad = pipeline.bad_images_of_step(session.source, step, config.batch_size, config.seed)
    if bad:
        kept = f", delete what {config.cache_dir} has kept of it" if config.cache == "disk" else ""
        return RunError(
            f"{names_of_images(bad)} cannot be read as an image (step {step}: {first_line(error)}); "
            f"mend it{kept}, or leave out such files with --on_bad_image=skip and a new --run_dir"
        )
    if isinstance(session.strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return RunError(
            f"this worker or another one failed after step {step}: {first_line(error)}; see what the others say"
        )
    if config.data_service:
        return RunError(
            f"--data_service={config.data_service} failed after step {step}: {first_line(error)}; "
            "it has to find the images at the same paths as this process. The same command goes on from the last checkpoint"
        )
    return None
