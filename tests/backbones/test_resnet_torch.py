"""Features of the whole family compared with the same networks in PyTorch, computed in float64 from the same weights."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution

torch = pytest.importorskip("torch")

from tests.support import reference_torch as reference  # noqa: E402

# Batch size, height and width; a map of one bin needs enough images for the variance of its batch norm.
SIZES = {"224x224": (2, 224, 224), "193x257": (2, 193, 257), "32x32": (16, 32, 32)}
# One of each kind of block and stem; the rest of the family differs in the number of blocks and channels.
QUICK = ("resnet10", "resnet18d", "resnet50")
LARGE = (
    "resnet101",
    "resnet152",
    "resnet101d",
    "resnet152d",
    "resnet50w2",
    "resnext101_32x8d",
    "resnext152_32x8d",
)
DILATED = [(name, stride) for name in ("resnet18", "resnet18d", "resnet50") for stride in (16, 8)]
QUICK_DILATED = [("resnet18", 16), ("resnet50", 8)]
# Tolerance relative to the largest magnitude of a map: one wrong pixel at a border is an error of that order. Rounding errors are up to
# 6e-6 after 152 layers, and up to 3e-6 after 50.
TOLERANCE = 1e-5


def random_reference(architecture, output_stride):
    """Returns a float64 network whose batch norm hides no mistake, with activations of order 1 in inference mode, too."""
    torch.manual_seed(0)
    model = reference.resnet(architecture, output_stride)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 4:
                torch.nn.init.kaiming_normal_(weight)
            elif name.endswith("weight"):
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(0, 0.2)
        # The branches are small compared with their shortcuts, as in trained networks: with branches as large as the shortcut, a random
        # network doubles a rounding error every few blocks.
        for block in model.modules():
            if isinstance(block, reference.BasicBlock | reference.Bottleneck):
                last = block.bn2 if isinstance(block, reference.BasicBlock) else block.bn3
                last.weight *= 0.1
        # The running averages are close to those of a batch: random averages would let the activations of a random network grow from
        # block to block.
        for norm in norms:
            norm.momentum = 1.0
        model.train()(torch.randn(4, 3, 64, 64))
        for norm in norms:
            norm.momentum = 0.1
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.5)
    return model.double()


def copy_to_ours(model, backbone):
    """Copies every weight of the PyTorch model to ours, by name, in float32."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for layer in backbone.submodules:
        if isinstance(layer, Convolution):
            layer.kernel.assign(state.pop(f"{layer.name}.weight").transpose(2, 3, 1, 0))
        elif isinstance(layer, BatchNorm):
            layer.gamma.assign(state.pop(f"{layer.name}.weight"))
            layer.beta.assign(state.pop(f"{layer.name}.bias"))
            layer.moving_mean.assign(state.pop(f"{layer.name}.running_mean"))
            layer.moving_variance.assign(state.pop(f"{layer.name}.running_var"))
    assert all(name.endswith("num_batches_tracked") for name in state), state.keys()


@functools.lru_cache(maxsize=1)
def networks(architecture, output_stride):
    """Returns the reference and our network, cached for consecutive tests.

    Each test copies the weights again, because the previous one has changed the running averages.
    """
    model = random_reference(architecture, output_stride)
    return model, resnet.build(architecture, output_stride=output_stride)


def cases():
    """Yields architecture, output stride and size.

    Large networks are tested only at the one size for which every stage meets an odd number.
    """
    for architecture in reference.RESNETS:
        for size in ["193x257"] if architecture in LARGE else SIZES:
            quick = architecture in QUICK and (size == "193x257" or architecture == "resnet10")
            marks = [pytest.mark.slow] if quick else [pytest.mark.slow, pytest.mark.thorough]
            yield pytest.param(architecture, 32, size, marks=marks, id=f"{architecture}-{size}")
    for architecture, output_stride in DILATED:
        quick = (architecture, output_stride) in QUICK_DILATED
        marks = [pytest.mark.slow] if quick else [pytest.mark.slow, pytest.mark.thorough]
        name = f"{architecture}-stride{output_stride}"
        yield pytest.param(architecture, output_stride, "193x257", marks=marks, id=name)


def assert_close(ours, expected, name):
    assert ours.shape == expected.shape, name
    np.testing.assert_allclose(
        ours, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(), err_msg=name
    )


def test_reference_has_whole_family():
    assert reference.RESNETS.keys() == resnet.ARCHITECTURES.keys()


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("architecture", "output_stride", "size"), cases())
def test_features_and_running_averages_match_pytorch(architecture, output_stride, size, training):
    model, backbone = networks(architecture, output_stride)
    copy_to_ours(model, backbone)
    images = np.random.default_rng(0).standard_normal((*SIZES[size], 3)).astype(np.float32)
    with torch.no_grad():
        expected = model.train(training)(torch.tensor(images.transpose(0, 3, 1, 2)).double())
    ours = backbone(tf.constant(images), training=training)
    assert ours.keys() == expected.keys()
    for name, features in expected.items():
        assert_close(ours[name].numpy(), features.permute(0, 2, 3, 1).numpy(), name)
    averages = model.state_dict()
    for norm in backbone.submodules:
        if isinstance(norm, BatchNorm):
            mean, variance = (f"{norm.name}.running_{kind}" for kind in ("mean", "var"))
            assert_close(norm.moving_mean.numpy(), averages[mean].numpy(), mean)
            assert_close(norm.moving_variance.numpy(), averages[variance].numpy(), variance)
