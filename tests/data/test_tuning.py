import os

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.data import pipeline
from pixpro_tf.data.labelled import classification, detection, segmentation
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.ops import cores

IMAGES = np.zeros([4, 16, 16, 3], np.uint8)


def classified():
    return tf.data.Dataset.from_tensor_slices((IMAGES, np.zeros(4, np.int64)))


def segmented():
    masks = np.zeros([4, 16, 16], np.uint8)
    return tf.data.Dataset.from_tensor_slices({"image": IMAGES, "mask": masks})


def detected():
    boxes, labels = np.zeros([4, 1, 4], np.float32), np.zeros([4, 1], np.int64)
    crowds = np.zeros([4, 1], bool)
    return tf.data.Dataset.from_tensor_slices(
        {"image": IMAGES, "boxes": boxes, "labels": labels, "crowds": crowds}
    )


def of_training(photos, **options):
    return pipeline.training_dataset(
        FolderSource(str(photos)), batch_size=2, image_size=16, min_crop_area=0.2, seed=0, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        of_training,
        lambda _: classification.central_views(classified(), 8, 2),
        lambda _: classification.random_views(classified(), 8, 2, 0.2, seed=0),
        lambda _: segmentation.image_batches(segmented(), 2),
        lambda _: segmentation.random_crops(segmented(), 8, seed=0).batch(2),
        lambda _: detection.object_batches(detected(), 2),
        lambda _: detection.random_object_batches(detected(), 2, seed=0),
    ],
)
def test_all_datasets_disable_the_autotuner(make, photos):
    """The autotuner could make the end of a loop wait for up to a minute if the CPU is busy, see `untuned`."""
    dataset = make(photos)
    next(iter(dataset))
    assert dataset.options().autotune.enabled is False


def test_elements_of_other_machines_are_tuned_there(photos, monkeypatch):
    class Service:
        def distributed(self, elements, *_):
            return elements(0, 1)

    given = []
    monkeypatch.setattr(pipeline, "untuned", lambda dataset: given.append(dataset) or dataset)
    for workers in (0, 2):
        of_training(photos, service=Service(), workers=workers)
    # The returned dataset is always untuned; the elements that the service produces are untuned only if the number of workers is set.
    assert len(given) == 1 + 2


@pytest.mark.parametrize(("limit", "count"), [("max 100000", 8), ("250000 100000", 3)])
def test_the_cpu_limit_of_a_container_counts(limit, count, monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(cores, "_CPU_LIMIT", str(tmp_path / "cpu.max"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.num_cores() == count


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(cores, "_CPU_LIMIT", "/nowhere")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert cores.num_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores.num_cores() == 7
