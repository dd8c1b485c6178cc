"""FPN compared with convolutions in NumPy, and the arguments that it rejects."""

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.backbones.fpn import FPN, Neck
from pixpro_tf.layers.batch_norm import BatchNorm

SIZES = {"c2": 24, "c3": 12, "c4": 6, "c5": 3}
CHANNELS = {"c2": 5, "c3": 6, "c4": 7, "c5": 8}


def backbone_maps(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    return {
        level: rng.normal(size=(2, size, size, CHANNELS[level])).astype(np.float32)
        for level, size in sizes.items()
    }


def convolved(features, layer, strides=1, before=1):
    """Computes a 1x1 or 3x3 convolution with bias, with `before` rows and columns of padding on the near side."""
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    size = len(kernel)
    height, width = (-(-side // strides) for side in features.shape[1:3])
    padding = [(0, 0), (before, size), (before, size), (0, 0)] if size > 1 else [(0, 0)] * 4
    padded = np.pad(features, padding, "symmetric" if layer.mirror else "constant")
    result = np.zeros((len(features), height, width, kernel.shape[-1]))
    for row in range(size):
        for column in range(size):
            window = padded[:, row : row + strides * height : strides]
            window = window[:, :, column : column + strides * width : strides]
            result += window[:, :height, :width] @ kernel[row, column]
    return result + bias


def set_random(layer, seed=1):
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))


def pyramid_of(fpn, maps, coarser_from, before):
    """Expected output of the FPN before its norms."""
    merged = {5: convolved(maps["c5"], fpn.laterals["c5"])}
    for number in (4, 3, 2):
        if f"c{number}" in fpn.laterals:
            lateral = convolved(maps[f"c{number}"], fpn.laterals[f"c{number}"])
            twice = merged[number + 1].repeat(2, axis=1).repeat(2, axis=2)
            merged[number] = lateral + twice[:, : lateral.shape[1], : lateral.shape[2]]
    found = {
        f"p{number}": convolved(merged[number], fpn.outputs[f"p{number}"])
        for number in merged
        if f"p{number}" in fpn.levels
    }
    if "p6" in fpn.levels:
        below = maps["c5"] if coarser_from == "c5" else found["p5"]
        found["p6"] = convolved(below, fpn.outputs["p6"], 2, before(below))
    if "p7" in fpn.levels:
        positive = np.maximum(found["p6"], 0)
        found["p7"] = convolved(positive, fpn.outputs["p7"], 2, before(positive))
    return found


def symmetric(_):
    return 1


def same(features):
    # SAME pads a strided 3x3 convolution of an even size only on the far side.
    return features.shape[1] % 2


@pytest.mark.parametrize(
    "levels", [["p3", "p4", "p5"], ["p2", "p3", "p4", "p5", "p6", "p7"], ["p4"]]
)
@pytest.mark.parametrize(
    ("layout", "coarser_from", "before"),
    [
        ("torchvision", "c5", symmetric),
        ("mirror", "c5", symmetric),
        ("od_api", "p5", symmetric),
        ("model_garden", "p5", same),
    ],
)
def test_levels_match_numpy(levels, layout, coarser_from, before):
    fpn, maps = FPN(levels, 4, layout), backbone_maps()
    fpn(maps)
    set_random(fpn)
    found = fpn(maps)
    wanted = pyramid_of(fpn, maps, coarser_from, before)
    assert set(found) == set(wanted) == set(levels)
    for level in levels:
        expected = wanted[level]
        if layout == "model_garden":
            norm = fpn.norms[level]
            expected = expected / np.sqrt(1 + norm.epsilon) * norm.gamma + norm.beta
        np.testing.assert_allclose(found[level], expected, rtol=1e-4, atol=1e-4, err_msg=level)


@pytest.mark.parametrize("sizes", [(25, 13, 7, 4), (23, 12, 6, 3), (9, 5, 3, 2)])
def test_maps_are_cropped_to_sizes_that_do_not_halve(sizes):
    maps = backbone_maps(dict(zip(SIZES, sizes, strict=True)))
    fpn = FPN(["p2", "p3", "p4", "p5"], 4)
    fpn(maps)
    set_random(fpn)
    wanted = pyramid_of(fpn, maps, "c5", symmetric)
    for number, size in zip((2, 3, 4, 5), sizes, strict=True):
        found = fpn(maps)[f"p{number}"]
        assert found.shape == (2, size, size, 4)
        np.testing.assert_allclose(found, wanted[f"p{number}"], rtol=1e-4, atol=1e-4)


def test_fpn_runs_under_xla():
    fpn, maps = FPN(["p3", "p4", "p5", "p6"], 4), backbone_maps()
    plain = fpn(maps)
    compiled = tf.function(fpn, jit_compile=True)(maps)
    for level in plain:
        np.testing.assert_allclose(compiled[level], plain[level], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [["p3"], ["p3", "p4", "p5"], ["p2", "p5", "p6", "p7"]])
@pytest.mark.parametrize("layout", ["torchvision", "model_garden"])
def test_every_weight_is_trained(levels, layout):
    """Layers that no chosen level needs do not exist."""
    maps = backbone_maps()
    neck = Neck(levels, 4, layout, head_layers=2)
    with tf.GradientTape() as tape:
        pyramid = neck(maps, training=True)
        loss = tf.add_n([tf.reduce_sum(neck.last(pyramid)[level] ** 2) for level in levels])
    assert all(grad is not None for grad in tape.gradient(loss, neck.trainable_variables))


def test_dense_head_is_shared_by_all_levels():
    maps = backbone_maps()
    neck = Neck(["p3", "p4"], 4, head_layers=3)
    pyramid = neck(maps)
    assert set(pyramid) == {"p3", "p4", "head_p3", "head_p4"}
    set_random(neck)
    pyramid = neck(maps)
    for level in ("p3", "p4"):
        expected = pyramid[level].numpy()
        for convolution in neck.dense_head.convolutions:
            expected = np.maximum(convolved(expected, convolution), 0)
        np.testing.assert_allclose(pyramid[f"head_{level}"], expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(neck.last(pyramid)[level], pyramid[f"head_{level}"])
    assert len(neck.dense_head.trainable_variables) == 6


def test_without_head_the_last_map_is_the_level():
    neck = Neck(["p3"], 4)
    pyramid = neck(backbone_maps())
    assert set(pyramid) == {"p3"} and neck.last(pyramid)["p3"] is pyramid["p3"]


def test_only_model_garden_layout_has_norms():
    norms = {
        layout: [
            layer.name
            for layer in FPN(["p5"], 4, layout).submodules
            if isinstance(layer, BatchNorm)
        ]
        for layout in ("torchvision", "od_api", "model_garden")
    }
    assert norms == {"torchvision": [], "od_api": [], "model_garden": ["norm5"]}


@pytest.mark.parametrize(
    ("levels", "layout", "message"),
    [
        ([], "torchvision", "one or more of p2 to p7"),
        (["p3", "c4"], "torchvision", "one or more of p2 to p7"),
        (["p6"], "torchvision", "must contain p5, because p6 is computed from it"),
        (["p5", "p7"], "torchvision", "must contain p6, because p7 is computed from it"),
        (["p3"], "keras", "unknown layout 'keras'"),
    ],
)
def test_invalid_arguments_are_rejected(levels, layout, message):
    with pytest.raises(ValueError, match=message):
        FPN(levels, layout=layout)


def test_layers_are_rebuilt_from_their_configuration():
    neck = Neck(["p3", "p4"], 4, "model_garden", 2)
    copy = Neck.from_config(neck.get_config())
    assert copy.get_config() == neck.get_config()
    fpn = FPN.from_config(neck.fpn.get_config())
    assert fpn.get_config() == neck.fpn.get_config()
