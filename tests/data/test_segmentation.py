"""Images with masks from every kind of dataset."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pixpro_tf.data.labelled import order, segmentation
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.labelled.segmentation import (
    IGNORED,
    image_batches,
    open_segmentation,
    random_crops,
)
from pixpro_tf.errors import ConfigError, RunError


def examples_of(dataset, split, data_dir=""):
    return list(open_segmentation(dataset, str(data_dir)).split(split).as_numpy_iterator())


def draw(path, pixels, palette=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette)
    image.save(path, **options)


@pytest.fixture
def voc(tmp_path):
    """VOC folder with one image of 6 x 8 pixels, whose mask has a palette."""
    mask = np.zeros([6, 8], np.uint8)
    mask[1:4, 2:5], mask[4:] = 15, 255
    draw(tmp_path / "JPEGImages" / "2007_1.jpg", np.full([6, 8, 3], 90, np.uint8))
    palette = np.random.default_rng(0).integers(0, 256, 768).tolist()
    draw(tmp_path / "SegmentationClass" / "2007_1.png", mask, palette)
    listing = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("2007_1\n")
    return tmp_path, mask


def test_voc_is_read_from_the_folder_of_the_challenge(voc):
    path, mask = voc
    (example,) = examples_of(f"voc:{path}", "val")
    np.testing.assert_array_equal(example["mask"], mask)
    assert example["image"].shape == (6, 8, 3) and example["image"].dtype == np.uint8
    names = open_segmentation(f"voc:{path}").class_names
    assert len(names) == 21 and names[0] == "background" and names[15] == "person"


@pytest.fixture
def folder(tmp_path):
    """Folder with two training images and one validation image, of two classes."""
    (tmp_path / "classes.txt").write_text("sky\nland\n")
    rng = np.random.default_rng(0)
    for split, count in (("train", 2), ("validation", 1)):
        for index in range(count):
            draw(
                tmp_path / split / "images" / f"{index}.jpg",
                rng.integers(0, 256, [10, 12, 3], np.uint8),
            )
            draw(
                tmp_path / split / "masks" / f"{index}.png", rng.integers(0, 2, [10, 12], np.uint8)
            )
    return tmp_path


def test_a_folder_of_images_and_masks_is_read(folder):
    assert open_segmentation(f"folder:{folder}").class_names == ("sky", "land")
    # The order is mixed.
    read = {example["mask"].tobytes() for example in examples_of(f"folder:{folder}", "train")}
    masks = [np.asarray(Image.open(folder / f"train/masks/{index}.png")) for index in range(2)]
    assert read == {mask.tobytes() for mask in masks}


@pytest.mark.slow
def test_masks_can_be_tiff_and_images_are_turned_upright(tmp_path):
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    stored = np.zeros([6, 4, 3], np.uint8)
    stored[0] = 255
    exif = Image.Exif()
    # It is shown after a quarter turn to the right: the white row becomes the right column.
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "train" / "images" / "a.jpg", exif=exif, quality=100)
    mask = np.zeros([4, 6], np.uint8)
    mask[:, -1] = 1
    Image.fromarray(mask).save(tmp_path / "train" / "masks" / "a.png", "TIFF")
    (example,) = examples_of(f"folder:{tmp_path}", "train")
    assert example["image"].shape == (4, 6, 3)
    np.testing.assert_array_equal(example["image"][..., 0] > 127, example["mask"])


def test_scenes_have_masks(scenes_dir):
    data = open_segmentation("scenes/128", str(scenes_dir))
    example = next(data.split("validation[:1]").as_numpy_iterator())
    assert len(data.class_names) == 10 and "striped_ball" in data.class_names
    assert example["mask"].shape == (128, 128) and example["mask"].max() < 10
    assert data.split("test").element_spec["image"].shape == (128, 128, 3)
    with pytest.raises(ConfigError, match="'tset' is not a split of scenes/128; use one of"):
        data.split("tset")


def test_cityscapes_has_nineteen_classes(monkeypatch, tmp_path):
    """Uses the features of TFDS, with random pixels instead of the dataset, which must not be redistributed."""
    with tfds.testing.mock_data(1, policy=tfds.testing.MockPolicy.USE_CODE):
        builder = tfds.builder("cityscapes/semantic_segmentation", data_dir=tmp_path)
        monkeypatch.setattr(segmentation, "prepared_builder", lambda name, data_dir: builder)
        ids = next(builder.as_dataset(split="train").as_numpy_iterator())["segmentation_label"]
        (example,) = examples_of("cityscapes", "train")
    expected = np.full(ids.shape[:2], IGNORED)
    # The benchmark's label table: the id of each class that is scored.
    table = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    for number, identity in enumerate(table):
        expected[ids[..., 0] == identity] = number
    np.testing.assert_array_equal(example["mask"], expected)
    assert example["image"].shape == (1024, 2048, 3)


def striped(height=40, width=60):
    """Image that shows its mask: each class has its own grey level, in blocks of ten pixels."""
    mask = np.add.outer(np.arange(height) // 10, np.arange(width) // 10).astype(np.uint8)
    image = np.repeat(20 * mask[..., None], 3, axis=-1)
    return tf.data.Dataset.from_tensors({"image": image, "mask": mask})


def test_random_crops_keep_image_and_mask_together():
    scales, ignored = [], []
    for image, mask in random_crops(striped(), 32, seed=1).take(40).as_numpy_iterator():
        assert image.shape == (32, 32, 3) and mask.shape == (32, 32)
        counted = mask != IGNORED
        ignored.append(1 - counted.mean())
        agree = np.abs(image[..., 0].astype(int) - 20 * mask)[counted] < 4
        # Resizing blurs the edges.
        assert agree.mean() > 0.5
        scales.append(len(np.unique(mask[counted])))
        np.testing.assert_array_equal(
            image[~counted], np.tile([124, 116, 104], [(~counted).sum(), 1])
        )
    assert np.mean(np.array(ignored) > 0) > 0.2
    assert len(set(scales)) > 3


def test_random_crops_are_a_function_of_their_seed():
    def crops(seed):
        return [image for image, _ in random_crops(striped(), 24, seed).take(4).as_numpy_iterator()]

    np.testing.assert_array_equal(crops(3), crops(3))
    assert not np.array_equal(crops(3), crops(4))
    assert not np.array_equal(crops(3)[0], crops(3)[1])


def test_images_of_different_sizes_are_batched_one_at_a_time(voc, tmp_path):
    path, _ = voc
    ((images, masks),) = image_batches(open_segmentation(f"voc:{path}").split("val"), 4)
    assert images.shape == (1, 6, 8, 3) and masks.shape == (1, 6, 8)
    sizes = [len(images) for images, _ in image_batches(striped().repeat(5), 2)]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (
            "coco",
            ConfigError,
            "use scenes/128, composites/128, cityscapes, voc:PATH or folder:PATH",
        ),
        (
            "voc:/nowhere",
            RunError,
            "cannot be read: /nowhere does not exist; use an existing folder",
        ),
        (
            "folder:/nowhere",
            RunError,
            "cannot be read: /nowhere/classes.txt does not exist; create it",
        ),
    ],
)
def test_missing_datasets_are_rejected(dataset, error, message):
    with pytest.raises(error, match=message):
        examples_of(dataset, "train")


def test_missing_splits_and_masks_are_rejected(voc, folder):
    with pytest.raises(ConfigError, match="'train' is not a split of voc:"):
        examples_of(f"voc:{voc[0]}", "train")
    with pytest.raises(ConfigError, match="'test' is not a split of folder:"):
        examples_of(f"folder:{folder}", "test")
    (folder / "train" / "masks" / "1.png").unlink()
    with pytest.raises(RunError, match=r"the mask of .*1\.jpg was not found: .*1\.png"):
        examples_of(f"folder:{folder}", "train")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["sky", "unknown", "unknown"], "contains unknown twice; give each class a name"),
        ([f"class {number}" for number in range(256)], "contains 256 classes; masks of 8 bits"),
    ],
)
def test_classes_that_masks_cannot_have_are_rejected(folder, names, said):
    (folder / "classes.txt").write_text("\n".join(names))
    with pytest.raises(RunError, match=said):
        open_segmentation(f"folder:{folder}")


def test_lists_that_are_empty_or_not_text_are_rejected(voc, folder):
    for content, message in ((b"\n", "contains no class names; write one"), (b"\xff", "UTF-8")):
        (folder / "classes.txt").write_bytes(content)
        with pytest.raises(RunError, match=rf"classes\.txt .*{message}"):
            examples_of(f"folder:{folder}", "train")
    listing = os.path.join(voc[0], "ImageSets", "Segmentation", "empty.txt")
    for content, message in ((b"", "contains no images in .*empty.txt"), (b"\xff", "UTF-8")):
        with open(listing, "wb") as file:
            file.write(content)
        with pytest.raises(RunError, match=message):
            examples_of(f"voc:{voc[0]}", "empty")


def test_a_mask_with_three_channels_is_rejected(folder):
    draw(folder / "train" / "masks" / "0.png", np.zeros([10, 12, 3], np.uint8))
    message = rf"^dataset=mine cannot be read: {folder}.*0\.png is not a mask: it must be 8-bit with a single channel$"
    with pytest.raises(RunError, match=message), reading("mine"):
        examples_of(f"folder:{folder}", "train")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.full([10, 12], 7, np.uint8),
            r"0\.png contains the value 7, which is not a class; use 0 to 1, or 255",
        ),
        (np.zeros([12, 10], np.uint8), r"0\.png is 10 x 12 pixels, but its image is 12 x 10"),
    ],
)
def test_a_mask_with_wrong_values_or_size_is_rejected(folder, mask, message):
    draw(folder / "train" / "masks" / "0.png", mask)
    with pytest.raises(RunError, match=message), reading("mine"):
        examples_of(f"folder:{folder}", "train")


def test_too_little_memory_is_not_reported_as_a_fault_of_the_dataset():
    with (
        pytest.raises(RunError, match=r"^out of memory; use a smaller batch size"),
        reading("x"),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_large_examples_are_neither_cached_nor_shuffled_in_large_buffers(monkeypatch):
    decoded = []

    def example(index):
        tf.numpy_function(lambda: decoded.append(0), [], [])
        return {"image": tf.zeros([40, 60, 3], tf.uint8), "mask": tf.zeros([40, 60], tf.uint8)}

    def decodings(crops):
        decoded.clear()
        list(random_crops(tf.data.Dataset.range(8).map(example), 16, seed=0).take(crops))
        return len(decoded)

    # One example is decoded for its size; examples that are kept in memory are decoded once.
    assert decodings(40) <= 1 + 8
    monkeypatch.setattr(segmentation, "_KEPT_BYTES", 0)
    monkeypatch.setattr(order, "_BYTES", 0)
    assert decodings(40) >= 40


def test_images_that_would_share_a_mask_are_rejected(folder):
    found = next((folder / "train" / "images").glob("0.*"))
    other = found.with_suffix(".bmp")
    Image.open(found).save(other)
    with pytest.raises(
        RunError, match=r"0\.bmp and 0\.\w+ have the same mask, .*0\.png; rename one"
    ):
        examples_of(f"folder:{folder}", "train")
