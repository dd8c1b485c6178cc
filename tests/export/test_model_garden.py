"""Exports to TF Model Garden: read here, and by the Garden itself in its own environment."""

import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.export.commands.model_garden import main
from pixpro_tf.export.model_garden.checkpoint import write_checkpoint
from pixpro_tf.export.model_garden.experiments import (
    EXPERIMENTS,
    OWN_EXPERIMENTS,
    DetectionData,
    yaml_of,
)
from pixpro_tf.storage import trained_weights
from tests.support.labelled import write_coco, write_images
from tests.support.models import OTHER_MEAN, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return make_run(folder, backbone="resnet50", backbone_layout="model_garden")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "garden"
    assert main([f"--from={run}", f"--output={output}"]) == 0
    return output


def stored_shapes(folder):
    found = tf.train.list_variables(str(folder / "ckpt-1"))
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    # The checkpoint names each layer by its number among all layers and among those with weights; variables are under the first name.
    return {
        name.removeprefix("backbone/").removesuffix(suffix): shape
        for name, shape in found
        if name.startswith("backbone/")
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks"), [("resnet50", 16), ("resnet101", 33)])
def test_layers_have_the_names_of_model_garden(name, blocks, tmp_path):
    write_checkpoint(resnet.build(name, "model_garden"), str(tmp_path))
    shapes = stored_shapes(tmp_path)
    assert shapes["layer-1/kernel"] == [7, 7, 3, 64]
    assert shapes["layer-2/gamma"] == [64]
    # Input, stem, BN, activation and pooling precede the first block, and an activation follows each stage.
    assert shapes["layer-5/_shortcut/kernel"] == [1, 1, 64, 256]
    assert shapes["layer-7/_norm3/moving_variance"] == [256]
    assert shapes["layer-9/_conv2/kernel"] == [3, 3, 128, 128]
    last = 5 + blocks + 3 - 1
    assert shapes[f"layer-{last}/_conv3/kernel"] == [1, 1, 512, 2048]
    per_block = 3 * 5
    assert len(shapes) == 5 + blocks * per_block + 4 * 5


@pytest.mark.slow
def test_exported_folder_is_complete(exported):
    names = {"checkpoint", "README.md", *EXPERIMENTS}
    assert {path.name for path in exported.iterdir()} == names
    for file, experiment in EXPERIMENTS.items():
        text = (exported / file).read_text()
        assert "norm_epsilon: 0.00001" in text and "model_id: 50" in text and "$" not in text
        assert "init_checkpoint: checkpoint/ckpt-1" in text
        # YAML 1.1 reads numbers without a point, such as 1e-05, as strings.
        assert not re.search(r":.*\b\d+e-", text)
        assert experiment.name in (exported / "README.md").read_text()
    assert "resnet50 pre-trained without labels with PixPro" in (exported / "README.md").read_text()


@pytest.mark.slow
def test_another_mean_and_deviation_are_folded_into_the_stem(exported, tmp_path):
    """The Garden subtracts ImageNet's mean from RGB in [0, 1] and divides by its standard deviation."""
    run = make_run(
        tmp_path / "run", backbone="resnet50", backbone_layout="model_garden", **OTHER_MEAN
    )
    output = tmp_path / "garden"
    assert main([f"--from={run}", f"--output={output}"]) == 0

    def stored(name):
        key = f"backbone/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        return tf.train.load_variable(str(output / "checkpoint" / "ckpt-1"), key)

    def response(image, kernel, mean, variance):
        convolved = tf.nn.conv2d(image.astype(np.float32), kernel, 2, "VALID")
        return ((convolved - mean) / np.sqrt(variance + 1e-5)).numpy()

    image = np.random.default_rng(0).uniform(size=[1, 32, 32, 3])
    convolution, norm = trained_weights.restore_backbone(str(run)).stem
    expected = response(
        (image - OTHER_MEAN["channel_mean"]) / OTHER_MEAN["channel_std"],
        *(each.numpy() for each in (convolution.kernel, norm.moving_mean, norm.moving_variance)),
    )
    names = ("layer-1/kernel", "layer-2/moving_mean", "layer-2/moving_variance")
    normalised = (image - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    found = response(normalised, *map(stored, names))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    folded = "those of pre-training are folded into the first"
    assert folded in (output / "README.md").read_text()
    assert folded not in (exported / "README.md").read_text()


# Peak learning rates of Detectron2's 1x schedules with batch size 16.
@pytest.mark.parametrize(("file", "peak"), [("retinanet.yaml", 0.01), ("mask_rcnn.yaml", 0.02)])
def test_detectors_have_the_1x_schedule(file, peak):
    text = yaml_of(EXPERIMENTS[file], 50, 1.0)
    assert "train_steps: 90000" in text and "boundaries: [60000, 80000]" in text
    (rates,) = re.findall(r"values: \[(.*)\]", text)
    # The first drop is to a tenth and the second to a hundredth.
    expected = [peak, peak / 10, peak / 100]
    assert [float(rate) for rate in rates.split(", ")] == pytest.approx(expected)


@pytest.mark.slow
def test_the_schedule_scales_with_the_steps_on_own_boxes():
    data = DetectionData(3, "data/train*", "data/evaluation*", 2400, "", 11)
    for experiment in OWN_EXPERIMENTS.values():
        text = yaml_of(experiment, 50, 1.0, data=data)
        assert "train_steps: 2400" in text and "boundaries: [1600, 2133]" in text
        assert "num_classes: 3" in text and "annotation_file: null" in text
        assert (
            "  validation_steps: 2\n  optimizer_config:" in text and "drop_remainder: false" in text
        )
    assert "include_mask: false" in yaml_of(OWN_EXPERIMENTS["faster_rcnn.yaml"], 50, 1.0)
    shortest = DetectionData(3, "data/train*", "data/evaluation*", 1, "", 11)
    text = yaml_of(OWN_EXPERIMENTS["retinanet.yaml"], 50, 1.0, data=shortest)
    assert "boundaries: [1, 2]" in text and "warmup_steps: 1" in text


def test_no_box_of_an_image_is_dropped():
    for experiment in OWN_EXPERIMENTS.values():
        for most, limit in ((7, 100), (250, 250)):
            text = yaml_of(experiment, 50, 1.0, data=DetectionData(most_boxes=most))
            # In training and in evaluation.
            assert text.count(f"    parser:\n      max_num_instances: {limit}\n") == 2


SIZES = {f"{number}.png": (160, 120 + number) for number in range(6)}
OBJECTS = {name: [("dog", (20, 20, 90, 100)), ("cat", (100, 10, 150, 60))] for name in SIZES}


def export_with_labels(folder, run, *flags):
    write_images(folder / "images", SIZES)
    labels = write_coco(folder, OBJECTS, SIZES)
    output = folder / "garden"
    given = [f"--from={run}", f"--output={output}", f"--labels={labels}", *flags]
    assert main([*given, f"--evaluation_labels={labels}"]) == 0
    return output


@pytest.mark.slow
def test_own_boxes_are_written_for_the_garden(run, tmp_path, capsys):
    output = export_with_labels(tmp_path, run, "--steps=100")
    names = {path.name for path in output.iterdir()}
    assert names == {"checkpoint", "data", "label_map.pbtxt", "README.md", *OWN_EXPERIMENTS}
    assert {path.name for path in (output / "data").iterdir()} == {
        "train-00000-of-00001.tfrecord",
        "evaluation-00000-of-00001.tfrecord",
    }
    features = [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset(
            str(output / "data" / "train-00000-of-00001.tfrecord")
        ).as_numpy_iterator()
    ]
    # The Garden reads the identification of an image as a number.
    found = [feature["image/source_id"].bytes_list.value[0] for feature in features]
    assert found == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert features[0]["image/object/class/label"].int64_list.value == [2, 1]
    readme = (output / "README.md").read_text()
    assert "6 images to train on and 6 to evaluate on" in readme and "100 steps" in readme
    text = (output / "retinanet.yaml").read_text()
    # Two classes, and the background.
    assert "num_classes: 3\n" in text and "$" not in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps=100"], "--steps=100 is unused without --labels"),
        (["--label_map=a.pbtxt"], "--label_map=a.pbtxt is unused without --labels"),
        (["--classes=cat"], "--classes=cat is unused without --labels"),
        (
            ["--labels=a.json", "--classes=cat", "--label_map=a.pbtxt"],
            "--classes and --label_map cannot be combined",
        ),
        (["--labels=nowhere.json"], "nowhere.json do not exist"),
    ],
)
def test_mistakes_in_the_flags_of_own_boxes_are_reported(run, tmp_path, capsys, flags, message):
    assert main([f"--from={run}", f"--output={tmp_path / 'garden'}", *flags]) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "garden").exists()


