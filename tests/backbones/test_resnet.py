"""ResNet family: published sizes, shapes, and features compared with other implementations of each layout."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution
from pixpro_tf.layers.layouts import LAYOUTS

# Sizes with the classifier of 1000 classes, from torchvision's documentation of its weights and, for the "d" variants, timm's table of
# results (11.71, 21.82, 25.58, 44.57 and 60.21 million).
PUBLISHED_SIZES = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext101_32x8d": 88_791_336,
    "resnet18d": 11_708_744,
    "resnet34d": 21_816_904,
    "resnet50d": 25_576_264,
    "resnet101d": 44_568_392,
    "resnet152d": 60_212_040,
}
# Number of blocks, bottleneck, width, number of groups, channels of a group in the first stage, deep stem.
DESCRIPTIONS = {
    "resnet10w0.5": ((1, 1, 1, 1), False, 0.5, 1, 64, False),
    "resnet10": ((1, 1, 1, 1), False, 1, 1, 64, False),
    "resnet18": ((2, 2, 2, 2), False, 1, 1, 64, False),
    "resnet34": ((3, 4, 6, 3), False, 1, 1, 64, False),
    "resnet50": ((3, 4, 6, 3), True, 1, 1, 64, False),
    "resnet101": ((3, 4, 23, 3), True, 1, 1, 64, False),
    "resnet152": ((3, 8, 36, 3), True, 1, 1, 64, False),
    "resnet18d": ((2, 2, 2, 2), False, 1, 1, 64, True),
    "resnet34d": ((3, 4, 6, 3), False, 1, 1, 64, True),
    "resnet50d": ((3, 4, 6, 3), True, 1, 1, 64, True),
    "resnet101d": ((3, 4, 23, 3), True, 1, 1, 64, True),
    "resnet152d": ((3, 8, 36, 3), True, 1, 1, 64, True),
    "resnet50w2": ((3, 4, 6, 3), True, 2, 1, 128, False),
    "resnext101_32x8d": ((3, 4, 23, 3), True, 1, 32, 8, False),
    "resnext152_32x8d": ((3, 8, 36, 3), True, 1, 32, 8, False),
}
QUICK = ("resnet10", "resnet18", "resnet50", "resnet18d")
ALL = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough)
    for name in DESCRIPTIONS
]


def counted_size(blocks, bottleneck, width, groups, group_width, deep):
    """Counts the weights of the convolutions, and the scale and shift of the BN after each."""

    def convolution(inputs, outputs, size, groups=1):
        return size * size * inputs // groups * outputs + 2 * outputs

    base = int(64 * width)
    total = convolution(3, base, 7)
    if deep:
        total = convolution(3, 32, 3) + convolution(32, 32, 3) + convolution(32, 64, 3)
    inputs = base
    for stage, count in enumerate(blocks):
        channels = base * 2**stage
        inner = groups * group_width * 2**stage
        outputs = 4 * channels if bottleneck else channels
        for index in range(count):
            if bottleneck:
                total += convolution(inputs, inner, 1)
                total += convolution(inner, inner, 3, groups)
                total += convolution(inner, outputs, 1)
            else:
                total += convolution(inputs, channels, 3) + convolution(channels, channels, 3)
            if index == 0 and (stage > 0 or inputs != outputs):
                total += convolution(inputs, outputs, 1)
            inputs = outputs
    return total


def classifier_size(bottleneck):
    return ((2048 if bottleneck else 512) + 1) * 1000


SMALL_ARCHITECTURES = {
    "bottleneck": resnet.Architecture((1, 1, 1, 1)),
    "bottleneck_d": resnet.Architecture((1, 1, 1, 1), deep=True),
    "resnext": resnet.Architecture((1, 1, 1, 1), groups=32, group_width=8),
}


@pytest.fixture(scope="module", autouse=True)
def small_architectures():
    """Adds members to the family for this module only, with one bottleneck in each stage."""
    resnet.ARCHITECTURES.update(SMALL_ARCHITECTURES)
    yield
    for name in SMALL_ARCHITECTURES:
        del resnet.ARCHITECTURES[name]
    built.cache_clear()


@functools.cache
def built(architecture, layout="torchvision", output_stride=32):
    """Returns a shared backbone; tests may change nothing in it but its batch norm."""
    return resnet.build(architecture, layout, output_stride)


def layers_of(model, kind):
    return [layer for layer in model.submodules if isinstance(layer, kind)]


def images(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal((*shape, 3)), tf.float32)


def randomize(model, seed=0):
    """Sets the scales, shifts and running averages of batch norm to random values, so that no mistake can hide in them."""
    rng = np.random.default_rng(seed)
    for norm in sorted(layers_of(model, BatchNorm), key=lambda layer: layer.name):
        channels = norm.gamma.shape[0]
        norm.gamma.assign(rng.uniform(0.5, 1.0, channels))
        norm.beta.assign(0.1 * rng.standard_normal(channels))
        norm.moving_mean.assign(0.1 * rng.standard_normal(channels))
        norm.moving_variance.assign(rng.uniform(0.5, 2.0, channels))
    return model


def copy_weights(source, target):
    for old, new in zip(source.variables, target.variables, strict=True):
        assert old.name.split("/")[-2:] == new.name.split("/")[-2:]
        new.assign(old)
    return target


def assert_same_features(result, expected, tolerance):
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        assert result[name].shape == value.shape, name
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            tf.cast(result[name], tf.float32),
            value,
            rtol=0,
            atol=tolerance * scale,
            err_msg=name,
        )


def explicit_forward(model, inputs, symmetric, stride_on_first=False, mode="CONSTANT"):
    """Computes a network without dilation from TensorFlow's functions and the weights' names, in inference mode."""
    convolutions = {layer.name: layer.kernel for layer in layers_of(model, Convolution)}
    norms = {layer.name: layer for layer in layers_of(model, BatchNorm)}

    def pad(features, amount, value=0.0, mode=mode):
        if not symmetric or not amount:
            return features
        amounts = [[0, 0], [amount, amount], [amount, amount], [0, 0]]
        return tf.pad(features, amounts, mode, constant_values=value)

    padding = "VALID" if symmetric else "SAME"

    def convolve(features, name, strides=1):
        kernel = convolutions[name]
        return tf.nn.conv2d(pad(features, kernel.shape[0] // 2), kernel, strides, padding)

    def normalize(features, name):
        norm = norms[name]
        return (features - norm.moving_mean) / tf.sqrt(
            norm.moving_variance + 1e-5
        ) * norm.gamma + norm.beta

    deep = "conv1.2" in convolutions
    features = inputs
    stem = [("conv1", "bn1", 2)]
    if deep:
        stem = [("conv1.0.0", "conv1.0.1", 2), ("conv1.1.0", "conv1.1.1", 1), ("conv1.2", "bn1", 1)]
    for convolution, norm, strides in stem:
        features = tf.nn.relu(normalize(convolve(features, convolution, strides), norm))
    features = tf.nn.max_pool2d(pad(features, 1, -np.inf, "CONSTANT"), 3, 2, padding)
    endpoints = {}
    for stage in range(1, 5):
        index = 0
        while f"layer{stage}.{index}.conv1" in convolutions:
            name = f"layer{stage}.{index}"
            strides = 2 if stage > 1 and index == 0 else 1
            shortcut = features
            if deep and strides == 2:
                shortcut = tf.nn.avg_pool2d(shortcut, 2, 2, "SAME")
            downsample = f"{name}.downsample.{int(deep)}"
            if downsample in convolutions:
                shortcut = convolve(shortcut, downsample, 1 if deep else strides)
                shortcut = normalize(shortcut, f"{name}.downsample.{int(deep) + 1}")
            depth = 3 if f"{name}.conv3" in convolutions else 2
            strided = 2 if depth == 3 and not stride_on_first else 1
            for part in range(1, depth + 1):
                features = convolve(
                    features, f"{name}.conv{part}", strides if part == strided else 1
                )
                features = normalize(features, f"{name}.bn{part}")
                features = tf.nn.relu(features if part < depth else features + shortcut)
            index += 1
        endpoints[f"c{stage + 1}"] = features
    return endpoints


def test_every_architecture_is_described_here():
    assert DESCRIPTIONS.keys() == resnet.ARCHITECTURES.keys() - SMALL_ARCHITECTURES.keys()


@pytest.mark.parametrize("architecture", PUBLISHED_SIZES)
def test_counted_size_matches_published_size(architecture):
    description = DESCRIPTIONS[architecture]
    size = counted_size(*description) + classifier_size(bottleneck=description[1])
    assert size == PUBLISHED_SIZES[architecture]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ALL)
def test_backbone_has_counted_size(architecture):
    model = built(architecture) if architecture in QUICK else resnet.build(architecture)
    size = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    assert size == counted_size(*DESCRIPTIONS[architecture])
    # There are two running averages for each pair of scale and shift.
    averages = sum(variable.shape.num_elements() for variable in model.non_trainable_variables)
    assert averages == 2 * sum(norm.gamma.shape[0] for norm in layers_of(model, BatchNorm))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(224, 224), (193, 257), (32, 32)])
@pytest.mark.parametrize(
    ("architecture", "layout", "output_stride"),
    [
        *(("resnet10", layout, stride) for layout in LAYOUTS for stride in resnet.OUTPUT_STRIDES),
        ("bottleneck", "od_api", 32),
        ("bottleneck", "torchvision", 8),
    ],
)
def test_endpoints_have_image_size_divided_by_stride(architecture, layout, output_stride, size):
    endpoints = built(architecture, layout, output_stride)(tf.zeros([1, *size, 3]))
    channels = (64, 128, 256, 512) if architecture == "resnet10" else (256, 512, 1024, 2048)
    strides = [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    for name, stride, count in zip(("c2", "c3", "c4", "c5"), strides, channels, strict=True):
        expected = (1, -(-size[0] // stride), -(-size[1] // stride), count)
        assert tuple(endpoints[name].shape) == expected, name


def test_view_of_main_recipe_gives_published_map():
    assert built("resnet50")(tf.zeros([1, 224, 224, 3]))["c5"].shape == (1, 7, 7, 2048)


@pytest.mark.parametrize(
    ("architecture", "output_stride"), [("resnet10", 32), ("resnet10", 8), ("resnet18d", 32)]
)
@pytest.mark.parametrize("size", [(1, 1), (45, 63)])
def test_features_are_computed_for_any_size(architecture, output_stride, size):
    model = built(architecture, "torchvision", output_stride)
    endpoints = model(images(1, *size), training=True)
    assert all(np.all(np.isfinite(value)) for value in endpoints.values())
    assert endpoints["c5"].shape[1:3].as_list() == [-(-n // output_stride) for n in size]


def copy_to_keras(model, keras_model):
    """Copies a ResNet-50's weights to `tf.keras.applications.ResNet50`, whose convolutions have biases; those become 0."""
    pairs = {"conv1": "conv1_conv", "bn1": "conv1_bn"}
    for stage, count in enumerate((3, 4, 6, 3)):
        for block in range(count):
            ours, theirs = f"layer{stage + 1}.{block}", f"conv{stage + 2}_block{block + 1}"
            for part in (1, 2, 3):
                pairs[f"{ours}.conv{part}"] = f"{theirs}_{part}_conv"
                pairs[f"{ours}.bn{part}"] = f"{theirs}_{part}_bn"
            if block == 0:
                pairs[f"{ours}.downsample.0"] = f"{theirs}_0_conv"
                pairs[f"{ours}.downsample.1"] = f"{theirs}_0_bn"
    layers = layers_of(model, (Convolution, BatchNorm))
    assert {layer.name for layer in layers} == pairs.keys()
    for layer in layers:
        weights = layer.get_weights()
        if isinstance(layer, Convolution):
            weights.append(np.zeros(weights[0].shape[-1]))
        keras_model.get_layer(pairs[layer.name]).set_weights(weights)


