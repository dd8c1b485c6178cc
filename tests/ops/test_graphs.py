"""Functions that are excluded from AutoGraph, with everything that they call."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.ops import graphs
from pixpro_tf.ops.graphs import as_written
from tests.support.models import make_model


def branching(self, inputs, training=None, **others):
    """Serves as `call` of a layer; a Python statement branches on a tensor, which only AutoGraph can trace."""
    if tf.reduce_sum(inputs) > 0:
        inputs = inputs / 2
    return inputs if training else -inputs


class Branching(tf.keras.layers.Layer):
    call = branching


class AsWritten(tf.keras.layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @as_written
    def call(self, inputs, training=None):
        return self.inner(inputs, training=training)


@pytest.mark.parametrize("training", [True, False])
def test_keras_sees_arguments_of_layer(training):
    layer = AsWritten(Branching())
    assert list(inspect.signature(layer.call).parameters) == ["inputs", "training"]
    model = tf.keras.Sequential([layer])
    np.testing.assert_array_equal(model(tf.ones([2]), training=training), [training - 0.5] * 2)


def test_called_functions_are_not_converted():
    traced = tf.function(Branching())
    np.testing.assert_array_equal(traced(tf.ones([2]), training=True), [0.5, 0.5])
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        tf.function(AsWritten(Branching()))(tf.ones([2]))


@pytest.mark.slow
def test_encoder_is_traced_as_written(monkeypatch):
    """The encoder is the largest part of a step; converting its layers would take seconds."""
    model = make_model("resnet10w0.5")
    monkeypatch.setattr(type(model.online.backbone.stem[1]), "call", branching)
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        tf.function(model.online)(tf.ones([1, 32, 32, 3]), training=True)


@pytest.mark.parametrize("for_tpus", [False, True])
def test_the_tensorflow_for_tpus_compiles_nothing_on_its_host(for_tpus, monkeypatch):
    monkeypatch.setattr(graphs, "is_tensorflow_for_tpus", lambda: for_tpus)
    function = graphs.compiled_by_xla(lambda values: 2 * values)
    np.testing.assert_array_equal(function(tf.constant([1.0, 2.0])), [2.0, 4.0])
    definition = function.get_concrete_function(tf.TensorSpec([2])).function_def
    assert definition.attr["_XlaMustCompile"].b != for_tpus
