"""Flags of the hardware: devices, number format and compilation."""

import dataclasses
import json
import math
import os

from pixpro_tf.config.flag import flag, refuse

# Roles of the processes in a cluster. All of them train; the chief, or the first worker of a cluster without a chief, writes the files.
_ROLES = {"chief", "worker"}
# Variables that Slurm sets for each process of a job step.
SLURM_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_PROCID",
    "SLURM_STEP_NODELIST",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_TASKS_PER_NODE",
)


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class HardwareFlags:
    """Devices, number format and compilation."""

    strategy: str = flag(
        "auto",
        "Hardware",
        "distribution strategy: auto selects mirrored for several devices (see --num_devices) and one_device otherwise; multi_worker runs on "
        "the processes of --cluster; tpu requires --tpu",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        fixed=False,
    )
    cluster: str = flag(
        "tf_config",
        "Hardware",
        "source of the addresses of the other processes: the variable TF_CONFIG, or the variables of a Slurm job step",
        choices=("tf_config", "slurm"),
        fixed=False,
        used_by={"strategy": ("multi_worker",)},
    )
    tpu: str = flag("", "Hardware", "name or address of the TPU, or local on a TPU VM", fixed=False)
    num_devices: int = flag(
        0,
        "Hardware",
        "number of devices that mirrored uses on this machine: GPUs, or logical CPUs on a machine without GPUs; 0 for all GPUs",
        minimum=0,
        fixed=False,
        used_by={"strategy": ("auto", "mirrored")},
    )
    precision: str = flag(
        "float32",
        "Hardware",
        "number format of the networks; losses, normalisation, propagation and all state stay in float32; auto selects bfloat16 on TPUs and "
        "on GPUs from Ampere on, float16 on Volta and Turing GPUs, and float32 otherwise, and a resumed run keeps its choice",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    loss_scale: str = flag(
        "dynamic",
        "Hardware",
        "loss scale of --precision=float16: dynamic or a number",
        used_by={"precision": ("float16",)},
    )
    jit: str = flag(
        "ppm",
        "Hardware",
        "scope of XLA compilation: the propagation module and batch norm over several devices (ppm), the whole training step (step; on one device or a TPU; slow on CPUs, not measured on GPUs), or "
        "nothing (off)",
        choices=("ppm", "step", "off"),
        fixed=False,
    )

    @property
    def has_remote_tpu(self) -> bool:
        """Whether a TPU is used whose hosts are other machines than this one."""
        return self.tpu not in ("", "local")

    def check_hardware(self) -> None:
        """Raises `ConfigError` if these flags are invalid on their own or in combination."""
        if self.strategy == "tpu" and not self.tpu:
            refuse(
                self,
                "strategy",
                "requires the name of a TPU; add --tpu=NAME, or --tpu=local on a TPU VM",
            )
        if self.tpu and self.strategy != "tpu":
            refuse(self, "tpu", f"is unused with --strategy={self.strategy}; add --strategy=tpu")
        if self.loss_scale != "dynamic" and not _is_positive_number(self.loss_scale):
            refuse(self, "loss_scale", "must be dynamic or a number greater than 0")
        if self.strategy == "tpu" and self.precision == "float16":
            refuse(self, "precision", "is not supported on TPUs; use --precision=bfloat16")

    def check_cluster(self) -> None:
        """Raises `ConfigError` if the strategy needs a cluster and the environment does not describe one."""
        if self.cluster == "slurm":
            missing = [name for name in SLURM_VARIABLES if not os.environ.get(name)]
            if missing:
                verb = "is" if len(missing) == 1 else "are"
                refuse(
                    self,
                    "cluster",
                    f"requires the variables of a Slurm job step, of which {', '.join(missing)} {verb} not set; start the command with srun",
                )
        elif self.strategy == "multi_worker":
            _check_cluster(self, os.environ.get("TF_CONFIG", ""))


def _check_cluster(flags: HardwareFlags, text: str) -> None:
    if not text:
        refuse(
            flags,
            "strategy",
            "needs the environment variable TF_CONFIG with the workers of the cluster and the index of this one; "
            "see https://www.tensorflow.org/guide/distributed_training#TF_CONFIG",
        )
    try:
        cluster = json.loads(text)
        addresses = {role: list(cluster["cluster"][role]) for role in cluster["cluster"]}
        role, index = cluster["task"]["type"], cluster["task"]["index"]
        others = sorted({role, *addresses} - _ROLES)
        one_chief = len(addresses.get("chief", [])) <= 1
        valid = bool(others) or (one_chief and 0 <= index < len(addresses[role]))
    except (ValueError, KeyError, TypeError):
        others, valid = [], False
    if others:
        refuse(
            flags,
            "strategy",
            f"does not support the role {others[0]} in TF_CONFIG={text!r}; use only workers, and at most one chief",
        )
    if not valid:
        refuse(
            flags,
            "strategy",
            f"cannot read TF_CONFIG={text!r}; it must be JSON such as "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}',
        )


def _is_positive_number(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
