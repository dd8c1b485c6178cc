"""Weights by the authors' names: export and import are lossless, and errors list the names."""

import numpy as np
import pytest

from pixpro_tf.build import build_model
from pixpro_tf.config import Config
from pixpro_tf.interop import torch as names

# Names in the authors' modules, contrast/models/PixPro.py and contrast/resnet.py.
RESNET10_NAMES = {
    "encoder.conv1.weight": (64, 3, 7, 7),
    "encoder.bn1.running_mean": (64,),
    "encoder.layer1.0.conv1.weight": (64, 64, 3, 3),
    "encoder.layer2.0.downsample.0.weight": (128, 64, 1, 1),
    "encoder.layer2.0.downsample.1.running_var": (128,),
    "encoder_k.layer4.0.bn2.bias": (512,),
    "projector.linear1.weight": (24, 512, 1, 1),
    "projector.linear1.bias": (24,),
    "projector.bn1.weight": (24,),
    "projector_k.linear2.weight": (16, 24, 1, 1),
    "projector_k.bn1.running_var": (24,),
    "value_transform.weight": (16, 16, 1, 1),
    "value_transform.bias": (16,),
}
DEEP_NAMES = {
    "encoder.conv1.0.0.weight": (32, 3, 3, 3),
    "encoder.conv1.0.1.running_mean": (32,),
    "encoder_k.conv1.1.0.weight": (32, 32, 3, 3),
    "encoder_k.conv1.2.weight": (64, 32, 3, 3),
    "encoder.bn1.weight": (64,),
    "projector_instance_k.bn1.running_var": (24,),
    "predictor.linear1.weight": (24, 16, 1, 1),
    "predictor.linear2.bias": (16,),
    "value_transform.linear1.weight": (16, 16, 1, 1),
    "value_transform.bn1.running_mean": (16,),
    "value_transform.linear2.bias": (16,),
}
RESNET18D_NAMES = DEEP_NAMES | {
    "encoder.layer2.0.downsample.1.weight": (128, 64, 1, 1),
    "encoder.layer2.0.downsample.2.bias": (128,),
    "projector_instance.linear1.weight": (24, 512, 1, 1),
}
RESNET50D_NAMES = DEEP_NAMES | {
    "encoder.layer1.0.downsample.1.weight": (256, 64, 1, 1),
    "encoder.layer1.0.downsample.2.bias": (256,),
    "encoder.layer3.5.conv3.weight": (1024, 256, 1, 1),
    "projector_instance.linear1.weight": (24, 2048, 1, 1),
}
RESNET50D = pytest.param("resnet50d", marks=pytest.mark.thorough)


def build(**flags):
    config = Config(
        image_size=32,
        output_stride=16,
        projector_hidden=24,
        projector_dim=16,
        jit="off",
        **flags,
    )
    return build_model(config, total_steps=10)


@pytest.fixture(scope="module")
def resnet10():
    return build(backbone="resnet10")


@pytest.fixture(scope="module")
def resnet18d():
    return build(backbone="resnet18d", ppm_layers=2, instance_weight=1.0)


@pytest.fixture(scope="module")
def resnet50d():
    return build(backbone="resnet50d", ppm_layers=2, instance_weight=1.0)


@pytest.fixture(params=["resnet10", "resnet18d", RESNET50D])
def model(request):
    return request.getfixturevalue(request.param)


def random_state(model, seed):
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(array.shape).astype(np.float32)
        for name, array in names.state_dict(model).items()
    }


@pytest.mark.slow
def test_each_variable_of_the_model_has_one_name(model):
    named = names.variables_by_name(model)
    assert len({variable.ref() for variable in named.values()}) == len(named)
    assert {variable.ref() for variable in named.values()} == {
        variable.ref() for variable in model.variables
    }


def test_round_trip_of_weights_is_bit_identical(model):
    state = random_state(model, seed=1)
    loaded = names.load_state_dict(model, state)
    assert sorted(loaded) == sorted(state)
    returned = names.state_dict(model)
    assert returned.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(returned[name], array, err_msg=name)


