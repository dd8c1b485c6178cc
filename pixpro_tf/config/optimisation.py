"""Flags of the optimisation: optimizer, batch and schedules."""

import dataclasses
import math
from typing import TypeVar

from pixpro_tf.config.flag import AUTO, flag, integers, refuse

# A momentum target must have been renewed some times before it teaches anything: at --ema_momentum=0.99, 20 000 steps renew it 100 times.
AUTOMATIC_EPOCHS, AUTOMATIC_STEPS = 100, 20_000
# As in the paper: 5 of 100 epochs.
_WARMUP_SHARE = 0.05

AnyFlags = TypeVar("AnyFlags", bound="OptimisationFlags")


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class OptimisationFlags:
    """Optimizer, batch and schedules."""

    optimizer: str = flag(
        "lars",
        "Optimisation",
        "optimizer; adamw suits small batches and short runs",
        choices=("lars", "sgd", "lamb", "adamw"),
    )
    batch_size: int = flag(
        1024,
        "Optimisation",
        "size of the global batch, summed over all replicas",
        unit="images",
        minimum=1,
    )
    gradient_accumulation: int = flag(
        1,
        "Optimisation",
        "number of micro-batches that a batch is split into; they are computed one after the other, with the activations of only one in "
        "memory; equivalent to the full batch, except that batch norm, and losses that compare images with each other, see one micro-batch at a time",
        unit="micro-batches",
        minimum=1,
    )
    epochs: int = flag(
        100,
        "Optimisation",
        f"length of the run and of its schedules; auto chooses {AUTOMATIC_EPOCHS} epochs, or as many more as {AUTOMATIC_STEPS} steps take",
        unit="epochs",
        minimum=1,
        automatic=True,
    )
    base_lr: float = flag(
        1.0,
        "Optimisation",
        "peak learning rate per 256 images; --lr_scaling tells how it follows the batch size",
    )
    lr_scaling: str = flag(
        "linear",
        "Optimisation",
        "growth of the peak learning rate with the batch size: linear is base_lr * batch_size / 256, sqrt is base_lr * 4 * "
        "sqrt(batch_size / 1024), which the authors advise for other batches than their 1024, where both are the same",
        choices=("linear", "sqrt"),
    )
    schedule: str = flag(
        "cosine",
        "Optimisation",
        "learning rate schedule after the warm-up",
        choices=("cosine", "step"),
    )
    lr_drops: str = flag(
        "60,80",
        "Optimisation",
        "epochs after which --schedule=step multiplies the learning rate by 0.1",
        unit="epochs",
        used_by={"schedule": ("step",)},
    )
    warmup_epochs: int = flag(
        5,
        "Optimisation",
        "length of the linear warm-up, which starts at a hundredth of the peak learning rate; auto chooses a twentieth of --epochs",
        unit="epochs",
        minimum=0,
        automatic=True,
    )
    weight_decay: float = flag(
        1e-5,
        "Optimisation",
        "weight decay; lars, lamb and adamw apply it only to weights with more than one dimension, sgd to all",
        minimum=0,
    )
    momentum: float = flag(
        0.9, "Optimisation", "momentum of lars and sgd", used_by={"optimizer": ("lars", "sgd")}
    )
    trust_coefficient: float = flag(
        0.001, "Optimisation", "trust coefficient of lars", used_by={"optimizer": ("lars",)}
    )
    steps_per_epoch: int = flag(
        0, "Optimisation", "length of an epoch; 0 uses every image once", unit="steps", minimum=0
    )
    max_steps: int = flag(
        0,
        "Optimisation",
        "number of steps after which to stop, without shortening the schedules; 0 for the whole run",
        unit="steps",
        minimum=0,
        fixed=False,
    )

    @property
    def peak_rate(self) -> float:
        """Learning rate at the end of the warm-up.

        Source: the authors' advice for the square root (https://github.com/zdaxie/PixPro/issues/5).
        """
        if self.lr_scaling == "sqrt":
            return self.base_lr * 4 * math.sqrt(self.batch_size / 1024)
        return self.base_lr * self.batch_size / 256

    def with_epochs(self: AnyFlags, steps_per_epoch: int) -> AnyFlags:
        """Returns the flags with numbers instead of `auto` for `--epochs` and `--warmup_epochs`.

        Args:
            steps_per_epoch: number of steps in an epoch.
        """
        epochs, warmup = self.epochs, self.warmup_epochs
        if epochs == AUTO:
            epochs = max(AUTOMATIC_EPOCHS, math.ceil(AUTOMATIC_STEPS / steps_per_epoch))
        if warmup == AUTO:
            warmup = round(epochs * _WARMUP_SHARE)
        return dataclasses.replace(self, epochs=epochs, warmup_epochs=warmup)

    @property
    def lr_drop_epochs(self) -> list[int]:
        """Epochs at which the step schedule lowers the learning rate."""
        return integers("lr_drops", self.lr_drops)

    def check_replicas(self, replicas: int) -> None:
        """Raises `ConfigError` unless the micro-batches of a batch can be split over `replicas` devices."""
        shares = replicas * self.gradient_accumulation
        if self.batch_size % shares:
            below = self.batch_size // shares * shares or shares
            over = f"over {replicas} replicas"
            if self.gradient_accumulation > 1:
                parts = f"into the {self.gradient_accumulation} micro-batches of --gradient_accumulation"
                over = f"{parts} on {replicas} replicas" if replicas > 1 else parts
            refuse(
                self,
                "batch_size",
                f"cannot be split {over}; use a multiple of {shares}, e.g. --batch_size={below}",
            )

    def check_optimisation(self) -> None:
        """Raises `ConfigError` if these flags are invalid on their own or in combination."""
        if not 0 <= self.momentum < 1:
            refuse(self, "momentum", "must be at least 0 and less than 1")
        if not self.base_lr > 0:
            refuse(self, "base_lr", "must be greater than 0")
        if not self.trust_coefficient > 0:
            refuse(
                self,
                "trust_coefficient",
                "must be greater than 0; the paper uses 0.001",
            )
        if self.epochs == AUTO and self.schedule == "step":
            refuse(
                self,
                "epochs",
                "is not supported with --schedule=step, whose --lr_drops need a known number of epochs; use a number, or --schedule=cosine",
            )
        if self.epochs != AUTO and self.warmup_epochs >= self.epochs and self.warmup_epochs:
            refuse(
                self,
                "warmup_epochs",
                f"must be less than --epochs={self.epochs}; use at most {self.epochs - 1}",
            )
        if self.schedule == "step":
            if self.epochs < 2:
                refuse(
                    self,
                    "schedule",
                    "needs at least two epochs; use --epochs=2 or more, or --schedule=cosine",
                )
            drops = self.lr_drop_epochs
            if not drops or drops != sorted(set(drops)) or drops[0] < 1 or drops[-1] >= self.epochs:
                refuse(
                    self,
                    "lr_drops",
                    f"must be increasing epochs from 1 to {self.epochs - 1}, separated by commas",
                )
            if drops[0] < self.warmup_epochs:
                refuse(
                    self,
                    "lr_drops",
                    f"must not begin during the warm-up of --warmup_epochs={self.warmup_epochs}; use later drops, or a shorter warm-up",
                )
