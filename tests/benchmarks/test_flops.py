"""Operation counts, compared with PyTorch's counter, published values, and products of known size."""

import math

import pytest
import tensorflow as tf

from benchmarks import flops, step_cost
from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.build import build_compiled_model
from pixpro_tf.config import Config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    [
        # Multiply-adds of the classifiers at 224 pixels, in 1e9; those of the last layer are added below.
        ("resnet18", 1.814),
        ("resnet50", 4.089),
        ("resnext101_32x8d", 16.414),
    ],
)
def test_backbones_match_published_counts(name, published):
    backbone = ResNet(name)
    images = tf.zeros([1, 224, 224, 3])
    backbone(images)
    found = flops.flops_of(lambda images: backbone(images, training=False)["c5"], images)
    classifier = 2 * 1000 * (512 if name == "resnet18" else 2048)
    assert (found + classifier) / 2e9 == pytest.approx(published, rel=2e-3)


@pytest.mark.parametrize(
    ("equation", "shapes", "products"),
    [
        ("ab,bc->ac", [(2, 3), (3, 5)], 2 * 3 * 5),
        ("...nc,...mc->...nm", [(7, 2, 3), (7, 5, 3)], 7 * 2 * 3 * 5),
        ("bnc,bnc->b", [(2, 3, 4), (2, 3, 4)], 2 * 3 * 4),
        ("b,bnc->bnc", [(2,), (2, 3, 4)], 2 * 3 * 4),
    ],
)
def test_einsum_products_are_counted(equation, shapes, products):
    tensors = [tf.zeros(shape) for shape in shapes]
    assert flops.flops_of(lambda *args: tf.einsum(equation, *args), *tensors) == 2 * products


def test_each_call_of_a_function_counts():
    @tf.function(jit_compile=True)
    def product(matrix):
        return tf.matmul(matrix, matrix, transpose_a=True)

    matrix = tf.zeros([4, 4])
    assert flops.flops_of(lambda m: product(product(m)), matrix) == 2 * 2 * 4**3


def test_unused_operations_do_not_count():
    def function(matrix):
        tf.matmul(matrix, matrix)
        return matrix + 1

    assert flops.flops_of(function, tf.zeros([4, 4])) == 0


def test_rejects_a_product_in_a_loop():
    def function(matrix):
        return tf.while_loop(lambda m: m[0, 0] < 1, lambda m: [tf.matmul(m, m)], [matrix])

    with pytest.raises(
        ValueError, match=r"MatMul .* is in a loop with an unknown number of iterations"
    ):
        flops.flops_of(function, tf.zeros([4, 4]))


@pytest.mark.slow
def test_count_of_a_step_matches_pytorch():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from tests.support import reference_torch as reference

    config = Config(backbone="resnet10", batch_size=2, image_size=64, projector_hidden=32)
    model = build_compiled_model(config, 0.1, total_steps=10)
    ours = flops.flops_of(model.train_step, step_cost.random_batch(config, 2))
    other = reference.PixPro(
        backbone="resnet10",
        output_stride=32,
        hidden=32,
        dim=config.projector_dim,
        ppm_layers=config.ppm_layers,
        gamma=config.gamma,
        positive_threshold=config.positive_threshold,
        instance_weight=0.0,
    )
    views = [torch.zeros(2, 3, 64, 64) for _ in range(2)]
    boxes = [torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2) for _ in range(2)]
    with FlopCounterMode(display=False) as counter:
        other.loss(*views, *boxes).backward()
    # PyTorch counts only matrix products of the pairs of bins, which are few here.
    pairs = 2 * config.batch_size * 4 * config.projector_dim * 2
    assert math.isclose(ours, counter.get_total_flops(), abs_tol=10 * pairs)
    assert ours > 1000 * pairs
