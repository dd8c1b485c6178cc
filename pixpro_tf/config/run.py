"""Flags of the run: its folder, and when it saves, logs, plots and evaluates."""

import dataclasses
import re

from pixpro_tf.config.flag import flag, integers, refuse


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class RunFlags:
    """Folder of the run, and when it saves, logs, plots and evaluates."""

    run_dir: str = flag("runs/pixpro", "Run", "folder of the run, made if missing", fixed=False)
    resume: bool = flag(
        True,
        "Run",
        "go on from the folder's last checkpoint; without it the folder must be new",
        fixed=False,
    )
    seed: int = flag(0, "Run", "of weights, order of images, crops and colours", minimum=0)
    checkpoint_every: int = flag(
        0,
        "Run",
        "between checkpoints; 0 is at the ends of epochs, at most every three minutes",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    keep_checkpoints: int = flag(
        3, "Run", "how many of the last ones stay", unit="checkpoints", minimum=1, fixed=False
    )
    keep_every: int = flag(
        0,
        "Run",
        "keep every n-th checkpoint for good; 0 is none",
        unit="checkpoints",
        minimum=0,
        fixed=False,
    )
    log_every: int = flag(20, "Run", "between progress lines", unit="steps", minimum=1, fixed=False)
    pictures_every: int = flag(
        0,
        "Run",
        "between pictures of the views; 0 is at the ends of epochs, at most every three minutes",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    probe_every: int = flag(
        0,
        "Run",
        "between looks at what the features are good for: mIoU of a linear layer on them, on scenes/128; 0 is never",
        unit="steps",
        minimum=0,
        fixed=False,
    )
    profile_steps: str = flag(
        "", "Run", "FIRST,LAST step of a TensorBoard profile, as 20,30; empty is none", fixed=False
    )
    deterministic: bool = flag(
        True,
        "Run",
        "the same numbers from the same flags, bit for bit; costs speed on GPUs, and does not cover them with --jit=step",
        fixed=False,
    )

    @property
    def profile_range(self) -> tuple[int, int] | None:
        """First and last profiled step, or None."""
        if not self.profile_steps:
            return None
        first, last = integers("profile_steps", self.profile_steps)
        return first, last

    def check_run(self) -> None:
        """Raises `ConfigError` for a combination of these flags that cannot be."""
        if self.seed >= 2**32:
            refuse(self, "seed", "is too large; give a number below 2**32")
        if pattern := re.search(r"[*?\[\]\\]", self.run_dir):
            refuse(
                self,
                "run_dir",
                f"has a {pattern[0]}, which TensorFlow takes for a pattern; give one without",
            )
        if self.profile_steps:
            steps = integers("profile_steps", self.profile_steps)
            if len(steps) != 2 or not 1 <= steps[0] < steps[1]:
                refuse(
                    self,
                    "profile_steps",
                    "must be the first and the last step, counted from 1, as 20,30",
                )
