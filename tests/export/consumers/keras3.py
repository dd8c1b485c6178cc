"""Loads a SavedModel, compares its features and fine-tunes it, in an environment with a current TensorFlow and Keras 3.

    python keras3.py EXPORT DATA RESULT

DATA is an .npz with `images` in [0, 1], their `labels`, and the features of the backbone that was exported. RESULT is JSON.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

STEPS = 12


class Classifier(tf.Module):
    """Loaded backbone with a linear layer, as a module without Keras."""

    def __init__(self, backbone, channels, classes):
        super().__init__()
        self.backbone = backbone
        self.kernel = tf.Variable(tf.random.stateless_normal([channels, classes], [0, 1]) * 0.01)
        self.bias = tf.Variable(tf.zeros([classes]))

    def __call__(self, images, training=False):
        return self.backbone(images, training=training) @ self.kernel + self.bias


def fine_tune(backbone, images, labels):
    """Fine-tunes the whole backbone on one batch; returns the losses and the number of weights with a gradient."""
    model = Classifier(backbone, backbone(images).shape[-1], int(labels.max()) + 1)
    variables = [*backbone.trainable_variables, model.kernel, model.bias]
    losses = []
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(loss)
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub(0.05 * gradient)
        losses.append(float(loss))
    return losses, sum(gradient is not None for gradient in gradients)


def layer_of_keras(export, images):
    """Returns the largest error of the maps of Keras' own layer, and the number of its weights with a gradient."""
    layer = keras.layers.TFSMLayer(export, call_endpoint="feature_maps", dtype="float32")
    wanted = tf.saved_model.load(export)(images, return_endpoints=True)
    with tf.GradientTape() as tape:
        found = layer(images)
        loss = tf.add_n([tf.reduce_mean(value**2) for value in found.values()])
    gradients = tape.gradient(loss, layer.trainable_weights)
    error = max(float(tf.reduce_max(tf.abs(found[name] - wanted[name]))) for name in wanted)
    return error, sum(gradient is not None for gradient in gradients)


def main(export, path, result):
    data = np.load(path)
    backbone = tf.saved_model.load(export)
    features = backbone(data["images"], return_endpoints=True)
    errors = {
        name: float(np.abs(value - data[name]).max() / np.abs(data[name]).max())
        for name, value in features.items()
        if name in data
    }
    averages = [v.numpy() for v in backbone.variables if "moving_mean" in v.name]
    losses, trained = fine_tune(backbone, tf.constant(data["images"]), data["labels"])
    after = [v.numpy() for v in backbone.variables if "moving_mean" in v.name]
    layer_error, layer_trained = layer_of_keras(export, tf.constant(data["images"]))
    found = {
        "layer_error": layer_error,
        "layer_trained": layer_trained,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "project_imported": "pixpro_tf" in sys.modules,
        "feature_errors": errors,
        "losses": losses,
        "trained": trained,
        "averages_moved": sum(bool(np.any(a != b)) for a, b in zip(averages, after, strict=True)),
    }
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
