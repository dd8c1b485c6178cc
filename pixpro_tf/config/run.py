"""Flags of the run: its folder, and how often it saves, logs, plots and evaluates."""

import dataclasses

from pixpro_tf.config.flag import flag, integers, refuse


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class RunFlags:
    """Folder of the run, and how often it saves, logs, plots and evaluates."""

    run_dir: str = flag(
        "runs/pixpro",
        "Run",
        "folder of the run, created if it does not exist",
        fixed=False,
        path=True,
    )
    resume: bool = flag(
        True,
        "Run",
        "resume from the last checkpoint in the run folder; off requires a new folder",
        fixed=False,
    )
    seed: int = flag(
        0,
        "Run",
        "seed of the weights, the order of the images, the crops and the photometric augmentation",
        minimum=0,
        maximum=2**32 - 1,
    )
    checkpoint_every: int = flag(
        0,
        "Run",
        "interval between checkpoints; 0 saves at the end of each epoch, but at most every three minutes",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    keep_checkpoints: int = flag(
        3,
        "Run",
        "number of most recent checkpoints to keep",
        unit="checkpoints",
        minimum=1,
        fixed=False,
    )
    keep_every: int = flag(
        0,
        "Run",
        "interval between checkpoints that are kept permanently; 0 for none",
        unit="checkpoints",
        minimum=0,
        fixed=False,
    )
    log_every: int = flag(
        20, "Run", "interval between progress lines", unit="steps", minimum=1, fixed=False
    )
    pictures_every: int = flag(
        0,
        "Run",
        "interval between figures of the views; 0 plots at the end of each epoch, but at most every three minutes",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    features_every: int = flag(
        0,
        "Run",
        "interval between figures of the features (principal components, dense matches) on images of the run, with their dense matching "
        "accuracy; 0 plots at the end of each epoch, but at most every three minutes; not on TPUs",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    probe_every: int = flag(
        0,
        "Run",
        "interval between evaluations of the features during training (mIoU of a linear layer on scenes/128); 0 for never",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    profile_steps: str = flag(
        "",
        "Run",
        "first and last step of a TensorBoard profile, e.g. 20,30; empty for none",
        fixed=False,
    )
    deterministic: bool = flag(
        True,
        "Run",
        "compute the same numbers from the same flags, bit for bit; slower on GPUs, and not guaranteed there with --jit=step",
        fixed=False,
    )

    @property
    def profile_range(self) -> tuple[int, int] | None:
        """First and last profiled step; None without a profile."""
        if not self.profile_steps:
            return None
        first, last = integers("profile_steps", self.profile_steps)
        return first, last

    def check_run(self) -> None:
        """Raises `ConfigError` if these flags are invalid on their own or in combination."""
        if self.profile_steps:
            steps = integers("profile_steps", self.profile_steps)
            if len(steps) != 2 or not 1 <= steps[0] < steps[1]:
                refuse(
                    self,
                    "profile_steps",
                    "must be the first and the last step, counted from 1, e.g. 20,30",
                )
