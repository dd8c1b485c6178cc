"""Comparison of backbones: each is evaluated with the same seeds, on the same images and for the same number of steps."""

import dataclasses
import json
import os
import statistics
import time
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.cli.outputs import atomic_output
from pixpro_tf.data.progress import duration
from pixpro_tf.errors import first_line
from pixpro_tf.evaluation import pictures
from pixpro_tf.evaluation.compare import RANDOM, Settings
from pixpro_tf.evaluation.comparison.tasks import (
    Detection,
    Matching,
    Predictions,
    Segmentation,
    Task,
)
from pixpro_tf.evaluation.settings import MapSettings
from pixpro_tf.evaluation.sources import RANDOM as RANDOM_OF
from pixpro_tf.evaluation.sources import check_channels, open_backbone
from pixpro_tf.evaluation.training_steps import DivergedError

# Scores in [0, 1] by name.
Scores = dict[str, float]

_SCORES, _PREDICTIONS = "scores.json", "predictions.npz"
_TASKS = {"detection": Detection, "segmentation": Segmentation, "matching": Matching}


@dataclasses.dataclass(frozen=True)
class Result:
    """Result of a comparison.

    Attributes:
        task: what the backbones were compared on.
        scores: list of the scores for each seed, None where training diverged, by backbone.
        predictions: predictions of the first seed, by backbone.
    """

    task: Task
    scores: dict[str, list[Scores | None]]
    predictions: dict[str, Predictions]


def evaluate(settings: Settings, folder: str = "") -> Result:
    """Evaluates each backbone with each seed.

    Args:
        settings: flags of the command.
        folder: folder that keeps finished evaluations, and the checkpoints of the current one; empty keeps nothing.

    Raises:
        UserError: if something is wrong that the user can fix.
    """
    described = _described(settings)
    first = settings.evaluation(settings.sources[0], settings.seed)
    task: Any = _TASKS[settings.task](first, folder)
    scores: dict[str, list[Scores | None]] = {source: [] for source in settings.sources}
    predictions: dict[str, Predictions] = {}
    total, started, done_here = len(settings.sources) * settings.seeds, time.monotonic(), 0
    # A seed is finished for all backbones before the next one begins, so that an early look at the lines compares like with like.
    units = [(seed, source) for seed in range(settings.seeds) for source in settings.sources]
    for number, (index, source) in enumerate(units, start=1):
        seed = settings.seed + index
        part = os.path.join(folder, f"{settings.sources.index(source)}_{seed}") if folder else ""
        kept = _kept(part)
        if kept is None:
            print(f"{source}, seed {seed} ({number} of {total})", flush=True)
            chosen = settings.evaluation(described.loaded[source], seed)
            chosen = _comparable(chosen, source, described)
            try:
                kept = task.evaluate(chosen, part)
            except DivergedError as error:
                print(f"  {error}", flush=True)
                kept = None, {}
            _keep(part, *kept)
            done_here += 1
            # Graphs of finished evaluations would stay in memory.
            tf.keras.backend.clear_session()
            left = (total - number) * (time.monotonic() - started) / done_here
            name, label = _decisive(task)
            line = f"  {label} {100 * kept[0][name]:.2f}" if kept[0] else "  no score"
            print(f"{line}, {duration(left)} left" if number < total else line, flush=True)
        scores[source].append(kept[0])
        if kept[0] and seed == settings.seed:
            predictions[source] = kept[1]
    if not any(any(each) for each in scores.values()):
        raise DivergedError("training diverged from every backbone; use a lower --rate")
    return Result(task, scores, predictions)


@dataclasses.dataclass(frozen=True)
class Described:
    """Backbones that are compared.

    Attributes:
        loaded: what is loaded for each backbone, as a source of `evaluation.sources`.
        necks: configurations of the necks that were pre-trained with some of them.
        output_stride: output stride of all backbones where a task uses one feature map: maps of other strides have more or fewer bins.
    """

    loaded: dict[str, str]
    necks: dict[str, dict[str, Any]]
    output_stride: int


def _described(settings: Settings) -> Described:
    """Describes the backbones, and prints what sets them apart.

    Raises:
        RunError: if a backbone is not found, or is for other images than those with labels, before anything is trained.
    """
    # Padding and strides of another layout would be a difference of their own.
    first = next(source for source in settings.sources if source != RANDOM)
    loaded = {source: source for source in settings.sources}
    if RANDOM in loaded:
        loaded[RANDOM] = RANDOM_OF + first.removeprefix(RANDOM_OF)
    found, necks, strides = {}, {}, {}
    for source in settings.sources:
        if source == RANDOM:
            continue
        with open_backbone(source) as weights:
            if settings.task != "matching":
                check_channels(source, weights)
            found[source] = weights.architecture, weights.layout
            if not source.startswith(RANDOM_OF):
                strides[source] = weights.output_stride
                if weights.neck is not None:
                    necks[source] = weights.neck
    if RANDOM in settings.sources:
        found[RANDOM] = found[first]
    for index, name in enumerate(("architecture", "layout")):
        if len({each[index] for each in found.values()}) > 1:
            each_of = ", ".join(f"{source} has {each[index]}" for source, each in found.items())
            print(f"The backbones differ in {name}: {each_of}")
    if necks and settings.task == "detection":
        print(
            f"Backbones with a pre-trained FPN: {', '.join(necks)}; the others get a new FPN of the same width"
        )
    stride = settings.output_stride or next(iter(strides.values()), 32)
    others = [source for source, each in strides.items() if each != stride]
    if others and settings.task != "detection":
        print(
            f"All backbones are evaluated with output stride {stride}; trained with another one: {', '.join(others)}"
        )
    return Described(loaded, necks, stride)


