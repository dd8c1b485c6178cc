"""Saves networks of Keras Applications and KerasHub with random weights in every format of Keras 3, and computes their features.

    python keras3_networks.py FOLDER DATA RESULT

DATA is an .npz with `images` in 0..255. FOLDER gets the files, and for each the maps of its network as an .npz. RESULT is JSON.
"""

import json
import os
import sys

import keras
import keras_hub
import numpy as np

# The architectures in KerasHub's terms, by this project's names.
PRESETS = {
    "resnet18": ([64], [7], [2, 2, 2, 2], "basic_block"),
    "resnet50": ([64], [7], [3, 4, 6, 3], "bottleneck_block"),
    "resnet50d": ([32, 32, 64], [3, 3, 3], [3, 4, 6, 3], "bottleneck_block_vd"),
}
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def randomise(model, inputs):
    """Sets random weights with activations of order 1: running averages close to those of a batch, and weak residual branches."""
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, *bias = layer.get_weights()
            kernel = rng.normal(0, np.sqrt(2 / np.prod(kernel.shape[:3])), kernel.shape)
            layer.set_weights([kernel, *(rng.normal(0, 0.2, each.shape) for each in bias)])
    last = max(name.split("_")[-2] for name in (norm.name for norm in norms))
    for norm in norms:
        residual = norm.name.endswith(f"_{last}_bn")
        norm.gamma.assign(rng.uniform(0.5, 1.5, norm.gamma.shape) * (0.1 if residual else 1))
        norm.beta.assign(rng.normal(0, 0.2, norm.beta.shape))
        norm.momentum = 0.0
    model(inputs, training=True)
    for norm in norms:
        mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
        norm.moving_mean.assign(mean + 0.2 * np.sqrt(variance) * rng.normal(size=mean.shape))
        norm.moving_variance.assign(variance * rng.uniform(0.7, 1.5, variance.shape))


def of_applications(folder, images):
    model = keras.applications.ResNet50(weights=None, include_top=False)
    inputs = images[..., ::-1] - 255 * MEAN[::-1]
    randomise(model, inputs[:, :64, :64])
    model.save(f"{folder}/applications.keras")
    model.save(f"{folder}/applications.h5")
    model.save_weights(f"{folder}/applications.weights.h5")
    weights = model.get_weights()
    # Features in float64, because in float32 those of two programs differ by more than the tolerance on some CPUs.
    keras.config.set_dtype_policy("float64")
    model = keras.applications.ResNet50(weights=None, include_top=False)
    keras.config.set_dtype_policy("float32")
    model.set_weights(weights)
    ends = {"c2": "conv2_block3_out", "c3": "conv3_block4_out", "c4": "conv4_block6_out"}
    outputs = {name: model.get_layer(layer).output for name, layer in ends.items()}
    outputs["c5"] = model.output
    save_maps(keras.Model(model.inputs, outputs)(inputs), f"{folder}/applications.npz")


def of_hub(folder, name, images):
    filters, sizes, blocks, kind = PRESETS[name]
    arguments = filters, sizes, [64, 128, 256, 512], blocks, [1, 2, 2, 2], kind
    model = keras_hub.models.ResNetBackbone(*arguments)
    converter = keras_hub.layers.ResNetImageConverter(
        scale=list(1 / (255 * DEVIATION)), offset=list(-MEAN / DEVIATION)
    )
    inputs = (images / 255 - MEAN) / DEVIATION
    randomise(model, inputs[:, :64, :64])
    model.save_to_preset(f"{folder}/{name}")
    converter.save_to_preset(f"{folder}/{name}")
    exact = keras_hub.models.ResNetBackbone(*arguments, dtype="float64")
    exact.set_weights(model.get_weights())
    maps = keras.Model(exact.inputs, exact.pyramid_outputs)(inputs)
    save_maps({f"c{level[1:]}": value for level, value in maps.items()}, f"{folder}/{name}.npz")


def save_maps(maps, path):
    np.savez(path, **{name: np.asarray(value) for name, value in maps.items()})


def main(folder, path, result):
    os.makedirs(folder, exist_ok=True)
    images = np.load(path)["images"].astype(np.float32)
    of_applications(folder, images)
    for name in PRESETS:
        of_hub(folder, name, images)
    with open(result, "w") as file:
        json.dump({"keras": keras.__version__, "keras_hub": keras_hub.__version__}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