@pytest.fixture(scope="module")
def keras_features():
    """Our ResNet-50 in the layout of the Object Detection API, and a Keras model with the same weights."""
    model = randomize(resnet.build("resnet50", "od_api"))
    keras_model = tf.keras.applications.ResNet50(weights=None, include_top=False)
    copy_to_keras(model, keras_model)
    outputs = {
        f"c{stage}": keras_model.get_layer(f"conv{stage}_block{count}_out").output
        for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True)
    }
    return model, tf.keras.Model(keras_model.input, outputs)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (97, 130)])
def test_od_api_layout_matches_keras(keras_features, size):
    model, keras_model = keras_features
    inputs = images(1, *size)
    # Keras' BN epsilon is 1.001e-5; with variances of at least 0.5, the difference is negligible in float32.
    assert_same_features(model(inputs), keras_model(inputs), 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["torchvision", "model_garden"])
def test_other_layouts_have_same_weights_but_different_features(layout):
    model = randomize(built("bottleneck", "od_api"))
    other = copy_weights(model, resnet.build("bottleneck", layout))
    inputs = images(1, 64, 64)
    expected = model(inputs)["c5"]
    difference = np.abs(other(inputs)["c5"] - expected).max()
    assert difference > 0.05 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (65, 50)])
@pytest.mark.parametrize(
    ("architecture", "layout"),
    [
        ("resnet10", "torchvision"),
        ("resnet10", "od_api"),
        ("resnet10", "model_garden"),
        ("resnet10", "mirror"),
        ("resnet18d", "torchvision"),
        ("resnet18d", "model_garden"),
        ("bottleneck", "torchvision"),
        ("bottleneck", "od_api"),
        ("bottleneck", "model_garden"),
        ("bottleneck_d", "torchvision"),
        pytest.param("resnet50", "torchvision", marks=pytest.mark.thorough),
    ],
)
def test_features_match_explicit_padding(architecture, layout, size):
    model = randomize(built(architecture, layout))
    inputs = images(1, *size)
    mode = "SYMMETRIC" if layout == "mirror" else "CONSTANT"
    expected = explicit_forward(model, inputs, layout != "model_garden", layout == "od_api", mode)
    assert_same_features(model(inputs), expected, 1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strided_convolutions_are_those_of_layout(layout):
    strided = {
        layer.name: layer.strides[0]
        for layer in layers_of(built("bottleneck", layout), Convolution)
        if layer.strides != (1, 1)
    }
    part = "conv1" if layout == "od_api" else "conv2"
    stages = [f"layer{stage}.0.{name}" for stage in (2, 3, 4) for name in (part, "downsample.0")]
    assert strided == dict.fromkeys(["conv1", *stages], 2)


@pytest.mark.parametrize(
    ("output_stride", "by_stage"), [(32, (1, 1, 1, 1)), (16, (1, 1, 1, 2)), (8, (1, 1, 2, 4))]
)
@pytest.mark.parametrize("architecture", ["resnet10", "bottleneck"])
def test_stages_without_stride_are_dilated(architecture, output_stride, by_stage):
    model = built(architecture, "torchvision", output_stride)
    for layer in layers_of(model, Convolution):
        expected = 1
        if layer.name.startswith("layer") and layer.kernel_size == (3, 3):
            expected = by_stage[int(layer.name[5]) - 1]
        assert layer.dilation_rate == (expected, expected), layer.name


def test_dilation_does_not_change_weights():
    plain, dilated = built("resnet10"), built("resnet10", "torchvision", 8)
    shapes = [
        [
            (layer.name, variable.shape)
            for layer in layers_of(model, Convolution)
            for variable in layer.variables
        ]
        for model in (plain, dilated)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("architecture", ["resnet10", "bottleneck"])
def test_convolutions_have_he_normal_initialisation_by_fan_out(architecture):
    model = resnet.build(architecture)
    deviations = []
    for layer in layers_of(model, Convolution):
        kernel = layer.kernel.numpy()
        expected = np.sqrt(2 / (kernel.shape[0] * kernel.shape[1] * kernel.shape[3]))
        deviations.append((kernel.std() / expected - 1) * np.sqrt(2 * kernel.size))
    # Each deviation is in units of its standard error and is therefore normally distributed.
    assert np.abs(deviations).max() < 5


@pytest.mark.parametrize("architecture", ["resnet10", "bottleneck"])
def test_last_scale_of_each_block_starts_at_zero_and_every_other_at_one(architecture):
    model = resnet.build(architecture)
    last = ".bn3" if architecture == "bottleneck" else ".bn2"
    blocks = sum(resnet.ARCHITECTURES[architecture].blocks)
    norms = layers_of(model, BatchNorm)
    assert sum(norm.name.endswith(last) for norm in norms) == blocks
    for norm in norms:
        start = 0.0 if norm.name.endswith(last) else 1.0
        np.testing.assert_array_equal(norm.gamma, np.full(norm.gamma.shape, start), norm.name)
        np.testing.assert_array_equal(norm.beta, np.zeros(norm.beta.shape), norm.name)


@pytest.mark.parametrize("training", [False, True])
def test_block_starts_as_its_shortcut(training):
    model = resnet.build("resnet18")
    features = tf.nn.relu(images(2, 8, 8) @ tf.random.stateless_normal([3, 64], [0, 1]))
    first, second = model.stages[0]
    for block in (first, second):
        np.testing.assert_allclose(block(features, training=training), features, rtol=0, atol=1e-6)
    projecting = model.stages[1][0]
    kernel = projecting.shortcut_convolution.kernel.numpy()[0, 0]
    shortcut = features.numpy()[:, ::2, ::2] @ kernel
    mean, variance = (0, 1) if not training else (shortcut.mean((0, 1, 2)), shortcut.var((0, 1, 2)))
    expected = np.maximum((shortcut - mean) / np.sqrt(variance + 1e-5), 0)
    np.testing.assert_allclose(projecting(features, training=training), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["resnet10", "bottleneck_d", "resnext"])
def test_every_weight_receives_a_gradient(architecture):
    model = randomize(resnet.build(architecture))
    inputs = images(2, 33, 40)
    with tf.GradientTape() as tape:
        objective = tf.reduce_mean(tf.square(model(inputs, training=True)["c5"]))
    gradients = tape.gradient(objective, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.all(np.isfinite(gradient)), variable.name
        # A channel after the last stage may be inactive for two images of 2 x 2 bins, but not a whole weight.
        assert np.any(gradient), variable.name


@pytest.mark.parametrize("architecture", ["resnet10", "resnet18d", "resnet50"])
def test_layer_names_are_unique(architecture):
    names = [layer.name for layer in layers_of(built(architecture), (Convolution, BatchNorm))]
    assert len(set(names)) == len(names)
    variables = [variable.name for variable in built(architecture).variables]
    assert len(set(variables)) == len(variables)


def test_layer_names_are_those_of_pytorch():
    names = {layer.name for layer in layers_of(built("resnet10"), (Convolution, BatchNorm))}
    expected = {"conv1", "bn1"}
    for stage in (1, 2, 3, 4):
        expected |= {f"layer{stage}.0.{part}" for part in ("conv1", "bn1", "conv2", "bn2")}
        if stage > 1:
            expected |= {f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1"}
    assert names == expected


def test_layer_names_of_deep_stem_are_those_of_pytorch():
    names = {layer.name for layer in layers_of(built("resnet18d"), (Convolution, BatchNorm))}
    stem = {"conv1.0.0", "conv1.0.1", "conv1.1.0", "conv1.1.1", "conv1.2", "bn1"}
    assert {name for name in names if not name.startswith("layer")} == stem
    assert {"layer2.0.downsample.1", "layer2.0.downsample.2"} <= names
    assert "layer1.0.downsample.1" not in names


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_close_to_float32(policy):
    expected_model = randomize(resnet.build("resnet10", output_stride=16))
    tf.keras.mixed_precision.set_global_policy(policy)
    model = copy_weights(expected_model, resnet.build("resnet10", output_stride=16))
    assert all(variable.dtype == tf.float32 for variable in model.variables)
    inputs = images(2, 48, 48)
    result = model(inputs)
    assert all(value.dtype == policy.removeprefix("mixed_") for value in result.values())
    # Each of ten layers has rounding errors of 2**-9 (bfloat16) or 2**-12 (float16).
    tolerance = 0.05 if policy == "mixed_bfloat16" else 0.01
    assert_same_features(result, expected_model(inputs), tolerance)


def test_last_scale_of_residual_branches_starts_at_zero_or_one():
    for zero_init, scale in ((True, 0.0), (False, 1.0)):
        tf.keras.utils.set_random_seed(0)
        model = resnet.build("resnet10", zero_init_residual=zero_init)
        scales = [block.norms[-1].gamma for blocks in model.stages for block in blocks]
        np.testing.assert_array_equal(np.concatenate(scales), scale)
        others = [block.norms[0].gamma for blocks in model.stages for block in blocks]
        np.testing.assert_array_equal(np.concatenate(others), 1.0)


def test_config_round_trip():
    model = resnet.ResNet("resnet18d", "model_garden", 8, False, name="eyes")
    copy = resnet.ResNet.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert (copy.architecture, copy.layout, copy.output_stride) == ("resnet18d", "model_garden", 8)
    assert copy.name == "eyes"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"architecture": "resnet51"}, "unknown backbone 'resnet51'; use one of .*resnet50"),
        ({"layout": "pytorch"}, "unknown layout 'pytorch'; use one of torchvision"),
        ({"output_stride": 4}, "output_stride must be one of .*, not 4"),
    ],
)
def test_unknown_names_are_rejected(arguments, text):
    with pytest.raises(ValueError, match=text):
        resnet.ResNet(**arguments)