def _comparable(settings: Any, source: str, described: Described) -> Any:
    """Returns the settings of an evaluation of one backbone in which nothing but its weights differs from that of the others.

    Maps have the same output stride, and a new FPN and head are as wide and deep as those that came with another backbone.
    """
    if isinstance(settings, MapSettings):
        return dataclasses.replace(settings, output_stride=described.output_stride)
    if not described.necks or source in described.necks:
        return settings
    neck = next(iter(described.necks.values()))
    return dataclasses.replace(
        settings, channels=neck["channels"], head_layers=neck["head_layers"] or 0
    )


def _kept(part: str) -> tuple[Scores | None, Predictions] | None:
    """Returns what `_keep` has kept; None if there is nothing."""
    if not part or not os.path.isfile(os.path.join(part, _SCORES)):
        return None
    try:
        with open(os.path.join(part, _SCORES)) as file:
            scores = json.load(file)
        with np.load(os.path.join(part, _PREDICTIONS)) as arrays:
            return scores, dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        print(f"{part} is damaged ({first_line(error)}), so its evaluation is repeated")
        return None


def _keep(part: str, scores: Scores | None, predictions: Predictions) -> None:
    """Keeps the result of one evaluation instead of its checkpoints."""
    if not part:
        return
    with atomic_output(part, overwrite=True) as folder:
        os.makedirs(folder)
        np.savez(os.path.join(folder, _PREDICTIONS), **predictions)
        with open(os.path.join(folder, _SCORES), "w") as file:
            json.dump(scores, file)


def _decisive(task: Task) -> tuple[str, str]:
    """Returns the name in the results, and the name for the user, of the score that decides."""
    return next(iter(task.metrics.items()))


def results(settings: Settings, result: Result) -> dict[str, Any]:
    """Returns the contents of results.json: scores in [0, 1] of each backbone, a list with one entry for each seed, null where training diverged."""
    return {"settings": dataclasses.asdict(settings), "scores": result.scores}


def describe(settings: Settings, result: Result) -> str:
    """Returns the table that the command prints."""
    metrics = result.task.metrics
    of_seeds = (
        f"{settings.seeds} seeds (mean ± standard deviation)" if settings.seeds > 1 else "one seed"
    )
    width = max(12, *map(len, settings.sources)) + 2
    lines = [f"In %, {result.task.evaluated}, {of_seeds}:"]
    lines.append(f"  {'backbone':{width}}" + "".join(f"{name:<16}" for name in metrics.values()))
    for source, scores in result.scores.items():
        cells = [_spread([100 * each[name] for each in scores if each]) for name in metrics]
        lines.append(f"  {source:{width}}" + "".join(f"{cell:<16}" for cell in cells))
    name, label = _decisive(result.task)
    first, *others = settings.sources
    for other in others:
        pairs = zip(result.scores[first], result.scores[other], strict=True)
        differences = [100 * (mine[name] - its[name]) for mine, its in pairs if mine and its]
        if not differences:
            continue
        line = f"{label} of {first} minus {other}: {_spread(differences, sign='+')}"
        if settings.seeds > 1:
            higher = sum(difference > 0 for difference in differences)
            line += f"; higher with {higher} of {len(differences)} seeds"
        lines.append(line)
    for source, scores in result.scores.items():
        if diverged := scores.count(None):
            lines.append(
                f"Training from {source} diverged with {diverged} of {settings.seeds} seeds, which are left out; use a lower --rate"
            )
    return "\n".join(line.rstrip() for line in lines)


def _spread(values: list[float], sign: str = "") -> str:
    if not values:
        return "diverged"
    mean = format(statistics.fmean(values), f"{sign}.2f")
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def draw(settings: Settings, result: Result) -> dict[str, Any]:
    """Returns the figures to save next to results.json, by name."""
    name, label = _decisive(result.task)
    values = {
        source: [100 * each[name] for each in scores if each]
        for source, scores in result.scores.items()
    }
    return {
        "scores": pictures.scores_picture(values, f"{label} in %, {result.task.evaluated}"),
        "predictions": result.task.figure(
            result.predictions, f"{result.task.evaluated}, seed {settings.seed}"
        ),
    }
