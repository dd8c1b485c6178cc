"""Batches of the input pipeline: their contents, which depend only on the run's seed, the epoch and the position."""

import itertools

import numpy as np
import pytest
from PIL import Image

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow as tf

from pixpro_tf.data import pipeline
from pixpro_tf.data.sources.folders import FolderSource
from pixpro_tf.data.views.photometric import Photometric
from tests.support.batches import assert_same

NAMES = ("view_1", "view_2", "box_1", "box_2")
COUNT, BATCH, SIZE = 22, 4, 16
STEPS = 5


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """22 images of several sizes, each of one colour; the red channel encodes the index of the image."""
    folder = tmp_path_factory.mktemp("flat")
    for index in range(COUNT):
        size = ((40, 30), (30, 40), (9, 5), (1, 1), (3, 50))[index % 5]
        Image.new("RGB", size, (10 * index, 50, 200)).save(folder / f"{index:02d}.png")
    return FolderSource(str(folder))


@pytest.fixture(scope="module")
def textured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("textured")
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        coarse.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{index:02d}.png")
    return FolderSource(str(folder))


@pytest.fixture(scope="module")
def uninterrupted(textured):
    return batches(textured, 15)


def dataset_of(source, **options):
    settings = {"batch_size": BATCH, "image_size": SIZE, "min_crop_area": 0.08, "seed": 3}
    return pipeline.training_dataset(source, **(settings | options))


def batches(source, count, **options):
    return list(dataset_of(source, **options).take(count).as_numpy_iterator())


