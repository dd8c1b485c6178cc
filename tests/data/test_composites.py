"""The dataset `composites`, made of small stand-ins for the photographs of Debian's packages."""

import itertools

import numpy as np
import pytest
from PIL import Image

from pixpro_tf.data.composites import builder, files, renderer
from pixpro_tf.data.labelled.segmentation import open_segmentation
from pixpro_tf.data.sources import open_source
from pixpro_tf.data.sources.tfds_datasets import prepared_builder
from pixpro_tf.errors import ConfigError, RunError

TINY = dict.fromkeys(builder.SPLITS, 6)
# Colours of the stand-ins: those of the things tell their class.
BACKGROUND, COLOUR = (255, 255, 255), 40


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """Data directory with unpacked packages: things are squares with a transparent border, all of the colour of their class."""
    share = tmp_path / "debian/usr/share"
    for label, name in enumerate(files.THINGS, start=1):
        thing = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
        thing.paste((COLOUR * label, 0, 0, 255), (5, 5, 25, 25))
        for path in files.things_of(name):
            write(share / path, thing)
    for package in files.BACKGROUNDS:
        for path in files.backgrounds_of(package):
            write(share / path, Image.new("RGB", (60, 40), BACKGROUND))
    for config in builder.Composites.BUILDER_CONFIGS:
        monkeypatch.setattr(config, "num_images", TINY)
    return tmp_path


@pytest.fixture
def photographs(data_dir):
    return builder.Photographs.find(str(data_dir))


def test_every_pixel_and_box_has_the_class_that_is_seen(photographs):
    things, backgrounds = photographs.of_split("train")
    seen = set()
    for index in range(40):
        found = renderer.compose((index,), 64, things, backgrounds)
        assert found.image.shape == (64, 64, 3) and found.mask.shape == (64, 64)
        assert found.image.dtype == found.mask.dtype == np.uint8
        red, blue = found.image[..., 0].astype(int), found.image[..., 2]
        # Pixels at the edges of things mix two colours.
        inside = (blue == 0) & (np.abs(red - COLOUR * found.mask) <= 2)
        behind = (blue == 255) & (found.mask == 0)
        assert np.mean(inside | behind) > 0.85
        for (y0, x0, y1, x1), label in zip(found.boxes * 64, found.labels, strict=True):
            part = found.mask[int(y0) : int(y1), int(x0) : int(x1)]
            # The box touches visible pixels of its thing on all sides.
            assert all(
                (side == label).any() for side in (part[0], part[-1], part[:, 0], part[:, -1])
            )
        seen |= set(found.labels.tolist())
    assert seen == set(range(1, len(builder.CLASS_NAMES)))


def test_a_composite_is_a_function_of_its_seed(photographs):
    things, backgrounds = photographs.of_split("train")
    first, same, other = (
        renderer.compose(seed, 48, things, backgrounds) for seed in ((1, 2), (1, 2), (1, 3))
    )
    assert np.array_equal(first.image, same.image) and np.array_equal(first.mask, same.mask)
    assert not np.array_equal(first.mask, other.mask)


def test_splits_share_photographs_only_as_documented(photographs):
    parts = {split: photographs.of_split(split) for split in builder.SPLITS}
    things = {split: set(itertools.chain(*part[0])) for split, part in parts.items()}
    backgrounds = {split: set(part[1]) for split, part in parts.items()}
    known = things["train"]
    assert things["unlabelled"] == things["validation"] == things["test"] == known
    new = [known, things["validation_new_things"], things["test_new_things"]]
    behind = [backgrounds[split] for split in ("train", "validation", "test")]
    for groups, whole in (
        (new, set(itertools.chain(*photographs.things.values()))),
        (behind, set(photographs.backgrounds)),
    ):
        assert set.union(*groups) == whole and sum(map(len, groups)) == len(whole)
    for split in ("validation", "test"):
        assert backgrounds[split] == backgrounds[f"{split}_new_things"]
    # Every class has things in every part.
    assert all(len(paths) >= 3 for split in parts for paths in parts[split][0])


def test_the_dataset_is_built_once_and_read_by_the_evaluations(data_dir, capfd):
    data = open_segmentation("composites/128", str(data_dir))
    assert data.class_names == builder.CLASS_NAMES
    masks = [each["mask"].numpy() for each in data.split("validation_new_things")]
    assert len(masks) == 6 and all(mask.shape == (128, 128) for mask in masks)
    assert max(mask.max() for mask in masks) < len(builder.CLASS_NAMES)
    source = open_source("composites/128", data_dir=str(data_dir), split="", shuffle_buffer=9)
    # The images to train on are those without labels.
    assert source.num_images == TINY["unlabelled"]
    made = prepared_builder("composites/128", str(data_dir))
    (first, *_) = made.as_dataset(split="unlabelled").as_numpy_iterator()
    assert first["id"].startswith(b"unlabelled/") and len(first["objects"]["label"])
    assert capfd.readouterr().err.count("Rendering 36 composites to") == 1


def test_configurations_with_some_classes_show_only_their_things(data_dir):
    for name, things in (
        ("plants", ("fruit", "vegetable", "flower")),
        ("animals_vehicles", ("bird", "mammal", "vehicle")),
    ):
        data = open_segmentation(f"composites/128_{name}", str(data_dir))
        assert data.class_names == ("background", *things)
        for example in data.split("train"):
            image, mask = example["image"].numpy(), example["mask"].numpy()
            for label, thing in enumerate(things, start=1):
                # Where only a little of a thing is visible, its colour mixes with others.
                if np.count_nonzero(mask == label) >= 200:
                    red = np.median(image[mask == label][:, 0])
                    assert abs(red - COLOUR * builder.CLASS_NAMES.index(thing)) <= 8
            assert mask.max() <= len(things)
    # The arrangements differ from those of the dataset with all classes.
    parts = {each.part for each in builder.Composites.BUILDER_CONFIGS}
    assert parts == {(), (3, 4, 5), (1, 2, 6)}


def test_missing_packages_are_named_with_the_command_that_unpacks_them(data_dir):
    (data_dir / "debian/usr/share" / files.backgrounds_of("scratch")[3]).unlink()
    with pytest.raises(RunError) as raised:
        prepared_builder("composites/128", str(data_dir))
    line = raised.value.line
    assert "install scratch, or unpack them without root: `cd " in line
    assert (
        "apt-get download scratch && for each in *.deb; do dpkg-deb -x $each debian; done`" in line
    )
    assert not (data_dir / "composites/128/1.0.0").exists()


def test_an_unknown_configuration_is_rejected(data_dir):
    with pytest.raises(ConfigError, match="use composites/128 or composites/256"):
        prepared_builder("composites/64", str(data_dir))
