"""Exports to the Object Detection API. Keras' ResNets, from which the API builds its own, stand in for it."""

import io
import pathlib
import re
import shutil

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pixpro_tf.backbones import resnet
from pixpro_tf.data import limits
from pixpro_tf.data.scenes import builder as scenes
from pixpro_tf.data.scenes import renderer
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.export import label_map, records
from pixpro_tf.export.commands.od_api import main
from pixpro_tf.export.od_api import checkpoint, exporting, pipeline, tasks
from pixpro_tf.storage import trained_weights
from tests.support.models import OTHER_MEAN, make_run, settle

CAFFE_MEAN = np.array([123.68, 116.779, 103.939], np.float32)
# The consumer pads with zeros after it has subtracted its mean, which is a slightly different colour than in this project. The difference
# reaches two bins of C5 from the border with more than a thousandth of the largest feature; the rest is rounding.
BORDER_BINS = 2


def keras_features(folder, depth, images):
    """Returns C5 of Keras' ResNet, which is restored and fed as in the API."""
    model = getattr(tf.keras.applications, f"ResNet{depth}")(include_top=False, weights=None)
    restored = tf.train.Checkpoint(feature_extractor=model)
    status = restored.restore(str(folder / "ckpt-1"))
    status.expect_partial().assert_existing_objects_matched()
    # The checkpoint also contains all of Keras' own variables, including biases.
    status.assert_existing_objects_matched()
    return model(images.astype(np.float32) - CAFFE_MEAN).numpy()


def assert_equal_inside(found, wanted):
    errors = np.abs(found - wanted) / np.abs(wanted).max()
    inside = errors[:, BORDER_BINS:-BORDER_BINS, BORDER_BINS:-BORDER_BINS]
    assert inside.size > 2048 and inside.max() < 1e-3
    # The border differs slightly: the two paddings differ by at most 0.009 of a standard deviation.
    assert inside.max() < errors.max() < 2e-2


@pytest.mark.parametrize(
    "depth",
    [
        pytest.param(50, marks=pytest.mark.slow),
        pytest.param(101, marks=pytest.mark.thorough),
        pytest.param(152, marks=pytest.mark.thorough),
    ],
)
def test_keras_computes_the_same_features_on_photographs_and_scenes(depth, tmp_path):
    backbone = resnet.build(f"resnet{depth}", "od_api")
    settle(backbone)
    checkpoint.write_checkpoint(checkpoint.keras_resnet(backbone), str(tmp_path))
    photograph = skimage.data.rocket()[np.newaxis]
    rendered = [renderer.render(scenes.scene_seed("test", index), 256) for index in range(2)]
    for images in (photograph, np.stack([scene.image for scene in rendered])):
        assert images.dtype == np.uint8
        wanted = backbone(normalize(tf.cast(images, tf.float32) / 255, RGB))["c5"].numpy()
        assert_equal_inside(keras_features(tmp_path, depth, images), wanted)