def identities(batch):
    return [int(red) // 10 for red in batch["view_1"][:, 0, 0, 0]]


def scaled(images, key, view):
    """Photometric function that does not need XLA; it depends on all of its arguments."""
    return tf.cast(images, tf.float32) / 255 + view + tf.cast(key[:, :1, None, None], tf.float32)


# Contents of an element

BOXES = {name: tf.TensorSpec([BATCH, 4], tf.float32) for name in ("box_1", "box_2")}


def views(dtype):
    return {name: tf.TensorSpec([BATCH, SIZE, SIZE, 3], dtype) for name in ("view_1", "view_2")}


def test_views_have_at_most_the_largest_area(textured):
    boxes = [
        batch[name]
        for batch in batches(textured, 5, max_crop_area=0.2)
        for name in ("box_1", "box_2")
    ]
    left, top, right, bottom = np.concatenate(boxes).T
    # Flipped boxes have left and right swapped. Boxes span pixel centres, so they are slightly smaller than the area of the crop.
    area = abs(right - left) * (bottom - top)
    assert 0.15 < area.max() < 0.2


def test_elements_augmented_on_the_device_are_uint8_with_seeds(flat):
    seed = {"seed": tf.TensorSpec([BATCH, 2], tf.int32)}
    assert dataset_of(flat).element_spec == views(tf.uint8) | BOXES | seed


@pytest.mark.parametrize("photometric", [scaled, Photometric("none")], ids=["function", "none"])
def test_elements_augmented_on_the_host_are_float32_without_seeds(flat, photometric):
    spec = dataset_of(flat, photometric=photometric).element_spec
    assert spec == views(tf.float32) | BOXES


def test_boxes_lie_in_the_unit_square_and_follow_the_views(textured):
    flips = []
    for batch in batches(textured, 6):
        for name in ("box_1", "box_2"):
            box = batch[name]
            assert box.dtype == np.float32 and box.min() >= 0 and box.max() <= 1
            assert np.all(box[:, 3] > box[:, 1]) and np.all(box[:, 0] != box[:, 2])
            flips += (box[:, 0] > box[:, 2]).tolist()
        assert np.any(batch["box_1"] != batch["box_2"])
        assert np.any(batch["view_1"] != batch["view_2"])
    assert 0 < np.mean(flips) < 1


@pytest.mark.slow
# A policy with random operations is compiled four times here, which is slow on a CPU.
@pytest.mark.parametrize(
    "photometric",
    [scaled, Photometric("none"), pytest.param(Photometric("byol"), marks=pytest.mark.slow)],
    ids=["function", "none", "byol"],
)
def test_host_and_device_augmentation_give_the_same_views(textured, photometric):
    options = {"start_step": 2}
    on_host = batches(textured, 1, photometric=photometric, **options)[0]
    raw = batches(textured, 1, **options)[0]
    for view in (1, 2):
        by_hand = photometric(raw[f"view_{view}"], tf.constant(raw["seed"]), view)
        # The same function, compiled separately for host and device.
        np.testing.assert_allclose(on_host[f"view_{view}"], by_hand, atol=1e-4)
        np.testing.assert_array_equal(on_host[f"box_{view}"], raw[f"box_{view}"])


def test_both_views_come_from_the_same_image(flat):
    # Crops of a flat image are flat, so both views identify the image, even an image with a single pixel.
    for batch in batches(flat, STEPS):
        for name in ("view_1", "view_2"):
            np.testing.assert_array_equal(
                batch[name], np.broadcast_to(batch[name][:, :1, :1], batch[name].shape)
            )
        np.testing.assert_array_equal(batch["view_1"], batch["view_2"])


# Order


def test_every_image_is_used_at_most_once_per_epoch_and_the_remainder_is_dropped(flat):
    assert pipeline.batches_per_epoch(COUNT, BATCH) == STEPS
    seen = [identities(batch) for batch in batches(flat, 3 * STEPS)]
    epochs = [list(itertools.chain(*seen[i : i + STEPS])) for i in range(0, 3 * STEPS, STEPS)]
    for epoch in epochs:
        assert len(set(epoch)) == STEPS * BATCH
        assert set(epoch) <= set(range(COUNT))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_an_epoch_has_the_order_of_the_source(flat):
    for epoch in range(2):
        names = [record["name"].numpy() for record in flat.epoch(3, tf.constant(epoch, tf.int64))]
        expected = [int(name[-6:-4]) for name in names[: STEPS * BATCH]]
        given = batches(flat, STEPS, start_step=epoch * STEPS)
        assert [image for batch in given for image in identities(batch)] == expected


def test_crops_differ_between_epochs_and_seeds(textured, uninterrupted):
    streams = [*uninterrupted[: 2 * STEPS], *batches(textured, STEPS, seed=4)]
    boxes = [batch["box_1"] for batch in streams]
    rows = np.concatenate(boxes)
    assert len(np.unique(rows, axis=0)) > 0.95 * len(rows)


# Resuming


def test_batches_do_not_depend_on_the_number_of_workers(textured, uninterrupted):
    for batch, other in zip(uninterrupted[:7], batches(textured, 7, workers=1), strict=True):
        assert_same(batch, other)


@pytest.mark.parametrize("start_step", [1, 4, 5])
def test_resumed_batches_are_the_rest_of_the_uninterrupted_ones(
    textured, uninterrupted, start_step
):
    # An epoch has 5 steps. The starts are within an epoch, at its last step and at a boundary; each stream passes the next boundary.
    resumed = batches(textured, 7, start_step=start_step)
    for batch, other in zip(uninterrupted[start_step : start_step + 7], resumed, strict=True):
        assert_same(batch, other)


# Hosts and replicas


@pytest.mark.parametrize(("num_hosts", "replicas", "start_step"), [(1, 2, 0), (2, 2, 3)])
def test_hosts_take_images_of_the_global_batch_in_turn_and_replicas_take_theirs_in_order(
    textured, uninterrupted, num_hosts, replicas, start_step
):
    steps = 4
    whole = uninterrupted[start_step : start_step + steps]
    shares = [
        batches(
            textured,
            steps * replicas,
            start_step=start_step,
            num_hosts=num_hosts,
            host=host,
            replicas_per_host=replicas,
        )
        for host in range(num_hosts)
    ]
    for step, batch in enumerate(whole):
        for host, share in enumerate(shares):
            parts = share[step * replicas : (step + 1) * replicas]
            assert all(len(part["seed"]) == BATCH // (num_hosts * replicas) for part in parts)
            joined = {name: np.concatenate([part[name] for part in parts]) for name in batch}
            assert_same(joined, {name: value[host::num_hosts] for name, value in batch.items()})


@pytest.mark.slow
@pytest.mark.parametrize("division", ["replicas_per_host", "accumulation"])
def test_photometric_augmentation_does_not_depend_on_how_a_batch_is_divided(textured, division):
    (whole,) = batches(textured, 1, photometric=scaled)
    parts = batches(textured, 2, photometric=scaled, **{division: 2})
    for name in NAMES:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def test_micro_batches_add_up_to_the_batch(textured, uninterrupted):
    # The steps start in the middle of an epoch and pass its end, where two images are left over.
    parts = batches(textured, 4 * 4, start_step=3, replicas_per_host=2, accumulation=2)
    for step, batch in enumerate(uninterrupted[3:7]):
        shares = parts[4 * step : 4 * step + 4]
        joined = {name: np.concatenate([share[name] for share in shares]) for name in batch}
        assert_same(joined, batch)


# Bad images


def test_only_the_bad_images_of_a_step_are_named(tmp_path):
    for index in range(12):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / f"{index:02d}.png")
    for index in (3, 8):
        (tmp_path / f"{index:02d}.png").write_bytes(b"no image")
    source = FolderSource(str(tmp_path))
    bad = [str(tmp_path / f"{index:02d}.png").encode() for index in (3, 8)]
    for epoch in range(3):
        found = [
            pipeline.bad_images_of_step(source, 3 * epoch + step, batch_size=4, seed=1)
            for step in range(3)
        ]
        assert sorted(itertools.chain(*found)) == bad
        order = [record["name"].numpy() for record in source.epoch(1, tf.constant(epoch, tf.int64))]
        for step, names in enumerate(found):
            assert names == sorted(set(bad) & set(order[4 * step : 4 * step + 4]))


def test_the_pipeline_stops_at_the_step_with_the_bad_image(tmp_path):
    for index in range(8):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{index}.png")
    (tmp_path / "5.png").write_bytes(b"no image")
    source = FolderSource(str(tmp_path))
    order = [record["name"].numpy() for record in source.epoch(3, tf.constant(0, tf.int64))]
    bad_step = order.index(str(tmp_path / "5.png").encode()) // 2
    given = []
    with pytest.raises(tf.errors.InvalidArgumentError):
        given += iter(dataset_of(source, batch_size=2))
    assert len(given) == bad_step
    assert pipeline.bad_images_of_step(source, bad_step, 2, 3) == [
        order[order.index(str(tmp_path / "5.png").encode())]
    ]
