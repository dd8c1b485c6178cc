"""Tests of the segmentation command on images whose classes are colours, with runs, exports and random weights."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf.backbones import resnet
from pixpro_tf.data.labelled.segmentation import IGNORED
from pixpro_tf.data.views.channels import RGB
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import dense, splits
from pixpro_tf.evaluation.segmentation import evaluation, frozen, segmenter
from pixpro_tf.evaluation.sources import maps_of
from pixpro_tf.export import savedmodel
from tests.support.models import make_run

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
SIZE = 32


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Folder of images of three colours in blocks of 16 pixels, some of which are ignored."""
    folder = tmp_path_factory.mktemp("colours")
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("validation", 6), ("test", 6)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = rng.integers(0, 3, [SIZE // 16, SIZE // 16], np.uint8)
            mask = mask.repeat(16, axis=0).repeat(16, axis=1)
            image = COLOURS[mask] + rng.integers(0, 40, [SIZE, SIZE, 3], np.uint8)
            mask[:2] = IGNORED
            Image.fromarray(image).save(folder / split / "images" / f"{index}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet10", output_stride=8)


def command(colours, *flags, source="random:resnet10"):
    return dense.main([f"--from={source}", f"--dataset=folder:{colours}", *flags])


def settings_of(colours, source="random:resnet10", **settings):
    return dense.Settings(source=str(source), dataset=f"folder:{colours}", **settings)


@pytest.mark.slow
def test_a_linear_layer_on_random_features_separates_colours(colours, tmp_path, capsys):
    flags = ("--output_stride=8", "--level=c3", "--epochs=30", f"--output={tmp_path / 'found'}")
    assert command(colours, *flags) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "found" / "results.json").read_text())
    assert found["mean_iou"] > 0.6
    assert set(found["class_iou"]) == {"red", "green", "blue"}
    assert f"{100 * found['mean_iou']:.2f}" in printed
    # Two of 32 rows are ignored.
    assert np.sum(found["confusion"]) == 6 * (SIZE - 2) * SIZE
    for name in ("confusion.png", "predictions.png"):
        with Image.open(tmp_path / "found" / name) as picture:
            assert min(picture.size) > 300


@pytest.mark.slow
def test_a_run_and_its_export_give_the_same_numbers(colours, run, tmp_path):
    savedmodel.export(str(run), str(tmp_path / "exported"), allow_unfinished=True)
    for mode in ({}, {"mode": "finetune", "crop_size": 16, "batch_size": 8}):
        confusions = [
            evaluation.evaluate(settings_of(colours, source, epochs=1, **mode)).scores.confusion
            for source in (run, tmp_path / "exported")
        ]
        np.testing.assert_array_equal(*confusions)


@pytest.mark.slow
def test_the_networks_of_a_run_differ(colours, run):
    confusions = [
        evaluation.evaluate(settings_of(colours, run, network=network, epochs=1)).scores.confusion
        for network in ("online", "target", "")
    ]
    assert np.any(confusions[0] != confusions[1])
    np.testing.assert_array_equal(confusions[0], confusions[2])


@pytest.mark.slow
def test_fine_tuning_trains_the_backbone_and_learns(colours):
    settings = settings_of(
        colours,
        mode="finetune",
        output_stride=8,
        crop_size=SIZE,
        batch_size=8,
        epochs=12,
        rates=(0.05,),
    )
    result = evaluation.evaluate(settings)
    assert result.scores.mean_iou > 0.6
    tf.keras.utils.set_random_seed(settings.seed)
    before = resnet.build("resnet10", output_stride=8)
    stem, stem_before = (each.stem[0].kernel for each in (result.segmenter.backbone, before))
    assert np.abs(stem - stem_before).max() > 1e-3


