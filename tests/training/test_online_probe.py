"""Online probe: it evaluates the features of a run without changing its results."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pixpro_tf.backbones import resnet
from pixpro_tf.evaluation.segmentation.scores import SegmentationScores
from pixpro_tf.storage.run_folder import RunFolder
from pixpro_tf.training import online_probe
from pixpro_tf.training.online_probe import OnlineProbe
from tests.support.models import settle
from tests.support.runs import assert_bit_identical
from tests.support.tiny_run import metrics_of, weights_of


def events_of(run_dir):
    """Returns the contents of TensorBoard, by tag and step."""
    folder = run_dir / "tensorboard" / run_dir.name
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: {each.step: tf.make_ndarray(each.tensor_proto) for each in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def probed(run_dir):
    """Returns the probe's scalars in TensorBoard, by step."""
    return {step: float(value) for step, value in events_of(run_dir)["probe/mean_iou"].items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.thorough)]
)
def test_probe_and_figures_of_features_do_not_change_the_run(
    train, tiny_flags, scenes_dir, tmp_path, precision
):
    flags = [*tiny_flags, f"--precision={precision}", "--max_steps=5", "--log_every=1"]
    train(*flags, f"--run_dir={tmp_path / 'without'}")
    process = train(
        *flags,
        f"--run_dir={tmp_path / 'with'}",
        "--probe_every=5",
        "--features_every=5",
        f"--data_dir={scenes_dir}",
    )
    assert_bit_identical(*(weights_of(tmp_path / name, 5) for name in ("without", "with")))
    timings = ("images_per_second", "data_wait_share")
    for line, other in zip(
        *(metrics_of(tmp_path / name) for name in ("without", "with")), strict=True
    ):
        assert {name: line[name] for name in line if name not in timings} == {
            name: other[name] for name in other if name not in timings
        }
    found = probed(tmp_path / "with")
    assert sorted(found) == [0, 5]
    assert all(0.02 < value < 0.5 for value in found.values()), found
    assert f"probe at step 5: mIoU {100 * found[5]:.1f} % on scenes/128" in process.stdout
    events = events_of(tmp_path / "with")
    assert all(0 < value <= 1 for value in events["probe/dense_matching"].values())
    for tag in ("matches", "components", "probe/dense_matching"):
        assert sorted(events[tag]) == [0, 5], tag
    assert "| --batch_size | **8** |" in events["configuration"][0].item().decode()
    names = {path.name for path in (tmp_path / "with" / "pictures").iterdir()}
    assert {
        f"{name}-{step:07d}.png" for name in ("matches", "components") for step in (0, 5)
    } <= names
    # Without the flag, short runs have none.
    assert set(events_of(tmp_path / "without")) & {"matches", "components"} == set()


@pytest.mark.slow
def test_probe_distinguishes_backbones(scenes_dir, tmp_path):
    found = []
    for seed in (0, 1):
        tf.keras.utils.set_random_seed(seed)
        backbone = resnet.build("resnet10", output_stride=16)
        settle(backbone, seed)
        before = [variable.numpy() for variable in backbone.variables]
        folder = RunFolder(str(tmp_path / str(seed)))
        probe = OnlineProbe(0, folder, backbone, every=5, data_dir=str(scenes_dir))
        probe.on_train_begin()
        for step in range(1, 8 if seed == 0 else 2):
            probe.on_step_end(step, {})
        found.append(probed(tmp_path / str(seed)))
        for variable, value in zip(backbone.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        assert backbone.trainable_variables
    assert sorted(found[0]) == [0, 5] and sorted(found[1]) == [0]
    # The weights have not changed, so neither has their mIoU.
    assert found[0][0] == found[0][5] != found[1][0]


def test_the_probe_is_trained_and_scored_on_different_splits(monkeypatch):
    found = {}

    def train_linear(maps, masks, num_classes, **settings):
        found["trained"] = maps, masks, num_classes
        return "head"

    def score(head, batches, num_classes):
        found["scored"] = head, batches, num_classes
        return SegmentationScores(np.eye(3, dtype=np.int64))

    monkeypatch.setattr(online_probe.frozen, "train_linear", train_linear)
    monkeypatch.setattr(online_probe, "score", score)
    probe = OnlineProbe.__new__(OnlineProbe)
    probe._num_classes = 3
    probe._maps_of = lambda split: (f"maps of {split}", f"masks of {split}")
    assert probe._mean_iou() == 1.0
    train, test = online_probe.TRAIN_SPLIT, online_probe.SPLIT
    assert found["trained"] == (f"maps of {train}", f"masks of {train}", 3)
    assert found["scored"] == ("head", [(f"maps of {test}", f"masks of {test}")], 3)
    assert train.partition("[")[0] != test.partition("[")[0]
