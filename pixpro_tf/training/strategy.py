"""Hardware of a run: `tf.distribute` strategy and numerical settings. Must run before TensorFlow initialises a device."""

import contextlib
import json
import os

import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError, RunError, first_line
from pixpro_tf.ops.graphs import is_tensorflow_for_tpus
from pixpro_tf.training.slurm import slurm_cluster


def make_strategy(
    name: str, tpu: str = "", num_devices: int = 0, cluster: str = "tf_config"
) -> tf.distribute.Strategy:
    """Returns the strategy that `--strategy` selects.

    Args:
        name: "auto", "one_device", "mirrored", "multi_worker" or "tpu".
        tpu: name or address of the TPU, for "tpu".
        num_devices: number of devices, for "mirrored" and "auto": GPUs to use, or logical CPUs to create on a machine without GPUs; 0 uses
            all GPUs.
        cluster: "tf_config" or "slurm", for "multi_worker".

    Raises:
        ConfigError: if there are fewer GPUs than requested.
        RunError: if the TPU cannot be reached.
    """
    if name == "tpu":
        return _tpu_strategy(tpu)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # It cannot be set once TensorFlow has used the GPU in this process, or for GPUs that are divided into logical ones.
        with contextlib.suppress(RuntimeError, ValueError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if name == "multi_worker":
        if cluster == "slurm":
            os.environ["TF_CONFIG"] = json.dumps(slurm_cluster())
        # TensorFlow's own choice goes through the hosts' memory, from GPU to GPU one after the other.
        collective = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=collective.NCCL if gpus else collective.AUTO
        )
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        except tf.errors.UnknownError as error:
            # TensorFlow does not say why its server does not start.
            raise RunError(
                f"--strategy=multi_worker cannot start: {first_line(error)}; the port of this worker in TF_CONFIG may be in use by another process: "
                "use another port for it on all workers"
            ) from error
    if gpus and num_devices > len(gpus):
        raise ConfigError(
            f"--num_devices={num_devices} is greater than the number of GPUs of this machine ({len(gpus)}); use at most {len(gpus)}"
        )
    if name == "auto":
        name = (
            "mirrored"
            if max(num_devices, len(gpus) if not num_devices else 0) > 1
            else "one_device"
        )
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")
    if gpus:
        return tf.distribute.MirroredStrategy(
            [f"/gpu:{i}" for i in range(num_devices or len(gpus))]
        )
    return tf.distribute.MirroredStrategy(_logical_cpus(max(num_devices, 1)))


def _logical_cpus(count: int) -> list[str]:
    """Splits the CPU into `count` logical devices, which share its cores."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError:
        # TensorFlow has already created its devices; there may be enough of them.
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise RunError(
                f"--num_devices={count} comes too late: TensorFlow has already begun to use the CPU as fewer devices in this process; start "
                "another process, or omit it"
            ) from None
    return [f"/cpu:{i}" for i in range(count)]


def _tpu_strategy(tpu: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:
        # A problem with a TPU's name, address or state can raise any of a dozen exception types.
        raise RunError(
            f"--tpu={tpu} cannot be reached: {first_line(error)}; {_tpu_advice(tpu)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _tpu_advice(tpu: str) -> str:
    if tpu == "local" and not is_tensorflow_for_tpus():
        return "this TensorFlow does not support TPUs: on a TPU VM, install requirements-tpu.txt as its first lines say"
    return "check its name, its state and this machine's access to it"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the chief, which writes the files of the run."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return True
    # The chief is the one that the cluster specification names, otherwise the first worker.
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type is None or (resolver.task_type, resolver.task_id) == (first, 0)


def check_strategy(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Checks the flags that depend on the devices.

    Raises:
        ConfigError: if the batch cannot be divided among the replicas, or `--jit=step` is used with several replicas.
    """
    replicas = strategy.num_replicas_in_sync
    config.check_replicas(replicas)
    if (
        config.jit == "step"
        and replicas > 1
        and not isinstance(strategy, tf.distribute.TPUStrategy)
    ):
        raise ConfigError(
            f"--jit=step supports one device only, but there are {replicas}; use --jit=ppm"
        )
    if config.jit == "step" and config.strategy in ("mirrored", "multi_worker"):
        # On a GPU, their cross-replica context does not exist inside of a compiled step.
        raise ConfigError(
            f"--jit=step is not supported with --strategy={config.strategy}; use --strategy=one_device, or --jit=ppm"
        )


def set_numerics(config: Config) -> None:
    """Sets the seed and the numerical settings of the process; must be called before its first computation."""
    tf.keras.utils.set_random_seed(config.seed)
    # XLA, which compiles whole steps and everything for TPUs, rejects the gradient of max-pooling under op determinism; on CPUs
    # and TPUs this gradient is deterministic anyway.
    if config.deterministic and config.jit != "step" and config.strategy != "tpu":
        tf.config.experimental.enable_op_determinism()
    else:
        # An earlier run of this process may have enabled it.
        disable_op_determinism()
    # float32 keeps its 24 bits of precision on newer GPUs too; users who want speed can choose half precision.
    tf.config.experimental.enable_tensor_float_32_execution(False)
