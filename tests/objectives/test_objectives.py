"""Objectives as parts of a model: what is summed, what is trained, and a custom objective."""

import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from examples import densecl
from pixpro_tf import losses
from pixpro_tf.build import build_objectives
from pixpro_tf.config import Config
from pixpro_tf.layers.heads import ProjectorSettings
from pixpro_tf.objectives.base import Objective, View
from pixpro_tf.objectives.contrast import PixelContrast
from pixpro_tf.objectives.pixel import as_bins
from pixpro_tf.ops import geometry, pairwise
from pixpro_tf.ops.numerics import unit_length
from pixpro_tf.optimizers.lars import MomentumSGD
from tests.conftest import ROOT
from tests.support import warm
from tests.support.models import make_model

BOXES = (
    np.array([[0.0, 0.0, 0.6, 0.6], [0.1, 0.1, 0.5, 0.9], [0.0, 0.0, 0.4, 0.4]], np.float32),
    # The three pairs of boxes overlap, overlap with a flip, and are disjoint.
    np.array([[0.3, 0.2, 0.9, 0.8], [0.7, 0.2, 0.2, 0.8], [0.5, 0.5, 1.0, 1.0]], np.float32),
)


def batch(size=64):
    rng = np.random.default_rng(0)
    views = rng.normal(size=(2, 3, size, size, 3)).astype(np.float32)
    return {
        "view_1": tf.constant(views[0]),
        "view_2": tf.constant(views[1]),
        "box_1": tf.constant(BOXES[0]),
        "box_2": tf.constant(BOXES[1]),
    }


def objectives_of(**flags):
    return build_objectives(Config(projector_hidden=16, projector_dim=8, **flags))


def views(levels, seed):
    rng = np.random.default_rng(seed)
    made = []
    for box in BOXES:
        outputs = {
            level: tf.constant(rng.normal(size=(3, side, side, 8)), tf.float32)
            for level, side in levels.items()
        }
        made.append(View({}, outputs, tf.constant(box)))
    return made