def test_folded_stem_gives_the_same_output():
    """Compares one pixel, a 1x1 kernel and the normalisation after it with a computation by hand."""
    rng = np.random.default_rng(0)
    kernel, moving_mean = rng.normal(size=(1, 1, 3, 5)), rng.normal(size=5)
    moving_variance = rng.uniform(1e-4, 2, 5)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixel = np.array([12.0, 200.0, 99.0])
    wanted = ((pixel / 255 - mean) / deviation) @ kernel[0, 0] - moving_mean
    wanted /= np.sqrt(moving_variance + 1e-5)
    folded, folded_mean, folded_variance = checkpoint.folded_stem(
        kernel, moving_mean, moving_variance, mean, deviation
    )
    found = (pixel - CAFFE_MEAN) @ folded[0, 0] - folded_mean
    found /= np.sqrt(folded_variance + 1e-5)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_another_mean_and_deviation_are_folded_too():
    channels = Channels(RGB.low, RGB.high, *OTHER_MEAN.values())
    backbone = resnet.build("resnet50", "od_api", channels=channels)
    norm = backbone.stem[1]
    rng = np.random.default_rng(0)
    norm.moving_mean.assign(rng.normal(size=64))
    norm.moving_variance.assign(rng.uniform(0.5, 2, 64))
    keras = checkpoint.keras_resnet(backbone)
    images = skimage.data.rocket()[np.newaxis, :128, :128].astype(np.float32)
    expected = norm(backbone.stem[0](normalize(images / 255, channels))).numpy()
    stem = tf.keras.Model(keras.input, keras.get_layer("conv1_bn").output)
    found = stem(images - CAFFE_MEAN).numpy()
    np.testing.assert_allclose(
        found[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.slow
def test_fine_tuning_changes_the_folded_stem_as_much_as_the_original():
    """Compares the gradients relative to the kernel in training mode.

    If the kernel shrank by the scale of the inputs, the relative gradient would grow with the square of that scale.
    """
    backbone = resnet.build("resnet50", "od_api")
    settle(backbone)
    keras = checkpoint.keras_resnet(backbone)
    images = skimage.data.rocket()[np.newaxis, :256, :256].astype(np.float32)
    stem = tf.keras.Model(keras.input, keras.get_layer("conv1_bn").output)

    def ours():
        kernel = backbone.stem[0].kernel
        return kernel, backbone.stem[1](
            backbone.stem[0](normalize(images / 255, RGB)), training=True
        )

    def theirs():
        return keras.get_layer("conv1_conv").kernel, stem(images - CAFFE_MEAN, training=True)

    moved = []
    for side in (ours, theirs):
        with tf.GradientTape() as tape:
            kernel, features = side()
            loss = tf.reduce_mean(tf.nn.relu(features) ** 2 * tf.linspace(0.0, 1.0, 64))
        gradient = tape.gradient(loss, kernel).numpy()
        moved.append((gradient / np.linalg.norm(kernel), kernel.numpy()))
    (gradient, kernel), (their_gradient, their_kernel) = moved
    # The scales of the input channels still differ by the standard deviations, 0.224 to 0.229.
    assert np.linalg.norm(their_gradient) == pytest.approx(np.linalg.norm(gradient), rel=0.05)
    for a, b in ((gradient, their_gradient), (kernel, their_kernel)):
        assert np.sum(a * b) > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)


def test_zero_padding_differs_by_at_most_a_hundredth_of_a_standard_deviation():
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert np.abs((CAFFE_MEAN / 255 - mean) / deviation).max() < 0.009


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return make_run(folder, backbone="resnet50", backbone_layout="od_api")


@pytest.fixture(scope="module")
def exported(run, scenes_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("exported") / "detector"
    flags = [f"--from={run}", f"--output={output}", "--task=custom", "--dataset=scenes/128"]
    flags += ["--model=faster_rcnn_resnet50_keras", "--records", f"--data_dir={scenes_dir}"]
    assert main([*flags, "--train_split=train[:60]", "--evaluation_split=validation[:7]"]) == 0
    return output, scenes_dir


@pytest.mark.slow
def test_exported_folder_is_complete(exported, run):
    output, _ = exported
    assert {path.name for path in output.iterdir()} == {
        "checkpoint",
        "records",
        "pipeline.config",
        "label_map.pbtxt",
        "README.md",
    }
    kernel = tf.train.load_variable(
        str(output / "checkpoint" / "ckpt-1"),
        "feature_extractor/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE",
    )
    ours = trained_weights.restore_backbone(str(run)).stem[0].kernel.numpy()
    # The scale of each channel, relative to the mean of the scales.
    scale = 3 / 0.224 / (1 / 0.229 + 1 / 0.224 + 1 / 0.225)
    np.testing.assert_allclose(kernel[..., 1, :], ours[..., 1, :] * scale, rtol=1e-6)
    readme = (output / "README.md").read_text()
    assert "60 images for training, 7 for evaluation" in readme
    assert "resnet50 pre-trained without labels with PixPro" in readme
    assert "python -m object_detection.model_main_tf2" in readme
    assert "--checkpoint_every_n=1000" in readme
    assert not re.search(r"[{}$]\w", readme)


def test_records_contain_what_the_decoder_of_the_api_reads(exported):
    output, data_dir = exported
    (path,) = (output / "records").glob("train-*.tfrecord")
    assert path.name == "train-00000-of-00001.tfrecord"
    serialized = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert len(serialized) == 60
    builder = scenes.prepare(data_dir, "128")
    examples = tfds.as_numpy(builder.as_dataset(split="train[:60]"))
    for text, wanted in zip(serialized, examples, strict=True):
        feature = tf.train.Example.FromString(text).features.feature
        image = tf.io.decode_jpeg(feature["image/encoded"].bytes_list.value[0]).numpy()
        assert np.abs(image.astype(int) - wanted["image"]).mean() < 1
        assert feature["image/height"].int64_list.value == [128]
        assert feature["image/format"].bytes_list.value == [b"jpeg"]
        boxes = [feature[f"image/object/bbox/{side}"] for side in ("ymin", "xmin", "ymax", "xmax")]
        boxes = np.stack([box.float_list.value for box in boxes], axis=1)
        np.testing.assert_allclose(boxes, wanted["objects"]["bbox"], rtol=1e-6)
        labels = feature["image/object/class/label"].int64_list.value
        np.testing.assert_array_equal(labels, wanted["objects"]["label"] + 1)
        names = feature["image/object/class/text"].bytes_list.value
        assert [renderer.CLASS_NAMES[label - 1].encode() for label in labels] == list(names)
    sources = {
        tf.train.Example.FromString(text).features.feature["image/source_id"].bytes_list.value[0]
        for text in serialized
    }
    assert len(sources) == 60


class MadeObjects(tfds.core.GeneratorBasedBuilder):
    """Three PNG images, the last without boxes, with the attributes of objects in VOC and COCO."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": ""}
    url_infos = {}

    def _info(self):
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=list("abc")),
            "is_difficult": np.bool_,
            "is_crowd": np.bool_,
            "area": np.int64,
        }
        features = {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "objects": tfds.features.Sequence(objects),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(3):
            box = {"bbox": tfds.features.BBox(0.1, 0.2, 0.5, 0.6), "label": index}
            box |= {"is_difficult": index, "is_crowd": index, "area": 10 * index}
            image = np.full((20, 30 + index, 3), 50 * index, np.uint8)
            name = f"{index}.png"
            yield index, {"image": image, "image/filename": name, "objects": [box] * (2 - index)}


@pytest.fixture(scope="module")
def made_objects(tmp_path_factory):
    builder = MadeObjects(data_dir=str(tmp_path_factory.mktemp("tfds")))
    builder.download_and_prepare()
    return builder


@pytest.mark.parametrize("part", ["train", "evaluation"])
def test_records_of_difficult_crowded_and_empty_images(made_objects, tmp_path, part):
    """Consumers would train on crowds as on objects, and count difficult objects as missed."""
    parts = [records.DatasetPart(made_objects, "train")]
    assert records.write_records(str(tmp_path), part, parts, label_map.number("abc")) == (3, 2)
    texts = tf.data.TFRecordDataset(str(tmp_path / f"{part}-00000-of-00001.tfrecord"))
    features = [tf.train.Example.FromString(text.numpy()).features.feature for text in texts]
    features.sort(key=lambda feature: feature["image/filename"].bytes_list.value[0])

    def values(name, kind):
        return [list(getattr(feature[name], kind).value) for feature in features]

    assert values("image/width", "int64_list") == [[30], [31], [32]]
    assert values("image/format", "bytes_list") == [[b"png"]] * 3
    crowded = [1] if part == "evaluation" else []
    assert values("image/object/difficult", "int64_list") == [[0, 0], crowded, []]
    assert values("image/object/is_crowd", "int64_list") == [[0, 0], crowded, []]
    assert values("image/object/area", "float_list") == [[0, 0], [10] * len(crowded), []]
    assert values("image/object/class/label", "int64_list")[1:] == [crowded and [2], []]
    # An image without boxes keeps the types of its lists, which the API's decoder requires.
    assert features[2]["image/object/class/text"].WhichOneof("kind") == "bytes_list"
    assert features[2]["image/object/bbox/xmin"].WhichOneof("kind") == "float_list"


def test_records_are_split_into_shards_of_equal_size(made_objects, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "IMAGES_PER_SHARD", 2)
    parts = [records.DatasetPart(made_objects, "train")] * 2
    assert records.write_records(str(tmp_path), "train", parts, label_map.number("abc")) == (6, 2)
    shards = sorted(tmp_path.glob("*.tfrecord"))
    assert [path.name for path in shards] == [f"train-{i:05d}-of-00003.tfrecord" for i in range(3)]
    assert [len(list(tf.data.TFRecordDataset(str(path)))) for path in shards] == [2, 2, 2]


def test_dataset_with_other_classes_or_without_boxes_is_rejected(made_objects, tmp_path):
    with pytest.raises(ConfigError, match="has the classes a, b, c instead of x, y"):
        records.check_split(made_objects, "train", label_map.number("xy"))
    with pytest.raises(
        ConfigError, match="does not contain images in a split test; its splits are train"
    ):
        records.check_split(made_objects, "test", label_map.number("abc"))
    for name in ("mnist", "ref_coco"):
        with pytest.raises(ConfigError, match="does not contain boxes with labels"):
            records.class_names(tfds.builder(name, data_dir=str(tmp_path)))


def test_error_names_the_damaged_dataset_instead_of_the_output(made_objects, tmp_path):
    (path,) = pathlib.Path(made_objects.data_dir).glob("*.tfrecord*")
    broken = tmp_path / "data" / "made_objects" / "1.0.0"
    shutil.copytree(path.parent, broken)
    (broken / path.name).write_bytes(path.read_bytes()[:-10])
    builder = MadeObjects(data_dir=str(tmp_path / "data"))
    with pytest.raises(RunError, match=r"made_objects/1.0.0 cannot be read: .*; prepare it again"):
        part = records.DatasetPart(builder, "train")
        records.write_records(str(tmp_path), "t", [part], label_map.number("abc"))


@pytest.mark.parametrize(("name", "names"), [("voc/2007", tasks.VOC_CLASSES), ("coco/2017", None)])
def test_classes_are_the_same_as_in_tfds(name, names, tmp_path):
    builder = tfds.builder(name, data_dir=str(tmp_path))
    found = records.class_names(builder)
    assert tuple(found) == names if names else len(found) == len(tasks.COCO_CLASSES)


def test_coco_keeps_its_class_numbers():
    labels = {label.name: label.id for label in tasks.TASKS["coco"].labels}
    # Numbers in COCO's annotations: the first, some around the gaps, the last.
    known = {"person": 1, "fire hydrant": 11, "stop sign": 13, "backpack": 27, "chair": 62}
    known |= {"dining table": 67, "toilet": 70, "tv": 72, "book": 84, "toothbrush": 90}
    assert known.items() <= labels.items() and len(labels) == 80


def test_label_map_is_a_text_format_protocol_buffer():
    text = label_map.label_map((label_map.Label(1, "cat"), label_map.Label(2, 'a "dog"\\')))
    assert (
        text == 'item {\n  id: 1\n  name: "cat"\n}\nitem {\n  id: 2\n  name: "a \\"dog\\"\\\\"\n}\n'
    )


def test_a_label_map_is_read_as_the_api_reads_it(tmp_path):
    labels = (label_map.Label(2, "cat"), label_map.Label(5, 'a "dog"\\'))
    path = tmp_path / "map.pbtxt"
    path.write_text(label_map.label_map(labels))
    assert label_map.read_label_map(str(path)) == labels
    path.write_text("# mine\nitem { name: 'b' id: 2 }\nitem {\n  id: 1 # first\n  name: 'a'\n}\n")
    assert label_map.read_label_map(str(path)) == (label_map.Label(1, "a"), label_map.Label(2, "b"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cat\ndog\n",
        "item { id: 0 name: 'a' }",
        "item { id: 1 }",
        "item { id: 1 name: 'a }",
        "item { id: 1 name: 'a' } item { id: 1 name: 'b' }",
    ],
)
def test_other_files_are_no_label_maps(tmp_path, text):
    path = tmp_path / "map.pbtxt"
    path.write_text(text)
    with pytest.raises(RunError, match=r"--label_map=.*map\.pbtxt is not a label map"):
        label_map.read_label_map(str(path))


@pytest.mark.parametrize(("limit", "fits"), [(100, False), (500, True)])
def test_the_size_of_an_image_is_limited_by_the_flag_only(monkeypatch, limit, fits):
    # Pillow itself refuses images of more than 179 megapixels.
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    monkeypatch.setattr(limits, "_current", limits.Limits(max_megapixels=limit))
    objects = {"bbox": np.zeros([0, 4]), "label": np.zeros([0], int)}
    features = {"image": file.getvalue(), "objects": objects}
    if fits:
        text = records._example(features, "large.png", label_map.number("a"), "1")
        found = tf.train.Example.FromString(text).features.feature
        assert found["image/width"].int64_list.value == [20_000]
    else:
        said = r"large\.png cannot be read: .*, more than --max_megapixels=100 allows"
        with pytest.raises(RunError, match=said):
            records._example(features, "large.png", label_map.number("a"), "1")


@pytest.mark.parametrize("model", pipeline.MODELS)
@pytest.mark.parametrize("task", ["voc", "coco"])
def test_schedule_is_that_of_the_paper(model, task):
    chosen = tasks.TASKS[task]
    text = pipeline.pipeline_config(pipeline.MODELS[model], 101, 20, chosen.schedule, chosen.origin)
    rate = 0.01 if model.startswith("ssd") else 0.02
    drops = {"voc": (18000, 22000, 24000), "coco": (60000, 80000, 90000)}[task]
    assert f"num_steps: {drops[2]}" in text and "batch_size: 16" in text
    assert f"learning_rate: {rate}\n" in text.replace(" }", "\n")
    assert f"step: {drops[0]} learning_rate: {rate / 10:g} " in text
    assert f"step: {drops[1]} learning_rate: {rate / 100:g} " in text
    assert "min_dimension: 800" in text and "max_dimension: 1333" in text
    assert f'type: "{model.replace("50", "101")}"' in text
    assert text.count("{") == text.count("}") and "$" not in text
    # All BN layers are trained, with the epsilon of the backbone.
    assert "batch_norm_trainable: true" in text or "freeze_batchnorm: false" in text
    assert set(re.findall(r"epsilon: (\S+)", text)) <= {"0.00001"}
    assert "RELU_6" not in text
    # The padding has the values that the API subtracts.
    assert re.findall(r"per_channel_pad_value: (\S+)", text) == ["123.68", "116.779", "103.939"]
    np.testing.assert_allclose(CAFFE_MEAN, [123.68, 116.779, 103.939])


# Regions have 14x14 bins; the box head sees 7x7 bins after C5, which halves the resolution, or after pooling.
@pytest.mark.parametrize(
    ("model", "pooling"),
    [("faster_rcnn_resnet50_keras", 1), ("faster_rcnn_resnet50_fpn_keras", 2)],
)
def test_box_head_sees_seven_by_seven_bins(model, pooling):
    chosen = tasks.TASKS["voc"]
    text = pipeline.pipeline_config(pipeline.MODELS[model], 50, 20, chosen.schedule, chosen.origin)
    assert "initial_crop_size: 14\n" in text
    assert f"maxpool_kernel_size: {pooling}\n" in text and f"maxpool_stride: {pooling}\n" in text


@pytest.mark.parametrize(("most", "limit"), [(0, 100), (100, 100), (101, 101), (2500, 2500)])
def test_no_box_of_an_image_is_dropped_in_training(most, limit):
    chosen = tasks.TASKS["voc"]
    for model in pipeline.MODELS.values():
        text = pipeline.pipeline_config(model, 50, 20, chosen.schedule, chosen.origin, most)
        readers = re.findall(r"^(?:train|eval)_input_reader \{.*?^\}", text, re.M | re.S)
        # The API reads the limit there, and ignores that of train_config.
        assert [f"  max_number_of_boxes: {limit}\n" in each for each in readers] == [True, True]
        assert text.count("max_number_of_boxes") == 2


@pytest.mark.parametrize("model", pipeline.MODELS)
@pytest.mark.parametrize("task", ["voc", "coco"])
def test_the_default_size_suits_the_feature_pyramid_of_each_model(model, task):
    """The SSD doubles the maps of stride 32 and 16, and adds them to those of stride 16 and 8; it does not cut them."""
    side = exporting._schedule(task, model, {}).max_side
    maps = [-(-side // stride) for stride in (8, 16, 32)]
    is_ssd = model.startswith("ssd")
    assert side == (1344 if is_ssd else 1333)
    assert not is_ssd or maps == [4 * maps[2], 2 * maps[2], maps[2]]


def test_a_size_that_the_model_does_not_take_is_refused():
    with pytest.raises(ConfigError, match=r"--max_side=1000 is not a multiple of 32.* use 1024$"):
        exporting._schedule("voc", "ssd_resnet50_v1_fpn_keras", {"max_side": 1000})
    assert exporting._schedule("voc", "faster_rcnn_resnet50_keras", {"max_side": 1000})


def test_custom_sizes_change_the_schedule_in_proportion():
    changed = tasks.TASKS["voc"].schedule.changed(batch_size=4, steps=2400, min_side=128)
    assert changed.rate == pytest.approx(0.005)
    assert (changed.warmup_steps, changed.drops, changed.steps) == (100, (1800, 2200), 2400)
    assert tasks.TASKS["voc"].schedule.changed(steps=300).warmup_steps == 30
    assert (changed.min_side, changed.max_side) == (128, 1333)


@pytest.mark.parametrize(
    ("steps", "every"),
    [(100, 100), (400, 400), (700, 700), (1100, 100), (1200, 600), (24_000, 1000)],
)
def test_last_step_has_a_checkpoint(steps, every):
    """The API checks every hundred steps whether enough steps have passed since the last checkpoint."""
    schedule = tasks.TASKS["voc"].schedule.changed(steps=steps)
    saved = 0
    for step in range(100, schedule.steps + 1, 100):
        if step - saved >= schedule.checkpoint_every:
            saved = step
    assert saved == schedule.steps and schedule.checkpoint_every == every


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"steps": 0}, "--steps=0 is too small"),
        ({"steps": 3}, r"--steps=3 is not a multiple of 100, .* at a time; use 100$"),
        ({"steps": 450}, r"--steps=450 .* use 500$"),
        ({"min_side": 2000}, "--min_side=2000 is greater than --max_side=1333"),
    ],
    ids=str,
)
def test_invalid_sizes_are_rejected(sizes, said):
    with pytest.raises(ConfigError, match=said):
        tasks.TASKS["voc"].schedule.changed(**sizes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task=custom"], "e.g. --classes=cat,dog, or pass --dataset"),
        (["--task=custom", "--classes=a", "--records"], "pass --dataset"),
        (["--task=voc", "--classes=a"], "--classes requires --task=custom"),
        (["--task=voc", "--train_split=test"], "--train_split requires --task=custom"),
        (
            ["--task=custom", "--classes=a", "--dataset=scenes/128"],
            "--dataset and --classes cannot",
        ),
        (["--task=custom", "--dataset=mnist_nowhere"], "is not a TFDS dataset"),
        (["--task=voc", "--depth=101"], "--depth=101 does not match the resnet50 in"),
        (["--task=custom", "--classes=a,b,a"], "--classes=a,b,a contains a class twice"),
        (["--task=voc", "--records"], "--dataset=voc/2007 has not been prepared"),
        (["--task=birds"], "--task=birds is unknown"),
        (["--task=voc", "--model=yolo"], "--model=yolo is unknown"),
        (["--task=voc", "--min_side=128"], "--min_side=128 is too small for --model=ssd_resnet50"),
        (["--task=voc", "--network=both"], "--network=both is unknown"),
    ],
    ids=str,
)
def test_invalid_flags_give_a_one_line_error_and_leave_no_output(
    flags, said, run, tmp_path, capsys
):
    output = tmp_path / "out"
    given = [f"--from={run}", f"--output={output}", f"--data_dir={tmp_path / 'data'}"]
    if not any(flag.startswith("--model") for flag in flags):
        given.append("--model=ssd_resnet50_v1_fpn_keras")
    assert main([*given, *flags]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1
    assert not output.exists()


@pytest.mark.thorough
def test_protocol_buffers_of_the_api_parse_the_export(tmp_path, consume):
    for name, model in pipeline.MODELS.items():
        for task in ("voc", "coco"):
            chosen = tasks.TASKS[task]
            folder = tmp_path / f"{task}-{name}"
            folder.mkdir()
            num_classes = max(label.id for label in chosen.labels)
            text = pipeline.pipeline_config(model, 152, num_classes, chosen.schedule, chosen.origin)
            (folder / "pipeline.config").write_text(text)
            (folder / "label_map.pbtxt").write_text(label_map.label_map(chosen.labels))
    found = consume("od_api", tmp_path)
    assert len(found) == 6
    for name, config in found.items():
        task, model = name.split("-")
        assert config["type"] == model.replace("50", "152")
        assert config["num_classes"] == {"voc": 20, "coco": 90}[task]
        assert config["labels"] == {label.name: label.id for label in tasks.TASKS[task].labels}
        assert config["sides"] == [800, 1333]
        np.testing.assert_allclose(config["padding"], CAFFE_MEAN, rtol=1e-6)
        assert config["trains_norms"] and config["activation"] == "RELU"
        # The C4 model has no such settings for its backbone, whose epsilon is that of this project.
        if config["overrides"]:
            np.testing.assert_allclose(config["norm"], [1e-5, 0.9, True], rtol=1e-6)
        assert config["overrides"] == ("fpn" in model)
        assert config["checkpoint"] == ["checkpoint/ckpt-1", "classification", 2]
        steps = {"voc": [100, 18000, 22000], "coco": [1000, 60000, 80000]}[task]
        rate = 0.01 if model.startswith("ssd") else 0.02
        wanted = [[step, rate / 10**drop] for drop, step in enumerate(steps)]
        np.testing.assert_allclose(config["rates"], wanted, rtol=1e-6)
        assert config["warms_up"] and config["batch_size"] == 16
        assert config["steps"] == {"voc": 24000, "coco": 90000}[task]
        assert config["inputs"] == [["records/train-*.tfrecord"], ["records/evaluation-*.tfrecord"]]
        if model.startswith("ssd"):
            assert config["predictor_deviation"] == pytest.approx(0.01)
        if config["second_stage"]:
            proposals, batch, pooling = config["second_stage"]
            assert pooling == (2 if "fpn" in model else 1)
            assert batch <= proposals
