"""Boxes in photographs that an EXIF tag rotates: they agree with the pixels that Pillow's `exif_transpose` gives, in records and in training."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pixpro_tf.data.labelled import boxes, detection
from pixpro_tf.data.labelled.boxes import pictures
from pixpro_tf.errors import ConfigError, RunError
from pixpro_tf.evaluation import compare
from pixpro_tf.evaluation import detection as detection_command
from pixpro_tf.export import own_labels, records
from pixpro_tf.export.commands import model_garden, od_api
from pixpro_tf.export.od_api import tasks
from tests.support.labelled import WRITERS, write_coco, write_voc, write_yolo

ORIENTATIONS = range(1, 9)
SIDEWAYS = (5, 6, 7, 8)
# Colour, and x0, y0, x1, y1 in a stored image of 120 x 80 pixels.
STORED = {"cat": ((250, 10, 10), (8, 16, 40, 24)), "dog": ((10, 10, 250), (64, 40, 112, 72))}
SIZE = (120, 80)
LEFT_OUT = (
    "images rotated by an EXIF tag, left out (pass --box_orientation, or save them without the tag)"
)


def used_as(frame):
    return f"images rotated by an EXIF tag, with boxes in the image as it is {frame}"


def stored_image(size=SIZE):
    image = Image.new("RGB", size, (128, 128, 128))
    for colour, place in STORED.values():
        image.paste(colour, place)
    return image


def encoded(orientation, kind="PNG", size=SIZE):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    stored_image(size).save(file, kind, exif=exif, **options.get(kind, {}))
    return file.getvalue()


def shown_image(content):
    """The image as Pillow shows it."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")


def shown_boxes(orientation, size=SIZE):
    """Boxes around the colours in the image as Pillow shows it, `{kind: (x0, y0, x1, y1)}`."""
    pixels = np.asarray(shown_image(encoded(orientation, size=size)))
    found = {}
    for kind, (colour, _) in STORED.items():
        ys, xs = np.nonzero((pixels == colour).all(axis=-1))
        found[kind] = (*map(int, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)),)
    return found


def boxes_in(frame, orientation, size=SIZE):
    """Objects and the size of the image, as a tool writes them that shows it in this way."""
    if frame == "stored":
        return [(kind, place) for kind, (_, place) in STORED.items()], size
    width, height = size
    turned = (height, width) if orientation in SIDEWAYS else size
    return [*shown_boxes(orientation, size).items()], turned


def labelled(folder, write, frame, orientation, kind="PNG", size=SIZE):
    name = f"a.{'jpg' if kind == 'JPEG' else 'tif' if kind == 'TIFF' else kind.lower()}"
    os.makedirs(folder / "images", exist_ok=True)
    (folder / "images" / name).write_bytes(encoded(orientation, kind, size))
    objects, stated = boxes_in(frame, orientation, size)
    return write(folder, {name: objects}, {name: stated})


def found_boxes(image):
    corners = image.boxes[:, [1, 0, 3, 2]].tolist()
    return {
        ("cat", "dog")[label]: tuple(map(round, box))
        for label, box in zip(image.labels, corners, strict=True)
    }


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("frame", ["shown", "stored"])
@pytest.mark.parametrize("kind", WRITERS)
def test_boxes_are_those_of_the_shown_image(tmp_path, kind, frame, orientation):
    path = labelled(tmp_path, WRITERS[kind], frame, orientation)
    (image,) = boxes.read(path, box_orientation=frame).images
    assert (image.width, image.height) == shown_image(encoded(orientation)).size
    assert found_boxes(image) == shown_boxes(orientation)
    assert image.is_turned == (orientation != 1)


@pytest.mark.parametrize("orientation", SIDEWAYS)
@pytest.mark.parametrize("frame", ["shown", "stored"])
@pytest.mark.parametrize("write", [write_coco, write_voc])
def test_width_and_height_tell_the_frame(tmp_path, write, frame, orientation):
    path = labelled(tmp_path, write, frame, orientation)
    # They count more than the flag, which is for the other images.
    for given in ("", "shown", "stored"):
        found = boxes.read(path, box_orientation=given)
        assert found_boxes(found.images[0]) == shown_boxes(orientation)
        assert found.problems == {used_as(frame): ["a.png"]}


@pytest.mark.parametrize(
    ("write", "orientation", "size"),
    [
        *((write_yolo, orientation, SIZE) for orientation in range(2, 9)),
        # Neither half turns, mirrored nor square images have another size.
        *(
            (write, orientation, SIZE)
            for write in (write_coco, write_voc)
            for orientation in (2, 3, 4)
        ),
        *(
            (write, orientation, (120, 120))
            for write in (write_coco, write_voc)
            for orientation in SIDEWAYS
        ),
    ],
)
def test_photographs_are_left_out_unless_their_frame_is_known(tmp_path, write, orientation, size):
    path = labelled(tmp_path, write, "stored", orientation, size=size)
    with pytest.raises(
        RunError, match=r"contains no box .*images rotated by an EXIF tag, left out"
    ):
        boxes.read(path)
    (tmp_path / "images" / "b.png").write_bytes(encoded(1))
    found = boxes.read(path, box_orientation="stored")
    assert found.problems == {used_as("stored"): ["a.png"]}
    expected = shown_boxes(orientation, size)
    assert found_boxes(found.images[0]) == expected
    found = boxes.read(path, box_orientation="shown")
    assert found.problems.pop(used_as("shown")) == ["a.png"]
    assert found_boxes(found.images[0]) != expected