@pytest.mark.slow
def test_a_linear_layer_on_crops_does_not_change_the_backbone(colours):
    settings = settings_of(colours, output_stride=8, level="c3", crop_size=SIZE, epochs=20)
    result = evaluation.evaluate(settings)
    assert result.scores.mean_iou > 0.5
    tf.keras.utils.set_random_seed(settings.seed)
    before = resnet.build("resnet10", output_stride=8)
    before.trainable = False
    for variable, expected in zip(
        result.segmenter.backbone.variables, before.variables, strict=True
    ):
        np.testing.assert_array_equal(variable, expected)


@pytest.mark.slow
def test_the_best_learning_rate_is_chosen_on_the_selection_split(colours, capsys):
    flags = ("--level=c3", "--rates=1e-6,1e-2", "--selection_split=validation", "--split=test")
    assert command(colours, *flags) == 0
    printed = capsys.readouterr().out
    assert "Learning rate 0.01: mIoU" in printed and "on validation (chosen)" in printed
    settings = settings_of(
        colours, level="c3", rates=(1e-6, 1e-2), selection_split="validation", split="test"
    )
    several = evaluation.evaluate(settings)
    alone = evaluation.evaluate(settings_of(colours, level="c3", rates=(1e-2,), split="test"))
    assert several.rate == 1e-2 and several.selection[1e-2] > several.selection[1e-6]
    np.testing.assert_array_equal(several.scores.confusion, alone.scores.confusion)


@pytest.mark.slow
def test_evaluating_twice_gives_the_same_numbers(colours):
    for mode in ({}, {"mode": "finetune", "crop_size": 16, "batch_size": 8}):
        first, second, other = (
            evaluation.evaluate(
                settings_of(colours, level="c2", epochs=3, seed=seed, **mode)
            ).scores.confusion
            for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(first, second)
        assert np.any(first != other)


def test_moments_match_those_of_all_pixels():
    rng = np.random.default_rng(0)
    maps = [rng.normal(1e4, 1e-2, [size, 3, 5]) for size in (2, 7, 1)]
    for each in maps:
        each[..., 4] = 0.1
    mean, deviation = frozen.moments(maps)
    pixels = np.concatenate([each.reshape(-1, 5) for each in maps])
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation[:4], pixels.std(axis=0)[:4], rtol=1e-6)


def test_a_constant_feature_is_ignored():
    maps = np.random.default_rng(0).normal(size=[4, 3, 3, 2]).astype(np.float32)
    maps[..., 1] = 0.1
    head = segmenter.LinearHead(2, *frozen.moments(maps))
    head.build(maps.shape)
    head.classify.kernel.assign(tf.ones_like(head.classify.kernel))
    standardised = (maps[..., 0] - maps[..., 0].mean()) / maps[..., 0].std()
    np.testing.assert_allclose(head(maps)[..., 0], standardised, atol=1e-5)


