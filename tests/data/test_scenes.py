"""The dataset `scenes`: its contents, what they reveal about the classes, and how it is built."""

import subprocess

import numpy as np
import pytest

import pixpro_tf  # noqa: F401 - chooses Keras 2, so it comes before TensorFlow

# isort: split
import tensorflow_datasets as tfds

from pixpro_tf.data.scenes import builder as scenes
from pixpro_tf.data.scenes import renderer
from pixpro_tf.errors import RunError
from tests.support import warm

NUM_CLASSES = len(renderer.CLASS_NAMES)
NUM_STUFF = len(renderer.STUFF_NAMES)
TINY = {"unlabelled": 5, "train": 4, "validation": 3, "test": 2}


@pytest.fixture(scope="module")
def rendered():
    return [renderer.render((7, index), 128) for index in range(300)]


@pytest.fixture
def tiny(monkeypatch):
    for config in scenes.Scenes.BUILDER_CONFIGS:
        monkeypatch.setattr(config, "num_images", TINY)


def assert_same_scene(scene, other):
    for name in ("image", "mask", "instances", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(scene, name), getattr(other, name), err_msg=name)


# Renderer


def test_equal_seeds_render_equal_scenes():
    assert_same_scene(renderer.render((1, 2), 64), renderer.render((1, 2), 64))


def test_different_seeds_render_different_scenes():
    scene, other = renderer.render((1, 2), 64), renderer.render((1, 3), 64)
    assert np.mean(scene.mask != other.mask) > 0.3


@pytest.mark.slow
def test_plain_scenes_have_the_same_composition_and_equally_grey_surfaces(rendered):
    levels: dict[str, list] = {"coloured": [], "plain": []}
    for index, scene in enumerate(rendered[:40]):
        plain = renderer.render((7, index), 128, plain=True)
        for name in ("mask", "instances", "boxes", "labels"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(scene, name))
        for name, each in (("coloured", scene), ("plain", plain)):
            grey = each.image.mean(axis=-1)
            # The fields of stuff in one image have the same light.
            fields = [grey[each.mask == kind] for kind in range(NUM_STUFF)]
            means = [field.mean() for field in fields if field.size > 1500]
            if len(means) > 1:
                levels[name].append(np.ptp(means))
    assert np.mean(levels["plain"]) < 0.5 * np.mean(levels["coloured"])


def test_scenes_have_the_documented_types_and_shapes(rendered):
    scene = rendered[0]
    assert scene.image.dtype == scene.mask.dtype == scene.instances.dtype == np.uint8
    assert scene.image.shape == (128, 128, 3)
    assert scene.mask.shape == scene.instances.shape == (128, 128)
    assert scene.boxes.dtype == np.float32 and scene.boxes.shape == (len(scene.labels), 4)
    assert scene.labels.dtype == np.int64


def test_a_seed_has_the_same_composition_at_both_sizes(rendered):
    for index, small in enumerate(rendered[:10]):
        large = renderer.render((7, index), 256)
        np.testing.assert_array_equal(large.labels, small.labels)
        # Each grid shifts edges by up to half a pixel, and the tips of a star are thin.
        np.testing.assert_allclose(large.boxes, small.boxes, atol=3 / 128)
        assert np.mean(large.mask[::2, ::2] == small.mask) > 0.96
        halved = large.image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
        assert np.corrcoef(halved.ravel(), small.image.ravel())[0, 1] > 0.9


def test_boxes_enclose_exactly_the_visible_pixels(rendered):
    for scene in rendered[:50]:
        for number, (ymin, xmin, ymax, xmax) in enumerate(scene.boxes * 128, start=1):
            shape = scene.instances == number
            np.testing.assert_array_equal(
                np.flatnonzero(shape.any(axis=1))[[0, -1]], [ymin, ymax - 1]
            )
            np.testing.assert_array_equal(
                np.flatnonzero(shape.any(axis=0))[[0, -1]], [xmin, xmax - 1]
            )


def test_mask_and_instances_agree(rendered):
    for scene in rendered[:50]:
        thing_of = np.concatenate([[-1], scene.labels])[scene.instances]
        np.testing.assert_array_equal(scene.mask[thing_of >= 0], thing_of[thing_of >= 0])
        assert np.all(scene.mask[thing_of < 0] < NUM_STUFF)