def test_left_out_photographs_are_counted_and_named(tmp_path):
    path = labelled(tmp_path, write_yolo, "shown", 6)
    (tmp_path / "images" / "b.png").write_bytes(encoded(1))
    with open(f"{path}/b.txt", "w") as file:
        file.write("0 .5 .5 .2 .2\n")
    found = boxes.read(path)
    assert [os.path.basename(image.path) for image in found.images] == ["b.png"]
    assert found.problems == {LEFT_OUT: ["a.png"]}


def test_sizes_that_are_missing_do_not_tell_the_frame(tmp_path):
    objects, _ = boxes_in("shown", 6)
    path = labelled(tmp_path, write_coco, "shown", 6)
    path = write_coco(tmp_path, {"a.png": objects}, {"a.png": (0, 0)})
    with pytest.raises(RunError, match="images rotated by an EXIF tag, left out"):
        boxes.read(path)
    found = boxes.read(path, box_orientation="shown")
    assert found_boxes(found.images[0]) == shown_boxes(6)
    path = write_coco(tmp_path, {"a.png": objects}, {"a.png": (81, 120)})
    with pytest.raises(RunError, match="images whose size differs from that in the labels"):
        boxes.read(path, box_orientation="shown")


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_unknown_orientations_are_ignored(tmp_path, orientation):
    found = boxes.read(labelled(tmp_path, write_coco, "stored", orientation))
    assert found.problems == {} and not found.images[0].is_turned


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_records_and_training_have_the_pixels_that_pillow_shows(tmp_path, kind, orientation):
    path = labelled(tmp_path, write_coco, "stored", orientation, kind)
    expected = shown_image(encoded(orientation, kind))
    given = tasks.Data(labels=path, evaluation_labels=path, box_orientation="stored")
    labels, parts = own_labels.open_labels(given)
    os.makedirs(tmp_path / "records")
    records.write_records(str(tmp_path / "records"), "train", parts["train"], labels)
    (file,) = (tmp_path / "records").iterdir()
    (text,) = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    feature = tf.train.Example.FromString(text).features.feature
    (content,) = feature["image/encoded"].bytes_list.value
    width, height = expected.size
    assert feature["image/width"].int64_list.value == [width]
    assert feature["image/height"].int64_list.value == [height]
    assert feature["image/format"].bytes_list.value == [b"jpeg" if kind == "JPEG" else b"png"]
    # Consumers ignore the tag, so the record has none.
    if orientation > 1:
        assert Image.open(io.BytesIO(content)).getexif().get(0x0112) is None
    pixels = tf.io.decode_image(content, channels=3).numpy().astype(int)
    # JPEG is compressed again.
    assert abs(pixels - np.asarray(expected)).max() <= (6 if kind == "JPEG" else 0)
    sides = [feature[f"image/object/bbox/{side}"] for side in ("xmin", "ymin", "xmax", "ymax")]
    places = np.stack([side.float_list.value for side in sides], axis=1) * [
        *expected.size,
        *expected.size,
    ]
    np.testing.assert_allclose(places, [*shown_boxes(orientation).values()], atol=1e-4)

    found = boxes.read(path, box_orientation="stored")
    opened = detection.open_labels(found, found, 120)
    (batch,) = detection.object_batches(opened.split("train"), 1, opened.prepare)
    image = batch["image"][0].numpy().astype(int)[:height, :width]
    assert abs(image - np.asarray(expected)).max() <= (2 if kind == "JPEG" else 0)
    np.testing.assert_allclose(
        batch["boxes"].numpy()[0][:, [1, 0, 3, 2]], [*shown_boxes(orientation).values()], atol=1e-4
    )


def test_all_commands_with_own_labels_have_the_same_flag():
    fields = [
        command.Settings.__dataclass_fields__["box_orientation"]
        for command in (detection_command, compare, model_garden, od_api)
    ]
    assert fields[0].metadata["choices"] == ("", pictures.SHOWN, pictures.STORED)
    assert len({field.metadata["help"] for field in fields}) == 1
    given = {"labels": "a.json", "box_orientation": "stored"}
    settings = od_api.Settings(
        source="a.h5",
        output="out",
        task="custom",
        model="ssd_resnet50_v1_fpn_keras",
        **given,
    )
    assert settings.data.box_orientation == "stored"
    compared = compare.Settings(sources=("runs/mine", "random"), **given)
    assert compared.evaluation("runs/mine", 0).box_orientation == "stored"
    with pytest.raises(ConfigError, match="--box_orientation=shown is unused without --labels"):
        model_garden.Settings(source="a", output="b", box_orientation="shown")