FLAGS = {
    "pixpro": {},
    "pixcontrast": {"pixel_loss": "pixcontrast"},
    "pixpro and regression": {"instance_weight": 0.5},
    "pixcontrast and contrast": {
        "pixel_loss": "pixcontrast",
        "instance_weight": 0.5,
        "instance_loss": "contrastive",
    },
    "contrast only": {
        "pixel_weight": 0.0,
        "instance_weight": 1.0,
        "instance_loss": "contrastive",
    },
    "without propagation": {
        "propagation": False,
        "projector_final_norm": True,
        "instance_weight": 0.5,
        "zero_init_residual": False,
    },
    "own projectors": {"pixel_levels": "c4,c5", "shared_projector": False},
    "fpn": {"pixel_levels": "p3,p4,p5", "fpn_channels": 8, "dense_head_layers": 1},
    "model_garden fpn": {
        "pixel_levels": "p3,p5",
        "fpn_channels": 8,
        "backbone_layout": "model_garden",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_all_trainable_weights_change(flags):
    model = make_model(**flags)
    # The last BN scale of a block starts at 0, so the layers before it have no gradient.
    for variable in model.trainable_variables:
        if "gamma" in variable.name:
            variable.assign(tf.ones_like(variable))
    model.start_target_from_online()
    model.compile(optimizer=MomentumSGD(0.1, weight_decay=0.0), jit_compile=False)
    before = [variable.numpy() for variable in model.trainable_variables]
    metrics = model.train_step(batch())
    assert all(np.isfinite(value) for value in metrics.values())
    # Biases before a BN change only by rounding, so only weights with more than one dimension are checked.
    for variable, old in zip(model.trainable_variables, before, strict=True):
        if variable.shape.rank > 1:
            assert np.abs(variable - old).max() > 0, variable.name


@pytest.mark.slow
@pytest.mark.parametrize("instance_loss", ["regression", "contrastive"])
def test_loss_is_weighted_sum(instance_loss):
    model = make_model(pixel_weight=0.25, instance_weight=3.0, instance_loss=instance_loss)
    metrics = model.train_step(batch())
    parts = 0.25 * metrics["pixel_loss"] + 3.0 * metrics["instance_loss"]
    assert float(metrics["loss"]) == pytest.approx(float(parts), rel=1e-6)


def test_levels_are_averaged_and_logged_separately():
    levels = {"c4": 4, "c5": 2}
    online, target = views(levels, 1), views(levels, 2)
    both = objectives_of(pixel_levels="c4,c5", shared_projector=False)[0]
    losses_of_both, metrics = both.compare(online, target)
    alone = []
    for level in levels:
        both.levels = (level,)
        alone.append(both.compare(online, target)[0])
        assert float(metrics[f"pixel_loss_{level}"]) == pytest.approx(np.mean(alone[-1]), rel=1e-5)
    np.testing.assert_allclose(losses_of_both, (alone[0] + alone[1]) / 2, rtol=1e-5)


def test_pixel_consistency_is_sum_of_both_directions():
    objective = objectives_of()[0]
    online, target = views({"c5": 3}, 1), views({"c5": 3}, 2)
    found, metrics = objective.compare(online, target)
    bins = [geometry.bins_of(tf.constant(box), 3, 3) for box in BOXES]
    o, t = ([as_bins(view.outputs["c5"]) for view in pair] for pair in (online, target))
    cosines_1, pairs = losses.pixel_consistency(o[0], t[1], bins[0], bins[1], 0.7)
    cosines_2, _ = losses.pixel_consistency(o[1], t[0], bins[1], bins[0], 0.7)
    np.testing.assert_allclose(found, -2 * (cosines_1 + cosines_2), rtol=1e-6)
    # The third pair does not overlap: it adds 0 to the loss and does not count for the metric.
    assert found[2] == 0 and float(metrics["no_overlap"]) == pytest.approx(1 / 3)
    consistency = np.mean([cosines_1[:2], cosines_2[:2]])
    assert float(metrics["consistency"]) == pytest.approx(consistency, rel=1e-5)
    assert float(metrics["positive_pairs"]) == pytest.approx(np.mean(pairs))


def test_pixel_contrast_is_mean_of_both_directions():
    objective = objectives_of(pixel_loss="pixcontrast", temperature=0.5)[0]
    online, target = views({"c5": 3}, 1), views({"c5": 3}, 2)
    found, metrics = objective.compare(online, target)
    bins = [geometry.bins_of(tf.constant(box), 3, 3) for box in BOXES]
    o, t = ([as_bins(view.outputs["c5"]) for view in pair] for pair in (online, target))
    loss_1, counted_1, right_1 = losses.pixel_contrast(o[0], t[1], bins[0], bins[1], 0.7, 0.5)
    loss_2, counted_2, right_2 = losses.pixel_contrast(o[1], t[0], bins[1], bins[0], 0.7, 0.5)
    np.testing.assert_allclose(found, (loss_1 + loss_2) / 2, rtol=1e-6)
    counted = np.sum(counted_1 + counted_2)
    assert float(metrics["matching_accuracy"]) == pytest.approx(np.sum(right_1 + right_2) / counted)
    assert float(metrics["matched_bins"]) == pytest.approx(counted / 6)
    # The third pair does not overlap.
    assert found[2] == 0 and float(metrics["no_overlap"]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("negatives", ["batch", "both"])
def test_pixel_contrast_takes_negatives_from_other_images(negatives):
    flags = {"pixel_loss": "pixcontrast", "temperature": 0.5, "negatives": negatives}
    objective = objectives_of(**flags)[0]
    online, target = views({"c5": 3}, 1), views({"c5": 3}, 2)
    found, metrics = objective.compare(online, target)
    bins = [geometry.bins_of(tf.constant(box), 3, 3) for box in BOXES]
    o, t = ([as_bins(view.outputs["c5"]) for view in pair] for pair in (online, target))
    settings = ([0, 1, 2], 0.7, 0.5, negatives == "both")
    loss_1, *_ = losses.pixel_contrast_of_batch(o[0], t[1], bins[0], bins[1], *settings)
    loss_2, *_ = losses.pixel_contrast_of_batch(o[1], t[0], bins[1], bins[0], *settings)
    np.testing.assert_allclose(found, (loss_1 + loss_2) / 2, rtol=1e-5, atol=1e-6)
    assert float(metrics["no_overlap"]) == pytest.approx(1 / 3)
    assert objective.get_config()["negatives"] == negatives


def test_instance_contrast_is_mean_of_both_directions():
    objective = objectives_of(
        pixel_weight=0.0, instance_weight=1.0, instance_loss="contrastive", instance_temperature=0.3
    )[0]
    online, target = views({"c5": 2}, 1), views({"c5": 2}, 2)
    found, metrics = objective.compare(online, target)
    p, k = (
        [unit_length(tf.reduce_mean(view.outputs["c5"], [1, 2])) for view in pair]
        for pair in (online, target)
    )
    loss_1, right_1 = losses.instance_contrast(p[0], k[1], [0, 1, 2], 0.3)
    loss_2, right_2 = losses.instance_contrast(p[1], k[0], [0, 1, 2], 0.3)
    np.testing.assert_allclose(found, (loss_1 + loss_2) / 2, rtol=1e-6)
    assert float(metrics["instance_accuracy"]) == pytest.approx(np.mean([right_1, right_2]))


@pytest.mark.parametrize("instance_loss", ["regression", "contrastive"])
def test_every_projector_ends_with_norm_on_request(instance_loss):
    maps = {"c5": tf.constant(np.random.default_rng(0).normal(1, 1, (2, 3, 3, 8)), tf.float32)}
    flags = {"instance_weight": 1.0, "instance_loss": instance_loss}
    for final_norm in (False, True):
        for objective in objectives_of(projector_final_norm=final_norm, **flags):
            found = objective.make_projector()(maps, training=True)["c5"]
            # The norm has scale 1 and shift 0, so the mean of every channel is 0.
            means = np.abs(np.mean(found, axis=(0, 1, 2)))
            assert (means.max() < 1e-5) == final_norm, objective.name


@pytest.mark.parametrize("flags", list(FLAGS.values())[:5], ids=list(FLAGS)[:5])
def test_objectives_are_rebuilt_from_their_configuration(flags):
    for objective in objectives_of(**flags):
        copy = type(objective).from_config(objective.get_config())
        assert copy.get_config() == objective.get_config()


@pytest.mark.slow
@pytest.mark.parametrize("pixel_loss", ["pixpro", "pixcontrast"])
def test_step_on_large_map_matches_computation_of_all_pairs_at_once(pixel_loss, monkeypatch):
    """The p2 map of 132 pixels has 1089 bins, which are computed block by block, compiled and not."""
    found = []
    for jit, dense_bins in (("ppm", 1024), ("off", 1024), ("off", 2000)):
        monkeypatch.setattr(pairwise, "DENSE_BINS", dense_bins)
        tf.keras.utils.set_random_seed(0)
        flags = {"pixel_loss": pixel_loss, "pixel_levels": "p2", "fpn_channels": 8}
        model = make_model(jit=jit, image_size=132, **flags)
        metrics = model.train_step(batch(132))
        found.append([float(metrics["loss"]), float(metrics["gradient_norm"])])
    np.testing.assert_allclose(found[0], found[2], rtol=1e-4)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-4)


@pytest.mark.thorough
def test_step_compiled_as_a_whole_gives_same_loss():
    flags = FLAGS["pixcontrast and contrast"] | {"pixel_levels": "p4,p5", "fpn_channels": 8}
    found = []
    for jit in ("off", "step"):
        tf.keras.utils.set_random_seed(0)
        model = make_model(jit=jit, **flags)
        step = tf.function(model.train_step, jit_compile=jit == "step")
        found.append(float(step(batch())["loss"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_missing_objectives_or_duplicate_names_are_rejected():
    with pytest.raises(
        ValueError, match="must contain at least one objective, with different names"
    ):
        make_model(objectives=[])
    with pytest.raises(
        ValueError, match="must contain at least one objective, with different names"
    ):
        make_model(objectives=[objectives_of()[0], objectives_of()[0]])


def test_objective_with_name_of_another_part_is_rejected():
    objective = PixelContrast(["c5"], ProjectorSettings(16, 8), name="target")
    with pytest.raises(ValueError, match="cannot be named target"):
        make_model(objectives=[objective])


@pytest.mark.parametrize(
    ("levels", "weight", "message"),
    [([], 1.0, "at least one map"), (["c5"], 0.0, "greater than 0")],
)
def test_objective_without_levels_or_weight_is_rejected(levels, weight, message):
    with pytest.raises(ValueError, match=message):
        Objective(levels, weight)


def test_example_objective_trains_and_matches_loops():
    objective = densecl.DenseCL(temperature=0.5)
    model = make_model(objectives=[objective])
    assert np.isfinite(model.train_step(batch())["loss"])

    rng = np.random.default_rng(3)
    online, other = (
        View(
            {"c5": tf.constant(rng.normal(size=(3, 2, 2, 5)))},
            {"c5": tf.constant(rng.normal(size=(3, 2, 2, 4)))},
            None,
        )
        for _ in range(2)
    )
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    bins, keys, features, others = (
        unit(x["c5"].numpy().reshape(3, 4, -1))
        for x in (online.outputs, other.outputs, online.maps, other.maps)
    )
    images = unit(keys.mean(axis=1))
    for b in range(3):
        terms = []
        for i in range(4):
            positive = bins[b, i] @ keys[b, np.argmax(others[b] @ features[b, i])]
            negatives = [bins[b, i] @ images[k] for k in range(3) if k != b]
            weights = np.exp(np.array([positive, *negatives]) / 0.5)
            terms.append(-np.log(weights[0] / weights.sum()))
        found = objective.one_way(online, other)[b]
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-9)


@pytest.mark.slow
def test_example_command_trains(tiny_flags, tmp_path):
    flags = (*tiny_flags, f"--run_dir={tmp_path / 'run'}", "--max_steps=2")
    process = subprocess.run(
        warm.python(ROOT / "examples" / "densecl.py", *flags),
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    names = [name for name, _ in tf.train.list_variables(tmp_path / "run/checkpoints/step-2")]
    assert any(name.startswith("online/projectors/densecl/") for name in names)
    assert json.loads((tmp_path / "run/config.json").read_text())["objectives"] == ["DenseCL"]