def test_things_overlap_and_stay_recognisable(rendered):
    touching, areas = 0, []
    for scene in rendered:
        box = scene.boxes
        overlap = np.minimum(box[:, None, 2:], box[None, :, 2:]) > np.maximum(
            box[:, None, :2], box[None, :, :2]
        )
        touching += overlap.all(axis=-1).sum() > len(box)
        areas += [np.sum(scene.instances == number + 1) for number in range(len(box))]
        assert 1 <= len(box) <= 6
    assert touching > 0.5 * len(rendered)
    assert min(areas) > 100


def test_every_class_is_common(rendered):
    present = np.zeros(NUM_CLASSES)
    pixels = np.zeros(NUM_CLASSES)
    for scene in rendered:
        count = np.bincount(scene.mask.ravel(), minlength=NUM_CLASSES)
        present += count > 0
        pixels += count
    assert np.all(present / len(rendered) > 0.35)
    assert np.all(pixels / pixels.sum() > 0.03)


@pytest.mark.parametrize("name", renderer.MATERIALS)
def test_textures_have_zero_mean_and_unit_variance(name):
    u, v = np.random.default_rng(0).uniform(0, 2000, (2, 400_000)).astype(np.float32)
    values = renderer.MATERIALS[name].texture(u, v)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01


def region_colours(rendered):
    """Mean colour `[R, 3]` and class `[R]` of every visible field of stuff and every visible thing."""
    colours, labels = [], []
    for scene in rendered:
        stuff = [(scene.mask == kind, kind) for kind in range(NUM_STUFF)]
        things = [(scene.instances == i + 1, label) for i, label in enumerate(scene.labels)]
        for where, label in stuff + things:
            if where.sum() > 100:
                colours.append(scene.image[where].mean(axis=0))
                labels.append(label)
    return np.array(colours), np.array(labels)


def nearest_mean_recall(colours, labels):
    """Mean recall of a nearest-class-mean classifier that is fitted to every other region."""
    means = np.array([colours[::2][labels[::2] == k].mean(axis=0) for k in range(NUM_CLASSES)])
    guess = np.linalg.norm(colours[1::2, None] - means, axis=-1).argmin(axis=-1)
    return np.mean([np.mean(guess[labels[1::2] == k] == k) for k in range(NUM_CLASSES)])


def nearest_neighbour_recall(colours, labels, neighbours=15):
    """Mean recall of a nearest-neighbour classifier, which detects differences of spread as well as of means."""
    distance = np.linalg.norm(colours[1::2, None] - colours[None, ::2], axis=-1)
    nearest = labels[::2][np.argpartition(distance, neighbours, axis=-1)[:, :neighbours]]
    votes = (nearest[..., None] == np.arange(NUM_CLASSES)).sum(axis=1)
    votes = votes / np.bincount(labels[::2], minlength=NUM_CLASSES)
    guess = votes.argmax(axis=-1)
    return np.mean([np.mean(guess[labels[1::2] == k] == k) for k in range(NUM_CLASSES)])


@pytest.mark.parametrize("recall", [nearest_mean_recall, nearest_neighbour_recall])
def test_colour_does_not_reveal_the_class(rendered, recall):
    colours, labels = region_colours(rendered)
    # About 1000 regions are classified, so the standard deviation of the recall of random guesses is 0.01.
    assert len(labels) > 1800
    assert recall(colours, labels) < 1 / NUM_CLASSES + 0.035
    # The same classifier detects a tint of 5 % of the range that depends on the class.
    tinted = colours + 12 * np.random.default_rng(0).choice([-1, 1], (NUM_CLASSES, 3))[labels]
    assert recall(tinted, labels) > 1 / NUM_CLASSES + 0.05


def test_too_small_images_are_rejected():
    with pytest.raises(ValueError, match="at least 32"):
        renderer.render(0, 16)


# Builder


