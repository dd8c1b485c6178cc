"""Where weights come from, in the words of an export's README."""

import pytest

from pixpro_tf.config import Config
from pixpro_tf.storage import origins


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({}, "PixPro"),
        ({"pixel_loss": "pixcontrast"}, "PixContrast"),
        ({"pixel_weight": 0, "instance_weight": 1}, "instance regression"),
        (
            {"pixel_weight": 0, "instance_weight": 1, "instance_loss": "contrastive"},
            "instance contrast",
        ),
        (
            {"pixel_loss": "pixcontrast", "instance_weight": 1},
            "PixContrast and instance regression",
        ),
    ],
)
def test_objectives_of_the_flags_are_named(flags, expected):
    text = f"pre-trained without labels with {expected}, using pixpro_tf"
    assert origins.of_run(Config(**flags), {"num_images": 48}) == text


def test_custom_objectives_are_named_by_their_classes():
    description = {"num_images": 48, "objectives": ["DenseCL"]}
    assert "with DenseCL, using" in origins.of_run(Config(), description)


def test_origin_of_imported_weights_is_their_file():
    imported = {"file": "moco.pth", "kind": "MoCo"}
    description = {"num_images": None, "imported": imported}
    assert origins.of_run(Config(), description).endswith("`moco.pth` (MoCo)")
    assert origins.of_card({"imported": imported}) == origins.of_run(Config(), description)


def test_older_cards_do_not_say_which_objective():
    text = origins.of_card({"imported": None})
    assert text == "pre-trained without labels with pixpro_tf"