def test_an_export_never_replaces_its_label_map(tmp_path, capsys):
    path = tmp_path / "map.pbtxt"
    path.write_text("item { id: 1 name: 'cat' }")
    flags = [f"--output={tmp_path}", "--labels=elsewhere.json", f"--label_map={path}"]
    assert main(["--from=weights.h5", *flags, "--overwrite"]) == 2
    assert "would replace" in capsys.readouterr().err and path.exists()


@pytest.mark.thorough
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TensorFlow 2.15 requires Python 3.11")
@pytest.mark.parametrize("file", OWN_EXPERIMENTS)
def test_model_garden_trains_and_evaluates_on_own_boxes(run, tmp_path, consume, file):
    output = export_with_labels(tmp_path, run, "--steps=2")
    experiment = OWN_EXPERIMENTS[file].name
    found = consume("model_garden", output, "model_garden_labels", experiment=experiment, yaml=file)
    assert np.isfinite(found["train"]["total_loss"])
    assert 0 <= found["evaluation"]["AP"] <= 1


def test_wide_backbone_has_no_segmentation_experiment(tmp_path):
    run = make_run(tmp_path / "run", backbone="resnet50w2", backbone_layout="model_garden")
    output = tmp_path / "garden"
    assert main([f"--from={run}", f"--output={output}"]) == 0
    assert not (output / "semantic_segmentation.yaml").exists()
    assert "depth_multiplier: 2.0" in (output / "retinanet.yaml").read_text()
    assert "dilated ResNet has a single width" in (output / "README.md").read_text()


