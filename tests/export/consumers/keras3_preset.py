"""Loads a preset in KerasHub, compares its features, and trains a detector and a segmenter on it for some steps.

    python keras3_preset.py PRESET DATA RESULT

DATA is an .npz with `images` in 0..255, the maps of the backbone that was exported, and whether to `train`. RESULT is JSON.
"""

import json
import sys

import keras
import keras_hub
import numpy as np

STEPS = 4


def detector_losses(backbone):
    """Trains a RetinaNet on one image with one box."""
    pyramid = keras_hub.models.RetinaNetBackbone(
        image_encoder=backbone, min_level=3, max_level=5, use_p5=False
    )
    model = keras_hub.models.RetinaNetObjectDetector(
        backbone=pyramid,
        num_classes=2,
        bounding_box_format="yxyx",
        preprocessor=None,
    )
    # Keras' conversion of boxes changes its arguments, which graphs do not allow.
    model.compile(optimizer=keras.optimizers.Adam(1e-4), run_eagerly=True)
    images = np.random.default_rng(0).normal(size=[1, 128, 128, 3]).astype(np.float32)
    targets = {"boxes": np.array([[[20.0, 30, 90, 100]]]), "labels": np.array([[1]])}
    history = model.fit(images, targets, epochs=STEPS, verbose=0)
    return history.history["loss"]


def segmenter_losses(backbone):
    """Trains a DeepLabV3 on one image."""
    encoder = keras_hub.models.DeepLabV3Backbone(
        image_encoder=backbone,
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[1, 2, 3],
    )
    model = keras_hub.models.DeepLabV3ImageSegmenter(
        backbone=encoder, num_classes=2, activation=None, preprocessor=None
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss, metrics=[])
    images = np.random.default_rng(0).normal(size=[2, 128, 128, 3]).astype(np.float32)
    logits = model.predict(images, verbose=0)
    masks = np.zeros(logits.shape[:3], np.int32)
    masks[:, :, masks.shape[2] // 2 :] = 1
    history = model.fit(images, masks, batch_size=2, epochs=STEPS, verbose=0)
    return history.history["loss"]


def main(preset, path, result):
    data = np.load(path)
    backbone = keras_hub.models.ResNetBackbone.from_preset(preset)
    converter = keras_hub.layers.ImageConverter.from_preset(preset)
    outputs = keras.Model(backbone.inputs, backbone.pyramid_outputs)(converter(data["images"]))
    errors = {}
    for level, value in outputs.items():
        wanted = data[f"c{level[1:]}"]
        errors[f"c{level[1:]}"] = float(
            np.abs(np.asarray(value) - wanted).max() / np.abs(wanted).max()
        )
    found = {
        "keras": keras.__version__,
        "keras_hub": keras_hub.__version__,
        "feature_errors": errors,
    }
    if data["train"]:
        found["detector_losses"] = detector_losses(backbone)
        backbone = keras_hub.models.ResNetBackbone.from_preset(preset)
        found["segmenter_losses"] = segmenter_losses(backbone)
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
