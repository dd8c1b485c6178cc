"""Choice of the number format by the devices of the process."""

import pytest
import tensorflow as tf

from pixpro_tf import build
from pixpro_tf.config import Config
from pixpro_tf.ops import devices
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training import run
from tests.support.models import make_run


def pretend(monkeypatch, *capabilities, tpu=False):
    """Lets TensorFlow report GPUs of these compute capabilities, or a TPU."""
    gpus = list(range(len(capabilities)))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.setattr(
        tf.config, "list_logical_devices", lambda kind: ["TPU:0"] if tpu and kind == "TPU" else []
    )
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {"compute_capability": capabilities[gpu]} if capabilities[gpu] else {},
    )


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([], "float32"),
        ([(6, 1)], "float32"),
        ([(7, 0)], "float16"),
        ([(7, 5), (7, 5)], "float16"),
        ([(8, 0)], "bfloat16"),
        ([(8, 9)], "bfloat16"),
        ([(9, 0)], "bfloat16"),
        # A digit of two figures: 10.0 is newer than 9.0.
        ([(10, 0)], "bfloat16"),
        # The oldest GPU decides.
        ([(9, 0), (7, 5)], "float16"),
        ([(8, 0), None], "float32"),
    ],
)
def test_precision_suits_the_oldest_gpu(capabilities, expected, monkeypatch):
    pretend(monkeypatch, *capabilities)
    assert devices.best_precision() == expected


def test_precision_of_tpus_is_bfloat16(monkeypatch):
    pretend(monkeypatch, tpu=True)
    assert devices.best_precision() == "bfloat16"


@pytest.mark.parametrize(("capability", "scaled"), [((7, 0), True), ((8, 0), False)])
def test_loss_is_scaled_only_if_float16_is_chosen(capability, scaled, monkeypatch):
    pretend(monkeypatch, capability)
    optimizer = build.build_optimizer(Config(precision="auto"), 0.1)
    assert isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer) == scaled


def test_new_run_chooses_and_resumed_run_keeps_its_choice(tmp_path, monkeypatch):
    pretend(monkeypatch, (8, 0))
    new = run._with_choices(Config(precision="auto"), RunFolder(str(tmp_path / "new")))
    assert new.precision == "bfloat16"
    monkeypatch.undo()
    folder = RunFolder(
        str(make_run(tmp_path / "old", backbone="resnet10w0.5", precision="bfloat16"))
    )
    # On this CPU, a new run would choose float32.
    assert run._with_choices(Config(precision="auto"), folder).precision == "bfloat16"
    assert run._with_choices(Config(precision="float32"), folder).precision == "float32"


def test_automatic_precision_agrees_with_that_of_the_run():
    automatic, half = Config(precision="auto"), Config(precision="bfloat16")
    assert automatic.differing_flags(half.to_dict()) == []
    assert half.differing_flags(Config().to_dict()) == [
        "--precision=bfloat16 (the run has float32)"
    ]
