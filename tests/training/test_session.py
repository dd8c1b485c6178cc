"""Tests of the numbers of steps of a run."""

import pytest

from pixpro_tf.config import Config
from pixpro_tf.errors import ConfigError
from pixpro_tf.training.session import Steps


def test_a_run_ends_with_its_epochs_or_at_a_given_step():
    config = {"epochs": 3, "warmup_epochs": 0, "batch_size": 10}
    assert Steps.of(Config(**config), 45) == Steps(per_epoch=4, total=12, last=12)
    assert Steps.of(Config(**config, max_steps=7), 45) == Steps(per_epoch=4, total=12, last=7)
    assert Steps.of(Config(**config, max_steps=70), 45).last == 12
    assert Steps.of(Config(**config, steps_per_epoch=2), 45).total == 6


def test_a_profile_after_the_last_step_is_rejected():
    config = {"epochs": 3, "warmup_epochs": 0, "batch_size": 10}
    Steps.of(Config(**config, profile_steps="12,20"), 45)
    with pytest.raises(ConfigError) as caught:
        Steps.of(Config(**config, profile_steps="13,20"), 45)
    assert str(caught.value) == (
        "--profile_steps=13,20 begins after the last step, 12; use earlier steps"
    )
