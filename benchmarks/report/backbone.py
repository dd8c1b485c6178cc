"""Trains one backbone of the report and measures it."""

import functools
import json
import os
import time
from typing import Any

import tensorflow as tf

from benchmarks.report import fine_tuning
from benchmarks.report.parts import Parts, write_json
from benchmarks.report.place import CHOICE, TRAINING, Place
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
        stage: `TRAINING`, `CHOICE` or `MEASUREMENT`.
    """
    # Pre-training switches it on by itself.
    tf.config.experimental.enable_op_determinism()
    parts = Parts(place.parts_file(run, stage))
    started = time.process_time()
    try:
        source = _backbone_source(plan, place, run)
    finally:
        # Also the time of training that was stopped, and that the next start goes on with.
        parts.spent("training", time.process_time() - started)
    found = {}
    if stage != TRAINING:
        # What starts from this backbone, or shows its features, need not train it again.
        if not os.path.exists(place.result_file(run, TRAINING)):
            write_json(place.result_file(run, TRAINING), {})
        found = _measured(plan, place, run, source, stage, parts)
    write_json(place.result_file(run, stage), found | {"seconds": parts.seconds})
    parts.remove()


def _backbone_source(plan, place, run) -> str:
    """Returns the value of `--from` for evaluations of a backbone; trains it if necessary."""
    if run.method.kind == "random":
        return f"random:{plan.backbone}"
    if run.method.kind == "supervised":
        return _supervised(plan, place, run)
    start = place.run_dir(plan.start_of(run)) if run.method.init_from else ""
    flags = [
        *plan.training_flags(run.method, start),
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
    dataset = run.method.dataset or plan.dataset
    if not folder.has_checkpoint:
        segmenter = train_with_labels(
            plan.backbone,
            open_segmentation(dataset, place.data_dir),
            output_stride=plan.output_stride,
            seed=run.seed,
            rate=run.rate,
            **plan.supervised,
        )
        config = Config(
            backbone=plan.backbone, output_stride=plan.output_stride, run_dir=folder.path
        )
        os.makedirs(folder.path, exist_ok=True)
        write_description(config, folder, None, imported={"file": dataset, "kind": "labels"})
        part = tf.train.Checkpoint(backbone=segmenter.backbone)
        save_weights({"online": part, "target": part}, folder.checkpoints)
    return folder.path


def _measured(plan, place, run, source, stage, parts) -> dict[str, Any]:
    split = "validation" if stage == CHOICE else plan.split
    common = {"source": source, "data_dir": place.data_dir, "seed": run.seed}
    maps = {"output_stride": plan.output_stride}
    probe = common | maps | {"dataset": plan.dataset, "split": split} | plan.probe

    def linear(**changed) -> dict[str, Any]:
        result = evaluate_segmentation(dense.Settings(**(probe | changed)))
        scores = result.scores
        return {
            "mean_iou": scores.mean_iou,
            "pixel_accuracy": scores.pixel_accuracy,
            "class_iou": dict(zip(result.data.class_names, scores.class_iou.tolist(), strict=True)),
        }

    def matched(images: dict[str, str]) -> list[float]:
        settings = correspondence.Settings(**(common | maps | plan.correspondence | images))
        result = evaluate_matches(settings)
        return [result.found, result.chance]

    def detected() -> dict[str, float]:
        settings = detection.Settings(**common, dataset=plan.dataset, split=split, **plan.detection)
        average = evaluate_detection(settings).scores
        return {"ap": average.ap, "ap_50": average.ap_50, "ap_75": average.ap_75}

    found = dict(parts("linear", linear))
    if stage == CHOICE:
        return found
    found |= _length(place, run) if run.method.kind == "pretrained" else {}
    for other in plan.other_splits:
        scores = parts(f"linear on {other}", functools.partial(linear, split=other))
        found.setdefault("other_splits", {})[other] = scores["mean_iou"]
    if not run.method.of:
        with_margin = parts("margin", lambda: linear(margin=plan.margin))
        found["margin_mean_iou"] = with_margin["mean_iou"]
    found["figures"] = parts("figures", lambda: _figures(plan, place, run, source, split))
    for name, images in (
        ("held_out", {"dataset": plan.dataset, "split": split}),
        ("photographs", {"dataset": "photographs"}),
    ):
        matches = parts(name, functools.partial(matched, images))
        found[f"found_{name}"], found[f"chance_{name}"] = matches
    if run.seed in plan.detection_seeds and not run.method.of:
        found["detection"] = parts("detection", detected)
    if plan.fine_tuning:
        tune = functools.partial(fine_tuning.measure, plan, place, run, source)
        found["fine_tuned"] = {
            str(images): parts(f"fine-tuned with {images}", functools.partial(tune, images, split))
            for images in plan.fine_tuning["images"]
        }
    return found


def _length(place, run) -> dict[str, float]:
    """Returns the number of steps of pre-training and the generations of the target, as the run has logged them."""
    with open(os.path.join(place.run_dir(run), "metrics.jsonl")) as file:
        last = json.loads(file.readlines()[-1])
    return {"steps": last["step"], "generations": last["target_generations"]}


def _figures(plan, place, run, source, split) -> dict[str, float]:
    """Computes the metrics that reveal a collapse, or a shortcut by position, of c5 over whole images."""
    tf.keras.utils.set_random_seed(run.seed)
    function = frozen.map_function(load_backbone(source, "", plan.output_stride), "c5")
    examples = open_segmentation(plan.dataset, place.data_dir).split(f"{split}[:{_FIGURE_IMAGES}]")
    maps, _ = frozen.maps_and_masks(function, image_batches(examples, 16))
    bins = tf.reshape(maps, [maps.shape[0], -1, maps.shape[-1]])
    return {name: float(value) for name, value in collapse.alarms([bins]).items()}