def test_convolutions_are_transposed_to_oihw(resnet10):
    kernel = resnet10.online.backbone.stages[1][0].convolutions[0].kernel.numpy()
    array = names.state_dict(resnet10)["encoder.layer2.0.conv1.weight"]
    assert kernel.shape == (3, 3, 64, 128) and array.shape == (128, 64, 3, 3)
    assert array[5, 7, 0, 2] == kernel[0, 2, 7, 5]
    assert array.flags["C_CONTIGUOUS"]


def test_online_and_target_networks_are_not_swapped(resnet10):
    state = random_state(resnet10, seed=2)
    names.load_state_dict(resnet10, state)
    for network, suffix in ((resnet10.online, ""), (resnet10.target, "_k")):
        shift = network.projectors["pixel"].heads["c5"].norms[0].beta.numpy()
        np.testing.assert_array_equal(shift, state[f"projector{suffix}.bn1.bias"])
        average = network.backbone.stem[1].moving_variance.numpy()
        np.testing.assert_array_equal(average, state[f"encoder{suffix}.bn1.running_var"])


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [
        ("resnet10", RESNET10_NAMES),
        ("resnet18d", RESNET18D_NAMES),
        pytest.param("resnet50d", RESNET50D_NAMES, marks=pytest.mark.thorough),
    ],
)
def test_names_and_shapes_are_those_of_the_authors_model(fixture, expected, request):
    state = names.state_dict(request.getfixturevalue(fixture))
    shapes = {name: array.shape for name, array in state.items()}
    assert expected.items() <= shapes.items()


# Convolutions of an encoder: resnet10 has a stem, four blocks of 2 and three shortcuts; resnet18d a stem of 3, eight blocks of 2 and three
# shortcuts; resnet50d a stem of 3, sixteen blocks of 3 and four shortcuts.
@pytest.mark.parametrize(
    ("fixture", "convolutions", "heads_of_a_network", "other_heads", "lone_convolutions"),
    [
        ("resnet10", 12, 1, 0, 1),
        ("resnet18d", 22, 2, 2, 0),
        pytest.param("resnet50d", 55, 2, 2, 0, marks=pytest.mark.thorough),
    ],
)
def test_number_of_names_is_that_of_the_authors_model(
    fixture, convolutions, heads_of_a_network, other_heads, lone_convolutions, request
):
    state = names.state_dict(request.getfixturevalue(fixture))
    # A convolution has one array and its BN four; a head has two convolutions with biases and a BN.
    network = 5 * convolutions + 8 * heads_of_a_network
    assert len(state) == 2 * network + 8 * other_heads + 2 * lone_convolutions


def test_names_without_a_counterpart_are_skipped(resnet10):
    state = random_state(resnet10, seed=3)
    loaded = names.load_state_dict(
        resnet10, state | {"encoder.bn1.num_batches_tracked": np.int64(7)}
    )
    assert "encoder.bn1.num_batches_tracked" not in loaded


def test_missing_names_are_listed_and_nothing_is_changed(resnet10):
    before = names.state_dict(resnet10)
    state = random_state(resnet10, seed=4)
    del state["encoder.layer1.0.conv1.weight"], state["value_transform.bias"]
    with pytest.raises(ValueError) as caught:
        names.load_state_dict(resnet10, state)
    missing = "encoder.layer1.0.conv1.weight, value_transform.bias"
    assert str(caught.value) == f"missing weights: {missing}"
    for name, array in names.state_dict(resnet10).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_different_shapes_are_listed_and_nothing_is_changed(resnet10):
    before = names.state_dict(resnet10)
    state = random_state(resnet10, seed=5)
    state["encoder.conv1.weight"] = np.zeros([64, 3, 3, 3], np.float32)
    state["value_transform.bias"] = np.zeros([17], np.float32)
    with pytest.raises(ValueError) as caught:
        names.load_state_dict(resnet10, state)
    text = str(caught.value)
    assert "encoder.conv1.weight is [64, 3, 3, 3] instead of [64, 3, 7, 7]" in text
    assert "value_transform.bias is [17] instead of [16]" in text
    assert "projector" not in text
    for name, array in names.state_dict(resnet10).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
