"""Flags of the hardware: devices, number format, and what is compiled."""

import dataclasses
import json
import math
import os

from pixpro_tf.config.flag import flag, refuse

# Roles of a cluster's processes. All of them train; the chief, or without one the first worker, writes.
_ROLES = {"chief", "worker"}


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class HardwareFlags:
    """Devices, number format, and what is compiled."""

    strategy: str = flag(
        "auto",
        "Hardware",
        "auto: mirrored where there are several GPUs, else one_device; multi_worker reads TF_CONFIG; tpu needs --tpu",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        fixed=False,
    )
    tpu: str = flag("", "Hardware", "name or address of the TPU, local on a TPU VM", fixed=False)
    num_devices: int = flag(
        0,
        "Hardware",
        "devices that mirrored uses on this machine: GPUs, or without any, logical CPUs; 0 is all GPUs",
        minimum=0,
        fixed=False,
        used_by={"strategy": ("auto", "mirrored")},
    )
    precision: str = flag(
        "float32",
        "Hardware",
        "of the networks; losses, norms, propagation and all state stay float32",
        choices=("float32", "bfloat16", "float16"),
    )
    loss_scale: str = flag(
        "dynamic",
        "Hardware",
        "of --precision=float16: dynamic, none or a number",
        used_by={"precision": ("float16",)},
    )
    jit: str = flag(
        "ppm",
        "Hardware",
        "what XLA compiles: the propagation, the whole step (best on GPUs and TPUs, slow on CPUs), or nothing",
        choices=("ppm", "step", "off"),
        fixed=False,
    )

    def check_hardware(self) -> None:
        """Raises `ConfigError` for a combination of these flags that cannot be."""
        if self.strategy == "tpu" and not self.tpu:
            refuse(
                self, "strategy", "needs the TPU's name; add --tpu=NAME, or --tpu=local on a TPU VM"
            )
        if self.tpu and self.strategy != "tpu":
            refuse(self, "tpu", f"is not used by --strategy={self.strategy}; add --strategy=tpu")
        if self.precision == "float16" and self.loss_scale == "none":
            refuse(
                self,
                "precision",
                "without loss scaling loses small gradients; use --loss_scale=dynamic, or --precision=bfloat16",
            )
        if self.loss_scale not in ("dynamic", "none") and not _is_positive_number(self.loss_scale):
            refuse(self, "loss_scale", "is not known; give dynamic, none or a number above 0")
        if self.strategy == "tpu" and self.precision == "float16":
            refuse(self, "precision", "does not run on TPUs; use --precision=bfloat16")

    def check_cluster(self) -> None:
        """Raises `ConfigError` if a cluster is asked for and TF_CONFIG does not describe one."""
        if self.strategy == "multi_worker":
            _check_cluster(self, os.environ.get("TF_CONFIG", ""))


def _check_cluster(flags: HardwareFlags, text: str) -> None:
    if not text:
        refuse(
            flags,
            "strategy",
            "needs the environment variable TF_CONFIG with the cluster's workers and this one's index; "
            "see https://www.tensorflow.org/guide/distributed_training#TF_CONFIG",
        )
    try:
        cluster = json.loads(text)
        addresses = {role: list(cluster["cluster"][role]) for role in cluster["cluster"]}
        role, index = cluster["task"]["type"], cluster["task"]["index"]
        others = sorted({role, *addresses} - _ROLES)
        valid = bool(others) or 0 <= index < len(addresses[role])
    except (ValueError, KeyError, TypeError):
        others, valid = [], False
    if others:
        refuse(
            flags,
            "strategy",
            f"has no work for a {others[0]}, which TF_CONFIG={text!r} names; its cluster may have one chief, and workers",
        )
    if not valid:
        refuse(
            flags,
            "strategy",
            f"cannot read TF_CONFIG={text!r}; it must be JSON like "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}',
        )


def _is_positive_number(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