RETINANET_LEVELS = "p3,p4,p5,p6,p7"
MASK_RCNN_LEVELS = "p2,p3,p4,p5,p6"


def export_with_fpn(folder, levels):
    run = make_run(
        folder / "run",
        backbone="resnet50",
        backbone_layout="model_garden",
        image_size=160,
        pixel_levels=levels,
        fpn_channels=32,
    )
    assert main([f"--from={run}", f"--output={folder / 'garden'}"]) == 0
    return run, folder / "garden"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("levels", "starts", "does_not"),
    [
        (RETINANET_LEVELS, "retinanet.yaml", "mask_rcnn.yaml"),
        (MASK_RCNN_LEVELS, "mask_rcnn.yaml", "retinanet.yaml"),
    ],
)
def test_detector_with_the_same_levels_starts_from_the_fpn(tmp_path, levels, starts, does_not):
    _, output = export_with_fpn(tmp_path, levels)
    text = (output / starts).read_text()
    assert "init_checkpoint_modules: [backbone, decoder]" in text and "num_filters: 32" in text
    text = (output / does_not).read_text()
    assert "init_checkpoint_modules: backbone" in text and "decoder" not in text
    assert f"and `{starts}` starts from it" in (output / "README.md").read_text()


@pytest.mark.slow
def test_fpn_with_other_levels_is_left_out_and_the_readme_says_so(tmp_path):
    _, output = export_with_fpn(tmp_path, "p3,p4,p5")
    found = tf.train.list_variables(str(output / "checkpoint" / "ckpt-1"))
    assert not [name for name, _ in found if name.startswith("decoder")]
    text = (output / "README.md").read_text()
    assert "has the levels p3, p4, p5, which do not fit a detector" in text
    assert f"--pixel_levels={MASK_RCNN_LEVELS} (mask_rcnn.yaml)" in text


@pytest.mark.thorough
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TensorFlow 2.15 requires Python 3.11")
@pytest.mark.parametrize(
    ("levels", "file"),
    [(RETINANET_LEVELS, "retinanet.yaml"), (MASK_RCNN_LEVELS, "mask_rcnn.yaml")],
)
def test_model_garden_restores_the_fpn_with_the_same_features(tmp_path, consume, levels, file):
    run, output = export_with_fpn(tmp_path, levels)
    with trained_weights.open_weights(str(run)) as weights:
        backbone, neck = trained_weights.restore_with_neck(weights)
    images = np.random.default_rng(0).normal(size=(2, 128, 128, 3)).astype(np.float32)
    pyramid = neck(backbone(images))
    maps = {level: features.numpy() for level, features in pyramid.items()}
    found = consume("model_garden", output, "model_garden_fpn", images=images, yaml=file, **maps)
    assert set(found) == set(maps)
    assert max(found.values()) < 1e-4


@pytest.mark.thorough
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TensorFlow 2.15 requires Python 3.11")
def test_model_garden_restores_the_same_features_and_trains_a_detector(run, exported, consume):
    backbone = trained_weights.restore_backbone(str(run))
    # One side is even and the other is odd at every stride.
    images = np.random.default_rng(0).normal(size=(2, 160, 193, 3)).astype(np.float32)
    maps = {name: features.numpy() for name, features in backbone(images).items()}
    found = consume("model_garden", exported, images=images, **maps)
    assert set(found["feature_errors"]) == {"c2", "c3", "c4", "c5"}
    assert max(found["feature_errors"].values()) < 1e-4
    first, second = found["detector_losses"]
    assert np.isfinite(first) and second < first
    norm = np.linalg.norm(backbone.stem[0].kernel)
    for file in ("mask_rcnn.yaml", "semantic_segmentation.yaml"):
        assert found["stem_norms"][file] == pytest.approx(norm, rel=1e-6)