def test_ignored_pixels_add_nothing_to_the_loss():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=[2, 4, 4, 3]).astype(np.float32)
    masks = rng.integers(0, 3, [2, 4, 4]).astype(np.uint8)
    masks[0, 1] = IGNORED
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    losses = [
        -np.log(shares[index][masks[index]])
        for index in np.ndindex(*masks.shape)
        if masks[index] != IGNORED
    ]
    assert float(segmenter.pixel_loss(masks, logits)) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(segmenter.pixel_loss(np.full_like(masks, IGNORED), logits)) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--margin=12", "--output_stride=8"],
            "--margin=12 must be a multiple of c5's stride of 8",
        ),
        (["--margin=16", "--crop_size=16"], "--margin=16 requires whole images"),
        (["--min_scale=1"], "--min_scale=1.0 is unused with --crop_size=0"),
        (
            ["--crop_size=16", "--min_scale=3"],
            "--min_scale=3 must be at most --max_scale=2",
        ),
        (
            ["--rates=0.1,0.2"],
            "--rates has 2 values; to choose the best of them, pass a --selection_split",
        ),
        (
            ["--selection_split=test"],
            "--selection_split=test has no effect with a single learning rate",
        ),
        (["--mode=finetune"], "--mode=finetune trains on random crops; pass their size"),
        (["--epochs=0"], "--epochs=0 is too small"),
        (["--rates=fast"], "--rates=fast is not a list of numbers"),
        (["--rates=nan"], "--rates=nan is not a finite number"),
        (["--rates=inf"], "--rates=inf is not a finite number"),
        (["--seed=4294967296"], "--seed=4294967296 is too large; the maximum is 4294967295"),
        (["--weight_decay=0.1"], "--weight_decay=0.1 is unused with --mode=linear"),
        (["--network=target"], "--network=target is unused with --from=random:resnet10"),
        (
            ["--mode=finetune", "--margin=32"],
            "--margin=32 is unused with --mode=finetune",
        ),
        (
            ["--rates=0.1,0.2", "--selection_split=validation[:5]"],
            "pass a --selection_split other than --split=validation and --train_split=train",
        ),
        (["--rates=0.1,0.2", "--selection_split=train"], "--rates has 2 values"),
        (["--level=c9"], "--level=c9 is unknown; choose one of c2"),
        (["--split=nowhere"], "'nowhere' is not a split of folder:"),
    ],
)
def test_invalid_flags_are_rejected_in_one_line(colours, capsys, flags, message):
    assert command(colours, *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_unknown_weights_are_rejected(colours, capsys):
    assert command(colours, source="random:resnet7") == 2
    assert "use random: followed by one of resnet10" in capsys.readouterr().err
    assert command(colours, source="/nowhere") == 1
    assert "/nowhere is not a run folder" in capsys.readouterr().err


def test_an_existing_output_is_kept(colours, tmp_path, capsys):
    assert command(colours, f"--output={tmp_path}") == 2
    assert f"--output={tmp_path} already exists" in capsys.readouterr().err


def test_crops_have_the_scales_of_the_flags(colours, monkeypatch):
    seen = []

    def crops(examples, size, seed, *scales):
        seen.append(scales)
        raise ConfigError("enough")

    monkeypatch.setattr(evaluation, "random_crops", crops)
    for flags in ([], ["--min_scale=1", "--max_scale=1.5"]):
        assert command(colours, "--crop_size=16", *flags) == 2
    assert seen == [(0.5, 2.0), (1.0, 1.5)]


def test_a_margin_hides_the_border_from_the_features():
    tf.keras.utils.set_random_seed(0)
    backbone = resnet.build("resnet10", output_stride=8)
    # The image has one texture everywhere, which the margin's mirroring continues at the border.
    x = np.abs(np.arange(128) % 64 - 32)
    image = np.round(7.9 * np.minimum.outer(x, x)).astype(np.uint8)
    images = tf.constant(np.stack(3 * [image], axis=-1)[None])

    def unlike_the_middle(margin):
        maps = maps_of(backbone, images, "c4", margin=margin).numpy()[0]
        assert maps.shape[:2] == (16, 16)
        corner, same_place = maps[0, 0], maps[8, 8]
        return np.abs(corner - same_place).max() / np.abs(same_place).max()

    assert unlike_the_middle(0) > 0.05
    assert unlike_the_middle(64) < 1e-5


@pytest.mark.slow
def test_a_margin_changes_the_scores_but_not_the_number_of_pixels(colours):
    flags = {"output_stride": 8, "level": "c3", "epochs": 2}
    plain, margin = (
        evaluation.evaluate(settings_of(colours, margin=margin, **flags)).scores.confusion
        for margin in (0, 16)
    )
    assert plain.sum() == margin.sum() and np.any(plain != margin)


@pytest.mark.parametrize("margin", [8, 32, 104])
def test_a_margin_mirrors_images_as_often_as_necessary(monkeypatch, margin):
    images = np.random.default_rng(0).integers(0, 256, [2, 24, 40, 3], np.uint8)
    seen = []

    class Backbone:
        channels = RGB

        def __call__(self, images, training):
            seen.append(images.numpy())
            return {"c2": images[:, ::4, ::4]}

        def stride_of(self, level):
            return 4

    maps = maps_of(Backbone(), tf.constant(images), "c2", margin=margin)
    expected = np.pad(images, [(0, 0), (margin, margin), (margin, margin), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(seen[0], normalize(expected.astype(np.float32) / 255, RGB))
    np.testing.assert_array_equal(
        maps, normalize(images[:, ::4, ::4].astype(np.float32) / 255, RGB)
    )


def test_maps_of_different_sizes_are_rejected_at_the_second_image():
    computed = []

    def function(images):
        computed.append(len(images))
        return images

    shapes = [(4, 4), (4, 5), (4, 4)]
    batches = tf.data.Dataset.from_generator(
        lambda: ((np.zeros([1, *s, 3]), np.zeros([1, *s])) for s in shapes),
        output_types=(tf.float32, tf.uint8),
    )
    batches = batches.apply(tf.data.experimental.assert_cardinality(3))
    with pytest.raises(ConfigError, match=r"differ in size, .* pass --crop_size"):
        frozen.maps_and_masks(function, batches)
    assert computed == [1]


def test_maps_that_do_not_fit_into_memory_are_rejected(monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 2**16)
    batches = tf.data.Dataset.from_tensors((tf.zeros([1, 64, 64, 1]), tf.zeros([1, 64, 64])))
    with pytest.raises(ConfigError, match=r"take 10 GiB, and .* fit into the 4 GiB of"):
        frozen.maps_and_masks(lambda images: images, batches.repeat(10 * 2**16))


@pytest.mark.slow
def test_diverged_training_has_no_score(colours, capsys):
    flags = ["--mode=finetune", "--crop_size=16", "--batch_size=8", "--rates=1e30", "--epochs=2"]
    assert command(colours, *flags) == 1
    error = capsys.readouterr().err
    assert "the loss is nan after step" in error and error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [["--level=c2"], ["--mode=finetune", "--crop_size=16", "--batch_size=8"]]
)
def test_a_learning_rate_that_diverges_is_passed_over(colours, capsys, tmp_path, mode):
    flags = [*mode, "--epochs=2", "--selection_split=validation", "--split=test"]
    output = tmp_path / "out"
    assert command(colours, *flags, "--rates=1e38,1e-2", f"--output={output}") == 0
    printed = capsys.readouterr().out
    assert "learning rate 1e+38: training diverged: the loss is" in printed
    assert "Learning rate 1e+38: diverged\nLearning rate 0.01: mIoU" in printed
    results = json.loads((output / "results.json").read_text())
    assert results["rate"] == 0.01 and results["selection"]["1e+38"] is None
    assert command(colours, *flags, "--rates=1e38,2e38") == 1
    assert "the loss is nan after step" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_whose_pixels_do_not_count_is_rejected_before_training(
    colours, tmp_path, capsys, split
):
    shutil.copytree(colours, tmp_path / "data")
    for file in (tmp_path / "data" / split / "masks").iterdir():
        Image.fromarray(np.full([SIZE, SIZE], IGNORED, np.uint8)).save(file)
    assert command(tmp_path / "data") == 2
    error = capsys.readouterr().err
    assert f"split={split} of folder:" in error and "contains no pixel with a class" in error


@pytest.mark.parametrize(
    "splits",
    [("train", "test", "train"), ("train+validation", "test", "validation"), ("train", "test[:50%]", "test[50%:]")],
)  # fmt: skip
def test_the_rate_is_not_chosen_on_images_that_are_used_otherwise(splits):
    train_split, split, selection_split = splits
    with pytest.raises(ConfigError, match="pass a --selection_split other than"):
        settings_of(
            "data",
            train_split=train_split,
            split=split,
            selection_split=selection_split,
            rates=(0.1, 0.2),
        )


@pytest.mark.parametrize(
    ("train_split", "split", "is_said"),
    [("train", "test", False), ("train+test", "test", True), ("train", "train[:10%]", True), ("train[10%:]", "train[:10%]", False)],
)  # fmt: skip
def test_scores_on_images_that_are_trained_on_are_said_to_be(train_split, split, is_said, capsys):
    splits.print_overlap(train_split, split)
    assert ("contains images of" in capsys.readouterr().out) == is_said
