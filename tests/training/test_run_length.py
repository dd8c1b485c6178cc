"""Length of a run: what `auto` chooses, and the warning about runs that are too short."""

import json
import re

import pytest

from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.config.flag import AUTO
from pixpro_tf.errors import ConfigError
from pixpro_tf.training.advice import advice_on_length
from tests.support.runs import error_line

AUTOMATIC = ["--epochs=auto", "--warmup_epochs=auto"]


@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs", "warmup"),
    [(1, 20_000, 1000), (9, 2223, 111), (199, 101, 5), (200, 100, 5), (4687, 100, 5)],
)
def test_automatic_epochs_are_a_hundred_or_many_steps(steps_per_epoch, epochs, warmup):
    config = command_line.parse(Config, AUTOMATIC)
    assert (config.epochs, config.warmup_epochs) == (AUTO, AUTO)
    chosen = config.with_epochs(steps_per_epoch)
    assert (chosen.epochs, chosen.warmup_epochs) == (epochs, warmup)
    assert chosen.with_epochs(7) == chosen


def test_auto_is_a_text_in_python():
    assert Config(epochs="auto", warmup_epochs="auto") == command_line.parse(Config, AUTOMATIC)


def test_given_epochs_stay():
    config = Config(epochs=40, warmup_epochs=AUTO).with_epochs(3)
    assert (config.epochs, config.warmup_epochs) == (40, 2)
    config = Config(epochs=AUTO, warmup_epochs=0).with_epochs(300)
    assert (config.epochs, config.warmup_epochs) == (100, 0)


def test_automatic_values_are_written_as_auto():
    config = command_line.parse(Config, AUTOMATIC)
    assert set(AUTOMATIC) <= set(command_line.arguments_of(config))
    assert command_line.parse(Config, command_line.arguments_of(config)) == config
    assert set(AUTOMATIC) <= set(config.changed_flags())
    assert config.differing_flags(Config(epochs=3, warmup_epochs=1).to_dict()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs=automatic"], "not a whole number or auto"),
        (["--epochs=0"], "--epochs=0 is too small; the minimum is 1"),
        (["--batch_size=auto"], "--batch_size"),
        ([*AUTOMATIC, "--schedule=step"], "--epochs=auto is not supported with --schedule"),
    ],
)
def test_other_values_are_rejected(flags, message):
    with pytest.raises(ConfigError) as raised:
        command_line.parse(Config, flags)
    assert message in raised.value.line


def test_short_runs_are_warned_about():
    said = advice_on_length(Config(), 310)
    assert said.startswith("warning: 310 steps are too few") and "at least 4000 steps" in said
    # (1 - 0.99) * 311 / 2.
    assert "they renew the target network 1.6 times" in said
    assert "e.g. with --epochs=auto, or start from trained weights" in said
    assert advice_on_length(Config(), 4000) == ""
    assert advice_on_length(Config(ema_momentum=0.9), 400) == ""
    assert advice_on_length(Config(ema_momentum=1.0), 10**6).startswith("warning: with --ema")


@pytest.mark.parametrize(("momentum", "steps"), [(0.99, 2000), (0.999, 3000), (0.9999, 20_000)])
def test_what_is_advised_makes_a_run_long_enough(momentum, steps):
    said = advice_on_length(Config(ema_momentum=momentum), steps)
    needed = int(re.search(r"use at least (\d+) steps", said)[1])
    assert advice_on_length(Config(ema_momentum=momentum), needed) == ""
    assert advice_on_length(Config(ema_momentum=momentum), needed - 50) != ""
    # --epochs=auto gives 20 000 steps, if not more.
    assert ("--epochs=auto" in said) == (needed <= 20_000)
    other = float(re.search(r", or --ema_momentum=([\d.]+), or", said)[1])
    assert other < momentum and advice_on_length(Config(ema_momentum=other), steps) == ""


def test_runs_that_need_no_moving_target_are_not_warned_about():
    contrast = {"pixel_loss": "pixcontrast"}
    assert advice_on_length(Config(**contrast), 310) == ""
    assert advice_on_length(Config(**contrast, instance_weight=1.0), 310) == ""
    both = Config(instance_weight=1.0, instance_loss="contrastive")
    assert advice_on_length(both, 310) == "" and advice_on_length(Config(instance_weight=1.0), 310)
    alone = {"pixel_weight": 0.0, "instance_weight": 1.0}
    assert advice_on_length(Config(**alone), 310) != ""
    assert advice_on_length(Config(**alone, instance_loss="contrastive"), 310) == ""
    assert advice_on_length(Config(init_from="keras:ResNet50"), 310) == ""


@pytest.mark.parametrize("flags", [{"pixel_loss": "pixcontrast"}, {"init_from": "keras:ResNet50"}])
def test_no_run_learns_much_in_a_few_steps(flags):
    assert advice_on_length(Config(**flags), 200) == ""
    said = advice_on_length(Config(**flags), 199)
    assert said.startswith("warning: 199 steps are too few") and "use at least 200" in said


@pytest.mark.slow
def test_a_run_keeps_its_automatic_length(train, tiny_flags, tmp_path):
    flags = [flag for flag in tiny_flags if not flag.startswith(("--epochs", "--warmup_epochs"))]
    flags += [*AUTOMATIC, f"--run_dir={tmp_path}", "--pictures_every=1000"]
    first = train(*flags, "--max_steps=1")
    assert "2000 epochs, 1 steps" in first.stdout
    kept = json.loads((tmp_path / "config.json").read_text())["flags"]
    assert (kept["epochs"], kept["warmup_epochs"]) == (2000, 100)
    assert ", resuming from step 1" in train(*flags, "--max_steps=2").stdout
    # The same number, given, is the same run, and another one is not.
    given = [*flags, "--epochs=2000", "--warmup_epochs=100", "--max_steps=2"]
    assert "Nothing to do" in train(*given).stdout
    refused = train(*given, "--epochs=7", "--warmup_epochs=1", check=False)
    assert "--epochs=7 (the run has 2000)" in error_line(refused)
