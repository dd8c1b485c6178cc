"""The Object Detection API itself: it restores an export, trains and evaluates a detector on own boxes, and exports it."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.export.commands.od_api import main
from pixpro_tf.storage.trained_weights import restore_backbone
from tests.support.labelled import write_coco, write_images
from tests.support.models import make_run

# The API pools with SAME padding, which agrees with that of pre-training for this side: see docs/exports/od_api.md.
SIDE = 161
SIZES = {f"{number}.png": (160, 140 + number) for number in range(6)}
OBJECTS = {name: [("dog", (20, 20, 90, 100)), ("cat", (100, 10, 150, 60))] for name in SIZES}


@pytest.mark.thorough
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="TensorFlow 2.12 requires Python 3.11")
def test_the_api_restores_trains_evaluates_and_exports(tmp_path, consume):
    run = make_run(tmp_path / "run", backbone="resnet50", backbone_layout="od_api")
    write_images(tmp_path / "images", SIZES)
    labels = write_coco(tmp_path, OBJECTS, SIZES)
    output = tmp_path / "exported"
    flags = [f"--from={run}", f"--output={output}", "--task=custom", f"--labels={labels}"]
    flags += [f"--evaluation_labels={labels}", "--model=ssd_resnet50_v1_fpn_keras"]
    assert main([*flags, "--batch_size=2", "--steps=100", "--min_side=129", "--max_side=160"]) == 0
    images = np.random.default_rng(0).uniform(size=(1, SIDE, SIDE, 3)).astype(np.float32)
    backbone = restore_backbone(str(run))
    maps = backbone(normalize(tf.constant(images), backbone.channels), training=False)
    maps = {name: maps[name].numpy() for name in ("c3", "c4", "c5")}
    found = consume("od_api", output, "od_api_training", images=images, **maps)
    # Zero padding stands for another colour behind a folded stem, which shows at the border.
    assert max(found["errors"].values()) < 0.01, found["errors"]
    assert np.isfinite(found["loss"]) and 0 <= found["ap"] <= 1
    assert "saved_model.pb" in found["exported"]