@pytest.mark.parametrize(("config", "size"), [("128", 128), ("256", 256), ("128_plain", 128)])
def test_the_built_dataset_has_the_right_features_and_splits(tiny, tmp_path, config, size, capfd):
    builder = scenes.prepare(tmp_path, config)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == TINY
    assert builder.info.features["objects"]["label"].names == list(renderer.CLASS_NAMES)
    assert str(builder.info.full_name) == f"scenes/{config}/1.0.0"
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("Rendering 14 scenes") == captured.err.count("Rendered in") == 1

    examples = {}
    for split in TINY:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            examples[example["id"].decode()] = example
    assert sorted(examples) == sorted(f"{split}/{i}" for split, n in TINY.items() for i in range(n))
    for index in range(TINY["validation"]):
        example = examples[f"validation/{index}"]
        plain = config == "128_plain"
        scene = renderer.render(scenes.scene_seed("validation", index), size, plain)
        np.testing.assert_array_equal(example["segmentation_mask"][..., 0], scene.mask)
        np.testing.assert_array_equal(example["objects"]["label"], scene.labels)
        np.testing.assert_allclose(example["objects"]["bbox"], scene.boxes, atol=1e-6)
        wanted = scene.image
        if plain:
            # These are the luma weights of ITU-R 601.
            wanted = np.repeat(wanted @ [0.299, 0.587, 0.114], 3).reshape(wanted.shape)
            assert np.ptp(example["image"], axis=-1).max() == 0
        # The tolerance is the loss of JPEG at this quality.
        assert np.abs(example["image"].astype(int) - wanted).mean() < 6
        assert example["image"].dtype == np.uint8


def test_no_two_splits_share_a_scene():
    seeds = [scenes.scene_seed(split, i) for split in scenes.SPLITS for i in range(5000)]
    assert len(set(seeds)) == len(seeds)
    masks = [renderer.render(scenes.scene_seed(split, 0), 64).mask for split in scenes.SPLITS]
    assert len({mask.tobytes() for mask in masks}) == len(scenes.SPLITS)


def test_scenes_are_registered_with_tfds(tiny, tmp_path):
    builder = tfds.builder("scenes/128", data_dir=tmp_path)
    assert isinstance(builder, scenes.Scenes)


def test_a_second_call_builds_nothing(tiny, tmp_path, monkeypatch):
    scenes.prepare(tmp_path)

    def fail(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(renderer, "render", fail)
    assert scenes.prepare(tmp_path).info.splits["train"].num_examples == TINY["train"]


def test_an_interrupted_build_leaves_no_dataset(tiny, tmp_path, monkeypatch):
    render = renderer.render

    def interrupted(seed, size, plain):
        if seed == scenes.scene_seed("train", 2):
            raise KeyboardInterrupt
        return render(seed, size, plain)

    monkeypatch.setattr(renderer, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scenes.prepare(tmp_path)
    assert not list(tmp_path.glob("scenes/128/*"))
    monkeypatch.setattr(renderer, "render", render)
    assert scenes.prepare(tmp_path).info.splits["test"].num_examples == TINY["test"]


def test_a_damaged_description_is_reported_in_one_line(tiny, tmp_path):
    scenes.prepare(tmp_path)
    (described,) = tmp_path.glob("scenes/128/*/dataset_info.json")
    described.write_bytes(described.read_bytes()[:40])
    with pytest.raises(RunError, match=r"contains a damaged dataset 128: .*; delete its folder"):
        scenes.prepare(tmp_path)


def test_an_unknown_config_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"one of 128, 256, 128_plain, 128_plain_16k \(got 64\)"):
        scenes.prepare(tmp_path, "64")


_BUILD = """
import sys
from pixpro_tf.data.scenes import builder as scenes
for config in scenes.Scenes.BUILDER_CONFIGS:
    config.num_images = dict(unlabelled=100, train=3, validation=2, test=2)
builder = scenes.prepare(sys.argv[1])
assert sum(1 for _ in builder.as_dataset(split="unlabelled")) == 100
"""


@pytest.mark.slow
def test_one_of_two_processes_builds_and_both_read(tmp_path):
    processes = [
        subprocess.Popen(warm.python("-c", _BUILD, tmp_path), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    messages = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], messages
    assert sum("Rendering" in message for message in messages) == 1
    assert [path.name for path in tmp_path.glob("scenes/128/*")] == ["1.0.0"]
