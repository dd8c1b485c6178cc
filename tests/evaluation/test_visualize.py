"""Tests of the command that plots what a backbone has learnt."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pixpro_tf.data.views.channels import RGB
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import ConfigError
from pixpro_tf.evaluation import visualize
from pixpro_tf.evaluation.features import feature_pictures, figures
from pixpro_tf.evaluation.features.components import principal_components
from pixpro_tf.evaluation.features.projections import find_projections, propagation_weights
from pixpro_tf.export import savedmodel
from tests.support.models import make_run

PICTURES = {"components.png", "matches.png", "neighbours.png", "propagation.png"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), backbone="resnet10", output_stride=8, gamma=3.0)


def draw(output, *flags, source="random:resnet10", images="photographs"):
    return visualize.main(
        [f"--from={source}", f"--images={images}", f"--output={output}", "--image_size=64", *flags]
    )


@pytest.mark.slow
@pytest.mark.parametrize("source", ["run", "random:resnet10"])
def test_four_figures_are_written(run, tmp_path, capsys, source):
    output = tmp_path / "made"
    flags = ("--count=2", "--output_stride=8")
    assert draw(output, *flags, source=run if source == "run" else source) == 0
    assert "propagation.png" in capsys.readouterr().out
    assert {path.name for path in output.iterdir()} == PICTURES
    for name in PICTURES:
        with Image.open(output / name) as picture:
            assert min(picture.size) > 300
            # The figure is not blank.
            assert len(picture.convert("L").getcolors(256)) > 50


@pytest.mark.slow
def test_a_point_is_marked_at_the_centre_of_its_bin(tmp_path, monkeypatch):
    marked = {}

    def recorded(name, draw_picture):
        def drawn(images, points, values, title):
            marked[name] = points, values
            return draw_picture(images, points, values, title)

        return drawn

    for name in ("propagation_picture", "neighbours_picture"):
        monkeypatch.setattr(feature_pictures, name, recorded(name, getattr(feature_pictures, name)))
    # The maps have 8 x 8 bins; the first point is a corner of four of them.
    flags = ("--count=2", "--output_stride=8", "--points=0.5,0.25;0.99,0")
    assert draw(tmp_path / "made", *flags) == 0
    for points, _ in marked.values():
        assert points == [(4.5 / 8, 2.5 / 8), (7.5 / 8, 0.5 / 8)]
    # A bin is most similar to itself.
    _, weights = marked["propagation_picture"]
    np.testing.assert_allclose(weights[:, 0, 2, 4], 1, rtol=1e-5)
    np.testing.assert_allclose(weights[:, 1, 0, 7], 1, rtol=1e-5)


@pytest.mark.slow
def test_files_are_shown_in_the_given_order(photos, tmp_path):
    first, second = (str(photos / f"{index:02d}.jpg") for index in (0, 1))
    one, two, again = (tmp_path / name for name in ("one", "two", "again"))
    assert draw(one, images=f"{first},{second}") == 0
    assert draw(two, images=f"{second},{first}") == 0
    assert draw(again, images=f"{first},{second}") == 0
    for name in PICTURES:
        assert (one / name).read_bytes() == (again / name).read_bytes()
        assert (one / name).read_bytes() != (two / name).read_bytes()


@pytest.mark.slow
def test_projections_match_those_of_the_run(run):
    from pixpro_tf.storage.runs import Run

    projections = find_projections(str(run))
    assert projections.gamma == 3.0
    model = Run.open(str(run)).load_model()
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, [2, 64, 64, 3]), tf.float32)
    found = model.online(normalize(images / 255, RGB), training=False)["projections"]["pixel"]["c5"]
    np.testing.assert_allclose(projections.function(images), found, rtol=1e-5, atol=1e-5)
    other = find_projections(str(run), "target").function(images)
    assert np.abs(other - found).max() > 1e-3


@pytest.mark.slow
def test_an_export_with_heads_has_the_projections_of_its_run(run, tmp_path):
    for heads in (True, False):
        savedmodel.export(
            str(run), str(tmp_path / str(heads)), include_heads=heads, allow_unfinished=True
        )
    assert find_projections(str(tmp_path / "False")) is None
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, [2, 64, 64, 3]), tf.float32)
    of_run, of_export = (find_projections(source) for source in (str(run), str(tmp_path / "True")))
    assert of_run.gamma == of_export.gamma == 3.0
    expected = of_run.function(images).numpy()
    largest = np.abs(expected).max()
    np.testing.assert_allclose(of_export.function(images), expected, atol=1e-5 * largest)


@pytest.mark.parametrize(
    "source", ["random:resnet10", "keras:ResNet50", "weights.h5", "model.safetensors"]
)
def test_random_and_published_weights_have_no_projections(source):
    assert find_projections(source) is None


def test_propagation_weights_are_powers_of_cosines():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=[2, 3, 4, 5])
    bins = np.array([[0, 11], [5, 7]])
    weights = propagation_weights(tf.constant(maps, tf.float32), 3.0, tf.constant(bins)).numpy()
    assert weights.shape == (2, 2, 3, 4)
    flat = maps.reshape(2, 12, 5)
    for image in range(2):
        for query, index in enumerate(bins[image]):
            for other in range(12):
                a, b = flat[image, index], flat[image, other]
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                found = weights[image, query].reshape(-1)[other]
                np.testing.assert_allclose(found, max(cosine, 0) ** 3, atol=1e-6)


def test_components_are_the_directions_of_largest_variance():
    rng = np.random.default_rng(0)
    # Unit vectors near (1, 0, 0, 0) vary most along the second axis, and half as much along the third.
    maps = np.zeros([3, 8, 8, 4])
    maps[..., 0] = 1
    maps[..., 1] = rng.normal(0, 0.02, [3, 8, 8])
    maps[..., 2] = rng.normal(0, 0.01, [3, 8, 8])
    components, shares = principal_components(7.0 * maps, 2)
    assert components.shape == (3, 8, 8, 2) and components.min() == 0 and components.max() == 1
    np.testing.assert_allclose(shares, [0.8, 0.2], atol=0.05)
    for index in range(2):
        along = maps[..., index + 1].ravel()
        assert np.corrcoef(components[..., index].ravel(), along)[0, 1] > 0.95


def test_components_of_constant_features_are_grey():
    components, shares = principal_components(np.ones([2, 3, 3, 4]))
    np.testing.assert_array_equal(components, 0.5)
    np.testing.assert_array_equal(shares, 0)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--points=0.5"], "0.5 is not a point; write x,y"),
        (["--points=0.5,1.0"], "0.5,1.0 is not a point"),
        (["--points=;"], "--points=; does not contain a point"),
        (["--count=1"], "--count=1 is too small; the minimum is 2"),
        (["--images=nothere.jpg,nor.png"], "cannot be read: nothere.jpg does not exist"),
        (["--images=folder:/not/there"], "--images=folder:/not/there cannot be read: "),
        (["--images=folder:/not/there_jpg"], "--images=folder:/not/there_jpg cannot be read: "),
        (["--images=scenes/99"], "--images=scenes/99 is not a configuration of scenes"),
        (["--split=train"], "--split=train is unused with --images=photographs"),
        (["--count=2", "--image_size=32"], "--image_size=32 leaves too few bins in c5 for three"),
        (["--seed=4294967296"], "--seed=4294967296 is too large; the maximum is"),
    ],
)
def test_mistakes_are_reported_in_one_line(tmp_path, capsys, flags, message):
    assert draw(tmp_path / "made", *flags) != 0
    error = capsys.readouterr().err.strip()
    assert message in error and error.startswith("error: ") and "\n" not in error
    assert not (tmp_path / "made").exists()


def test_a_single_image_is_rejected(photos, tmp_path, capsys):
    assert draw(tmp_path / "made", images=str(photos / "00.jpg")) != 0
    assert "is a single image" in capsys.readouterr().err


def test_a_damaged_image_is_reported_with_the_flag_of_its_folder(photos, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("00.jpg", "01.jpg", "02.jpg", "03.jpg", "04.jpg", "05.jpg"):
        (folder / name).write_bytes((photos / "00.jpg").read_bytes()[:100])
    assert draw(tmp_path / "made", images=f"folder:{folder}") != 0
    error = capsys.readouterr().err
    assert f"error: --images=folder:{folder} cannot be read" in error


def test_an_existing_output_is_not_changed(tmp_path, capsys):
    (tmp_path / "made").mkdir()
    assert draw(tmp_path / "made") != 0
    assert "already exists" in capsys.readouterr().err
    assert list((tmp_path / "made").iterdir()) == []


def test_settings_are_checked_without_a_command_line():
    with pytest.raises(ConfigError, match="is not a point"):
        visualize.Settings(source="run", images="photographs", output="made", points="a,b")


def test_all_named_files_are_shown(photos):
    files = [str(photos / f"{index:02d}.jpg") for index in range(5)]
    settings = visualize.Settings(
        source="run", images=",".join(files), output="made", count=2, image_size=32
    )
    assert figures._squares(settings, RGB).shape == (5, 32, 32, 3)


def test_files_may_have_names_that_are_not_utf8(photos, tmp_path):
    names = [os.fsdecode(b"odd-\xff.jpg"), "b.jpg"]
    for name in names:
        shutil.copy(photos / "00.jpg", tmp_path / name)
    listed = ",".join(str(tmp_path / name) for name in names)
    settings = visualize.Settings(source="run", images=listed, output="made", image_size=32)
    assert figures._squares(settings, RGB).shape == (2, 32, 32, 3)
