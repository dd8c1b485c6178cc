"""What the devices of this process compute best."""

import os

import tensorflow as tf

# Compute capabilities from which GPUs multiply bfloat16 and float16 fast.
_BFLOAT16_FROM, _FLOAT16_FROM = (8, 0), (7, 0)
_GPUS_OF_THE_DRIVER = "/proc/driver/nvidia/gpus"


def on_cpu() -> bool:
    """Returns whether this process has no other devices than CPUs.

    Examples:
        >>> from pixpro_tf.ops import devices
        >>> devices.on_cpu() == (devices.best_precision() == "float32")
        True
    """
    return {device.device_type for device in tf.config.list_logical_devices()} <= {"CPU"}


def has_unseen_gpu() -> bool:
    """Returns whether the driver of this machine has an NVIDIA GPU, but TensorFlow sees none and none is hidden from it on purpose.

    Examples:
        >>> from pixpro_tf.ops import devices
        >>> devices.has_unseen_gpu()
        False
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "?") in ("", "-1")
    if hidden or tf.config.list_physical_devices("GPU"):
        return False
    return os.path.isdir(_GPUS_OF_THE_DRIVER) and bool(os.listdir(_GPUS_OF_THE_DRIVER))


def best_precision() -> str:
    """Returns the number format that trains fastest without losing accuracy on the devices of this process.

    It is float32 on CPUs, bfloat16 on TPUs and on GPUs of compute capability 8.0 and above, float16 on GPUs of 7.x, and float32 on older
    ones. The oldest GPU decides.

    Examples:
        >>> from pixpro_tf.ops import devices
        >>> devices.best_precision() in ("float32", "bfloat16", "float16")
        True
    """
    if tf.config.list_logical_devices("TPU"):
        return "bfloat16"
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "float32"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    oldest = min(each.get("compute_capability", (0, 0)) for each in details)
    if oldest >= _BFLOAT16_FROM:
        return "bfloat16"
    return "float16" if oldest >= _FLOAT16_FROM else "float32"
