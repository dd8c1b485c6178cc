"""Trains one backbone of the report and measures it."""

import json
import os
import time
from typing import Any

import tensorflow as tf

from benchmarks.report.place import CHOICE, Place
from benchmarks.report.plan import Plan, Run
from benchmarks.supervised import train_with_labels
from pixpro_tf.cli import command_line
from pixpro_tf.config import Config
from pixpro_tf.data.labelled.segmentation import image_batches, open_segmentation
from pixpro_tf.evaluation import correspondence, dense, detection
from pixpro_tf.evaluation.dense_matching.evaluation import evaluate as evaluate_matches
from pixpro_tf.evaluation.object_detection.evaluation import evaluate as evaluate_detection
from pixpro_tf.evaluation.segmentation import frozen
from pixpro_tf.evaluation.segmentation.evaluation import evaluate as evaluate_segmentation
from pixpro_tf.evaluation.sources import load_backbone
from pixpro_tf.objectives import collapse
from pixpro_tf.storage.checkpoints import save_weights
from pixpro_tf.storage.run_folder import RunFolder, write_description
from pixpro_tf.training.run import train

# Number of images for the metrics of collapse and position.
_FIGURE_IMAGES = 128


def measure(plan: Plan, place: Place, run: Run, stage: str) -> None:
    """Trains a backbone, as far as it is not trained yet, and writes its measurements.

    Args:
        plan, place: plan and folders of the report.
        run: backbone to measure.
        stage: `CHOICE` or `MEASUREMENT`.
    """
    started = time.monotonic()
    source = _backbone_source(plan, place, run)
    trained = time.monotonic()
    found = _measured(plan, place, run, source, stage)
    found["seconds"] = {
        "training": round(trained - started, 1),
        "measuring": round(time.monotonic() - trained, 1),
    }
    path = place.result_file(run, stage)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".partial", "w") as file:
        json.dump(found, file, indent=2)
    os.replace(path + ".partial", path)


def _backbone_source(plan, place, run) -> str:
    """Returns the value of `--from` for evaluations of a backbone; trains it if necessary."""
    if run.method.kind == "random":
        return f"random:{plan.backbone}"
    if run.method.kind == "supervised":
        return _supervised(plan, place, run)
    flags = [
        *plan.training_flags(run.method),
        f"--base_lr={run.rate}",
        f"--seed={run.seed}",
        f"--data_dir={place.data_dir}",
        f"--run_dir={place.run_dir(run)}",
    ]
    config = command_line.parse(Config, [*flags])
    assert config is not None
    if code := train(config):
        raise SystemExit(code)
    return place.run_dir(run)


def _supervised(plan, place, run) -> str:
    """Trains a backbone with the labels of the training split and saves it as a run folder without heads."""
    folder = RunFolder(place.run_dir(run))
    if not folder.has_checkpoint:
        segmenter = train_with_labels(
            plan.backbone,
            open_segmentation(plan.dataset, place.data_dir),
            output_stride=plan.output_stride,
            seed=run.seed,
            rate=run.rate,
            **plan.supervised,
        )
        config = Config(
            backbone=plan.backbone, output_stride=plan.output_stride, run_dir=folder.path
        )
        os.makedirs(folder.path, exist_ok=True)
        write_description(config, folder, None, imported={"file": plan.dataset, "kind": "labels"})
        part = tf.train.Checkpoint(backbone=segmenter.backbone)
        save_weights({"online": part, "target": part}, folder.checkpoints)
    return folder.path


def _measured(plan, place, run, source, stage) -> dict[str, Any]:
    split = "validation" if stage == CHOICE else plan.split
    common = {"source": source, "data_dir": place.data_dir, "seed": run.seed}
    maps = {"output_stride": plan.output_stride}
    probe = common | maps | {"dataset": plan.dataset, "split": split} | plan.probe
    scores = evaluate_segmentation(dense.Settings(**probe)).scores
    found: dict[str, Any] = {
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "class_iou": scores.class_iou.tolist(),
    }
    if stage == CHOICE:
        return found
    if not run.method.of:
        margin = dense.Settings(**(probe | {"margin": plan.margin}))
        found["margin_mean_iou"] = evaluate_segmentation(margin).scores.mean_iou
    found["figures"] = _figures(plan, place, run, source, split)
    for name, images in (
        ("scenes", {"dataset": plan.dataset, "split": split}),
        ("photographs", {"dataset": "photographs"}),
    ):
        settings = correspondence.Settings(**(common | maps | plan.correspondence | images))
        result = evaluate_matches(settings)
        found[f"found_{name}"], found[f"chance_{name}"] = result.found, result.chance
    if run.seed in plan.detection_seeds and not run.method.of:
        detector = detection.Settings(**common, dataset=plan.dataset, split=split, **plan.detection)
        average = evaluate_detection(detector).scores
        found["detection"] = {"ap": average.ap, "ap_50": average.ap_50, "ap_75": average.ap_75}
    return found


def _figures(plan, place, run, source, split) -> dict[str, float]:
    """Computes the metrics that reveal a collapse, or a shortcut by position, of c5 over whole images."""
    tf.keras.utils.set_random_seed(run.seed)
    function = frozen.map_function(load_backbone(source, "", plan.output_stride), "c5")
    examples = open_segmentation(plan.dataset, place.data_dir).split(f"{split}[:{_FIGURE_IMAGES}]")
    maps, _ = frozen.maps_and_masks(function, image_batches(examples, 16))
    bins = tf.reshape(maps, [maps.shape[0], -1, maps.shape[-1]])
    return {name: float(value) for name, value in collapse.alarms([bins]).items()}
