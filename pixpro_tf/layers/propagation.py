"""Pixel propagation module (PPM): every bin becomes a mixture of the bins that are similar to it."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.layers.heads import ConvMLP
from pixpro_tf.ops.graphs import as_written, compiled_by_xla
from pixpro_tf.ops.numerics import at_least_float32, unit_length
from pixpro_tf.ops.pairwise import Tensors, is_large, symmetric_weighted_sums

SMALL_POWER_EPSILON = 1e-6


def propagate(
    features: tf.Tensor, values: tf.Tensor, gamma: float, by_blocks: bool = False
) -> tf.Tensor:
    """Mixes the values of all bins, weighted by the similarity of their features.

    `y_i = sum_j max(cos(z_i, z_j), 0)^gamma * g_j / ||g_j||`; the sum includes the bin itself (j = i).

    Args:
        features: projections z, float `[B, N, C]`.
        values: transformed projections g(z), float `[B, N, C]`.
        gamma: sharpness of the similarity, at least 0.
        by_blocks: whether to compute the similarities one block at a time, and again for the gradient. The results are the same,
            in memory that grows with N; otherwise all similarities `[B, N, N]` are kept.

    Returns:
        `[B, N, C]` in at least float32, not normalised.

    Source: Xie et al., CVPR 2021, https://arxiv.org/abs/2011.10043, equations 3 and 4; g is normalised as in the authors' code.

    Examples:
        >>> from pixpro_tf.layers.propagation import propagate
        >>> import tensorflow as tf
        >>> features = tf.constant([[[1.0, 0.0], [0.6, 0.8]]])
        >>> propagate(features, values=features, gamma=2.0).numpy().tolist()
        [[[1.216, 0.288], [0.96, 0.8]]]
    """
    unit, values = unit_length(features), unit_length(values)
    if by_blocks:
        return _mix_by_blocks(unit, values, gamma)
    return _mix(similarity(unit, unit, gamma), values)


def similarity(rows: tf.Tensor, columns: tf.Tensor, gamma: float) -> tf.Tensor:
    """Computes the weights with which bins are mixed into others: `max(cos, 0)^gamma`.

    Args:
        rows: unit-length features of the bins that receive, float `[..., N, C]`.
        columns: unit-length features of the bins that are mixed in, float `[..., M, C]`.
        gamma: sharpness, at least 0.

    Returns:
        `[..., N, M]` in [0, 1].

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043), equation 3. For gamma < 1, 1e-6 is added before the power, as in
        the authors' code, because the gradient of the power is infinite at 0.

    Examples:
        >>> import tensorflow as tf
        >>> from pixpro_tf.layers.propagation import similarity
        >>> bins = tf.constant([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
        >>> similarity(bins[:1], bins, gamma=2).numpy().tolist()
        [[1.0, 0.36, 0.0]]
    """
    return _power(_cosines(rows, columns), gamma)


def _mix_by_blocks(unit: tf.Tensor, values: tf.Tensor, gamma: float) -> tf.Tensor:
    """Computes Y = S V for S = f(U U^T) one block at a time, with its gradients.

    The gradients are dV = S^T dY and dU = (W + W^T) U for W = f'(U U^T) * (dY V^T). S and f'(U U^T) are symmetric, and so is
    W + W^T = f'(U U^T) * (dY V^T + V dY^T), whose second factor is one product of [dY, V] and [V, dY]. Y, dU and dV are therefore
    symmetric weighted sums of V, U and dY, respectively.
    """

    @tf.custom_gradient
    def mix(unit: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], Tensors]]:
        def weights(rows: Tensors, columns: Tensors) -> Tensors:
            (unit_rows,), (unit_columns,) = rows, columns
            return [similarity(unit_rows, unit_columns, gamma)]

        def slope_and_similarity(rows: Tensors, columns: Tensors) -> Tensors:
            (unit_rows, *outer_rows), (unit_columns, *outer_columns) = rows, columns
            cosines = _cosines(unit_rows, unit_columns)
            outer = _cosines(tf.concat(outer_rows, -1), tf.concat(outer_columns[::-1], -1))
            return [_slope(cosines, gamma) * outer, _power(cosines, gamma)]

        def gradient(upstream: tf.Tensor) -> Tensors:
            return symmetric_weighted_sums(
                slope_and_similarity, [unit, upstream, values], [unit, upstream]
            )

        (mixed,) = symmetric_weighted_sums(weights, [unit], [values])
        return mixed, gradient

    return mix(unit, values)


def _mix(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.einsum("...nm,...mc->...nc", weights, values)


def _cosines(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    return tf.einsum("...nc,...mc->...nm", rows, columns)


def _base(cosines: tf.Tensor, gamma: float) -> tf.Tensor:
    """Base of the power: the positive part of the cosines, plus 1e-6 if gamma < 1."""
    positive = tf.nn.relu(cosines)
    return positive + SMALL_POWER_EPSILON if gamma < 1 else positive


def _power(cosines: tf.Tensor, gamma: float) -> tf.Tensor:
    base = _base(cosines, gamma)
    if gamma == 1:
        return base
    return tf.square(base) if gamma == 2 else tf.pow(base, gamma)


def _slope(cosines: tf.Tensor, gamma: float) -> tf.Tensor:
    """Derivative of `_power` with respect to the cosines."""
    base = _base(cosines, gamma)
    if gamma == 2:
        return 2 * base
    slope = gamma * tf.pow(base, gamma - 1)
    return tf.where(cosines > 0, slope, tf.zeros_like(slope))


_propagate_compiled = compiled_by_xla(propagate)


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class PixelPropagation(tf.keras.layers.Layer):
    """Pixel propagation module as a layer on the projections of the online network.

    Args:
        num_layers: number of layers of the transform g: 0 is the identity, 1 a 1x1 convolution with bias; more layers have BN and
            ReLU between them.
        gamma: sharpness of the similarity, at least 0.
        jit_compile: whether to compile the propagation with XLA; has no effect if the whole step is compiled.
        mixes: whether to mix bins; otherwise each bin becomes its own g(z), as in the paper's ablation.

    Input: float `[B, H, W, C]`. Output: `[B, H, W, C]` in at least float32, whatever the precision of the input; not normalised. Maps
    of more than 1024 bins are propagated block by block, in memory that grows with H * W.

    Examples:
        >>> from pixpro_tf.layers.propagation import PixelPropagation
        >>> import tensorflow as tf
        >>> PixelPropagation(num_layers=1, gamma=2.0)(tf.random.normal([2, 7, 7, 16])).shape
        TensorShape([2, 7, 7, 16])
    """

    def __init__(
        self,
        num_layers: int = 1,
        gamma: float = 2.0,
        jit_compile: bool = True,
        mixes: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, not {num_layers}")
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0, not {gamma}")
        self.num_layers = num_layers
        self.gamma = gamma
        self.jit_compile = jit_compile
        self.mixes = mixes
        self.value_transform: ConvMLP | None = None

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = int(input_shape[-1])
        if self.num_layers:
            self.value_transform = ConvMLP(
                channels,
                channels,
                self.num_layers,
                dtype=self.dtype_policy,
                name="value_transform",
            )
        super().build(input_shape)

    @as_written
    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        values = features
        if self.value_transform is not None:
            values = self.value_transform(features, training=training)
        if not self.mixes:
            return at_least_float32(values)
        shape = tf.shape(features)
        flat = tf.stack([shape[0], shape[1] * shape[2], shape[3]])
        static_flat = [
            features.shape[0],
            features.shape[1:3].num_elements(),
            features.shape[3],
        ]
        function = _propagate_compiled if self.jit_compile else propagate
        features, values = (
            tf.ensure_shape(tf.reshape(tensor, flat), static_flat) for tensor in (features, values)
        )
        mixed = function(features, values, self.gamma, is_large(static_flat[1]))
        return tf.reshape(mixed, shape)

    def compute_output_shape(
        self, input_shape: tf.TensorShape | Sequence[int | None]
    ) -> tf.TensorShape:
        return tf.TensorShape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_layers": self.num_layers,
            "gamma": self.gamma,
            "jit_compile": self.jit_compile,
            "mixes": self.mixes,
        }
