"""Flags of the optimisation: optimizer, batch and schedules."""

import dataclasses

from pixpro_tf.config.flag import flag, integers, refuse


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class OptimisationFlags:
    """Optimizer, batch and schedules."""

    optimizer: str = flag(
        "lars",
        "Optimisation",
        "lamb comes from tensorflow-addons, on Python 3.10 and 3.11; adamw suits small batches and short runs",
        choices=("lars", "sgd", "lamb", "adamw"),
    )
    batch_size: int = flag(
        1024, "Optimisation", "global batch, over all replicas", unit="images", minimum=1
    )
    gradient_accumulation: int = flag(
        1,
        "Optimisation",
        "parts of the batch that are computed one after the other, with the activations of one in memory; batch normalisation and "
        "--instance_loss=contrastive see one part at a time",
        unit="parts",
        minimum=1,
    )
    epochs: int = flag(
        100, "Optimisation", "length of the schedules, and of the run", unit="epochs", minimum=1
    )
    base_lr: float = flag(
        1.0, "Optimisation", "peak rate per 256 images: the rate is base_lr * batch_size / 256"
    )
    schedule: str = flag(
        "cosine", "Optimisation", "how the rate falls after the warm-up", choices=("cosine", "step")
    )
    lr_drops: str = flag(
        "60,80",
        "Optimisation",
        "where --schedule=step multiplies the rate by 0.1",
        unit="epochs",
        used_by={"schedule": ("step",)},
    )
    warmup_epochs: int = flag(
        5, "Optimisation", "linear warm-up from a hundredth of the rate", unit="epochs", minimum=0
    )
    weight_decay: float = flag(
        1e-5,
        "Optimisation",
        "lars, lamb, adamw: of weights with more than one dimension; sgd: of all",
        minimum=0,
    )
    momentum: float = flag(
        0.9, "Optimisation", "of lars and sgd", used_by={"optimizer": ("lars", "sgd")}
    )
    trust_coefficient: float = flag(
        0.001, "Optimisation", "of lars", used_by={"optimizer": ("lars",)}
    )
    steps_per_epoch: int = flag(0, "Optimisation", "0 is every image once", unit="steps", minimum=0)
    max_steps: int = flag(
        0,
        "Optimisation",
        "stop after this many steps and leave the schedules as they are; 0 is the whole run",
        unit="steps",
        minimum=0,
        fixed=False,
    )

    @property
    def peak_rate(self) -> float:
        """Learning rate at the end of the warm-up."""
        return self.base_lr * self.batch_size / 256

    @property
    def lr_drop_epochs(self) -> list[int]:
        """Epochs at which a step schedule drops the rate."""
        return integers("lr_drops", self.lr_drops)

    def check_replicas(self, replicas: int) -> None:
        """Raises `ConfigError` unless the parts of a batch can be split over `replicas` devices."""
        shares = replicas * self.gradient_accumulation
        if self.batch_size % shares:
            below = self.batch_size // shares * shares or shares
            over = f"{replicas} replicas"
            if self.gradient_accumulation > 1:
                parts = f"the {self.gradient_accumulation} parts of --gradient_accumulation"
                over = f"{parts} on {over}" if replicas > 1 else parts
            refuse(
                self,
                "batch_size",
                f"cannot be split over {over}; give a multiple of {shares}, for example --batch_size={below}",
            )

    def check_optimisation(self) -> None:
        """Raises `ConfigError` for a combination of these flags that cannot be."""
        if not 0 <= self.momentum < 1:
            refuse(self, "momentum", "is no momentum; give a number from 0 up to, but not, 1")
        if not self.base_lr > 0:
            refuse(self, "base_lr", "does not train; give a number above 0")
        if not self.trust_coefficient > 0:
            refuse(
                self,
                "trust_coefficient",
                "does not train; give a number above 0, the paper's is 0.001",
            )
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            refuse(
                self,
                "warmup_epochs",
                f"leaves nothing of --epochs={self.epochs}; give at most {self.epochs - 1}",
            )
        if self.schedule == "step":
            drops = self.lr_drop_epochs
            if not drops or drops != sorted(set(drops)) or drops[0] < 1 or drops[-1] >= self.epochs:
                refuse(
                    self,
                    "lr_drops",
                    f"must be rising epochs between 1 and {self.epochs - 1}, as 60,80",
                )
