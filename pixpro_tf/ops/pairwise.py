"""Computations on all pairs of bins, one block at a time: memory grows with the number of bins, not with its square."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

# Maps of at most this many bins are computed for all pairs of all images at once; the pairs of one image then have at most four times
# the size of a map of 256 channels.
DENSE_BINS = 1024
# Maximum number of bins on a side of a square block: enough to keep a matrix product busy, and few enough that blocks which lie apart
# in the two views can be skipped.
BLOCK_BINS = 896

Tensors = Sequence[tf.Tensor]
# Function from some rows and some columns to matrices with a value for each pair.
PairFunction = Callable[[Tensors, Tensors], Tensors]
# Function from a block of rows and a block of columns to one bool: whether any pair of them may contribute.
Meet = Callable[[Tensors, Tensors], tf.Tensor]
Structure = TypeVar("Structure")


def is_large(num_bins: int | None) -> bool:
    """Returns whether a map's pairs should be computed block by block; true if its size is not known before the run.

    Examples:
        >>> from pixpro_tf.ops import pairwise
        >>> pairwise.is_large(7 * 7), pairwise.is_large(56 * 56), pairwise.is_large(None)
        (False, True, True)
    """
    return num_bins is None or num_bins > DENSE_BINS


def weighted_sums(
    weights: PairFunction, rows: Tensors, columns: Tensors, values: Tensors, meet: Meet
) -> Tensors:
    """Computes `sum_j weights(i, j) * values_j` for every row i of each image.

    Small maps are computed at once, large ones by square blocks.

    Args:
        weights: function of rows `[..., b, ...]` and columns `[..., c, ...]` that returns a matrix `[..., b, c]` for each of `values`.
            The last blocks are padded with rows and columns of zeros, for which the weights may have any finite value.
        rows: tensors `[B, N, ...]` that describe the rows.
        columns: tensors `[B, M, ...]` that describe the columns.
        values: tensors `[B, M, C]` to sum, each with its own C.
        meet: function of a block of an image's rows and a block of its columns; returns false if all weights are zero. Such blocks
            are skipped.

    Returns:
        `[B, N, C]` for each of the values. A gradient through the blocks would keep all of them in memory, so the caller must stop
        the gradient or define its own.

    Examples:
        >>> from pixpro_tf.ops import pairwise
        >>> import tensorflow as tf
        >>> places = tf.constant([[[0.0], [1.0], [2.0]]])
        >>> def near(rows, columns):
        ...     offset = rows[0] - tf.linalg.matrix_transpose(columns[0])
        ...     return [tf.cast(tf.abs(offset) < 1.5, tf.float32)]
        >>> (sums,) = pairwise.weighted_sums(near, [places], [places], [places], meet=lambda *_: True)
        >>> sums[0, :, 0].numpy().tolist()
        [1.0, 3.0, 3.0]
    """

    def add(
        sums: Tensors, rows: Tensors, columns: Sequence[Tensors], met: tf.Tensor | bool
    ) -> Tensors:
        columns, values = columns

        def added(sums: Tensors) -> Tensors:
            matrices = weights(rows, columns)
            return [
                total + tf.matmul(matrix, each)
                for total, matrix, each in zip(sums, matrices, values, strict=True)
            ]

        return _if(met, added, sums)

    def start(shape: Sequence[tf.Tensor]) -> Tensors:
        return [tf.zeros([*shape, each.shape[-1]], each.dtype) for each in values]

    dtypes = [each.dtype for each in values]
    return _fold(add, start, rows, (columns, values), meet, dtypes)


class Softmax(NamedTuple):
    """Softmax of each row's logits, and the average of the columns' values weighted by it.

    Attributes:
        largest: largest logit, `[..., N, 1]`; -inf for a row without logits.
        total: sum of `exp(logit - largest)`, `[..., N, 1]`.
        sums: sums of the values weighted by these exponentials, `[..., N, C]`.

    Examples:
        >>> from pixpro_tf.ops import pairwise
        >>> import tensorflow as tf
        >>> empty = pairwise.Softmax(tf.constant([[-float("inf")]]), tf.zeros([1, 1]), tf.zeros([1, 1]))
        >>> softmax = empty.with_more(logits=tf.zeros([1, 2]), values=tf.constant([[1.0], [3.0]]))
        >>> softmax.averages().numpy().tolist(), softmax.log_sum().numpy().tolist()
        ([[2.0]], [0.693])
    """

    largest: tf.Tensor
    total: tf.Tensor
    sums: tf.Tensor

    def averages(self) -> tf.Tensor:
        """Returns the weighted averages `[..., N, C]`; 0 for a row without logits."""
        return tf.math.divide_no_nan(self.sums, self.total)

    def log_sum(self) -> tf.Tensor:
        """Returns the logarithm of the sum of the logits' exponentials, `[..., N]`; -inf for a row without logits."""
        return (tf.math.log(self.total) + self.largest)[..., 0]

    def with_more(self, logits: tf.Tensor, values: tf.Tensor) -> "Softmax":
        """Adds more columns; sums so far are rescaled if the largest logit, to which exponentials are relative, changes."""
        largest = tf.maximum(self.largest, tf.reduce_max(logits, axis=-1, keepdims=True))
        shift = tf.where(largest > -math.inf, largest, tf.zeros_like(largest))
        kept, weights = tf.exp(self.largest - shift), tf.exp(logits - shift)
        total = kept * self.total + tf.reduce_sum(weights, axis=-1, keepdims=True)
        return Softmax(largest, total, kept * self.sums + tf.matmul(weights, values))

    def joined(self, other: "Softmax") -> "Softmax":
        """Returns the softmax over the columns of both."""
        largest = tf.maximum(self.largest, other.largest)
        shift = tf.where(largest > -math.inf, largest, tf.zeros_like(largest))
        own, others = tf.exp(self.largest - shift), tf.exp(other.largest - shift)
        total = own * self.total + others * other.total
        return Softmax(largest, total, own * self.sums + others * other.sums)


def softmax_of_some_and_others(
    logits: Callable[[Tensors, Tensors], tf.Tensor],
    some: Callable[[Tensors, Tensors], tf.Tensor],
    rows: Tensors,
    columns: Tensors,
    values: tf.Tensor,
    meet: Meet,
) -> tuple[Softmax, Softmax]:
    """Computes the softmax over some columns and that over all others for every row of each image: at once or by square blocks.

    Args:
        logits: function of rows `[..., b, ...]` and columns `[..., c, ...]` that returns `[..., b, c]`.
        some: function of the same arguments that returns bool `[..., b, c]`: the pairs of the first softmax.
        rows: tensors `[B, N, ...]` that describe the rows.
        columns: tensors `[B, M, ...]` that describe the columns.
        values: values to average, `[B, M, C]`.
        meet: see `weighted_sums`; returns false if `some` is false for all pairs.

    Returns:
        The softmax over some columns and that over the others, with leading dimensions `[B, N]`. Gradients must not be taken through them,
        see `weighted_sums`.

    Examples:
        >>> from pixpro_tf.ops import pairwise
        >>> import tensorflow as tf
        >>> features, values = tf.constant([[[1.0], [0.0]]]), tf.constant([[[4.0], [8.0]]])
        >>> of_some, of_others = pairwise.softmax_of_some_and_others(
        ...     logits=lambda rows, columns: tf.matmul(rows[0], columns[0], transpose_b=True),
        ...     some=lambda rows, columns: tf.eye(2, batch_shape=[1]) > 0,
        ...     rows=[features],
        ...     columns=[features],
        ...     values=values,
        ...     meet=lambda *_: True,
        ... )
        >>> of_some.averages()[0, :, 0].numpy().tolist()
        [4.0, 8.0]
        >>> of_some.joined(of_others).averages()[0, :, 0].numpy().tolist()
        [5.07, 6.0]
    """

    def add(
        state: Tensors, rows: Tensors, columns: Sequence[Any], met: tf.Tensor | bool
    ) -> Tensors:
        columns, values, real = columns
        found = tf.where(real[..., None, :], logits(rows, columns), -math.inf)
        of_some, of_others = Softmax(*state[:3]), Softmax(*state[3:])

        def added(state: tuple[Softmax, tf.Tensor]) -> tuple[Softmax, tf.Tensor]:
            of_some, found = state
            chosen = some(rows, columns)
            of_some = of_some.with_more(tf.where(chosen, found, -math.inf), values)
            return of_some, tf.where(~chosen, found, -math.inf)

        of_some, others = _if(met, added, (of_some, found))
        return [*of_some, *of_others.with_more(others, values)]

    def start(shape: Sequence[tf.Tensor]) -> Tensors:
        empty = Softmax(
            tf.fill([*shape, 1], tf.constant(-math.inf, values.dtype)),
            tf.zeros([*shape, 1], values.dtype),
            tf.zeros([*shape, values.shape[-1]], values.dtype),
        )
        return [*empty, *empty]

    # Columns that pad the last block do not count.
    real = tf.ones(tf.shape(values)[:2], tf.bool)
    state = _fold(add, start, rows, (columns, values, real), meet, [values.dtype] * 6)
    return Softmax(*state[:3]), Softmax(*state[3:])


def symmetric_weighted_sums(weights: PairFunction, bins: Tensors, values: Tensors) -> Tensors:
    """Computes `sum_j weights(i, j) * values_j` for every bin i of each image, for symmetric weights.

    `weights(i, j)` must equal `weights(j, i)`. The sums are computed by square blocks. Each block of weights off the diagonal is computed
    once, and used for its rows and, transposed, for its columns.

    Args:
        weights: function of the `bins` `[b, ...]` of two blocks of one image that returns a matrix `[b, b]` for each of `values`.
        bins: tensors `[B, N, ...]` that describe the bins.
        values: tensors `[B, N, C]` to sum, each with its own C.

    Returns:
        `[B, N, C]` for each of the values. Gradients must not be taken through them, see `weighted_sums`.

    Examples:
        >>> from pixpro_tf.ops import pairwise
        >>> import tensorflow as tf
        >>> bins = tf.constant([[[1.0], [2.0]]])
        >>> def products(rows, columns):
        ...     return [tf.matmul(rows[0], columns[0], transpose_b=True)]
        >>> (sums,) = pairwise.symmetric_weighted_sums(products, [bins], [tf.ones([1, 2, 1])])
        >>> sums[0, :, 0].numpy().tolist()
        [3.0, 6.0]
    """

    def of_image(image: tuple[Tensors, Tensors]) -> Tensors:
        num_bins = _length(image[0][0])
        num_blocks, block = _divide(num_bins)
        bins, values = ([_split(each, num_blocks, block) for each in tensors] for tensors in image)

        def add(i: tf.Tensor, j: tf.Tensor, sums: Tensors) -> tuple[tf.Tensor, tf.Tensor, Tensors]:
            matrices = weights(_at(bins, i), _at(bins, j))

            def added(
                sums: Tensors, block: tf.Tensor, of: tf.Tensor, transpose: bool = False
            ) -> Tensors:
                return [
                    tf.tensor_scatter_nd_add(
                        total, [[block]], tf.matmul(matrix, each, transpose_a=transpose)[None]
                    )
                    for total, matrix, each in zip(sums, matrices, _at(values, of), strict=True)
                ]

            sums = added(sums, i, j)
            sums = _if(i < j, lambda sums: added(sums, j, i, transpose=True), sums)
            ends = j + 1 == num_blocks
            return tf.where(ends, i + 1, i), tf.where(ends, i + 1, j + 1), sums

        start = 0, 0, [tf.zeros_like(each) for each in values]
        *_, sums = tf.while_loop(lambda i, *_: i < num_blocks, add, start, parallel_iterations=1)
        return [_join(each)[:num_bins] for each in sums]

    return _map(of_image, (bins, values), [each.dtype for each in values])


def _fold(
    add: Callable[[Tensors, Tensors, Sequence[Any], tf.Tensor | bool], Tensors],
    start: Callable[[Sequence[tf.Tensor]], Tensors],
    rows: Tensors,
    columns: Sequence[Tensors | tf.Tensor],
    meet: Meet,
    dtypes: Sequence[tf.DType],
) -> Tensors:
    """Folds the columns into a state for each row with `add`, all at once or one block after another.

    `meet` is called with `columns[0]`.
    """
    if not is_large(rows[0].shape[1]):
        return add(start(tf.unstack(tf.shape(rows[0])[:2])), rows, columns, True)

    def of_image(image: tuple[Tensors, Sequence[Tensors | tf.Tensor]]) -> Tensors:
        rows, columns = image
        num_rows = _length(rows[0])
        rows, columns = (
            tf.nest.map_structure(lambda each: _split(each, *_divide(_length(each))), tensors)
            for tensors in (rows, columns)
        )

        def of_rows(rows: Tensors) -> Tensors:
            def of_block(state: Tensors, columns: Sequence[Tensors | tf.Tensor]) -> Tensors:
                return add(state, rows, columns, meet(rows, columns[0]))

            block = tf.shape(rows[0])[0]
            return tf.foldl(of_block, columns, start([block]), parallel_iterations=1)

        return [_join(each)[:num_rows] for each in _map(of_rows, rows, dtypes)]

    return _map(of_image, (rows, columns), dtypes)


def _map(
    function: Callable[[Structure], Tensors], elements: Structure, dtypes: Sequence[tf.DType]
) -> Tensors:
    # Parallel iterations would have several blocks in memory at the same time.
    return tf.map_fn(
        lambda element: list(function(element)),
        elements,
        parallel_iterations=1,
        fn_output_signature=list(dtypes),
    )


def _if(
    condition: tf.Tensor | bool, function: Callable[[Structure], Structure], tensors: Structure
) -> Structure:
    """Returns `function(tensors)` if the condition is true, otherwise the tensors themselves.

    The condition is a Python bool or a tensor. Anything but a Python `True` becomes a loop of at most one iteration, because XLA
    runs the body of a `tf.cond` on a single core.
    """
    if condition is True:
        return function(tensors)
    _, tensors = tf.while_loop(
        lambda again, _: again, lambda _, tensors: (False, function(tensors)), (condition, tensors)
    )
    return tensors


def _divide(length: int | tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """Returns the number of blocks and the number of bins in each; the last block is padded."""
    num_blocks = _ceil_divide(length, BLOCK_BINS)
    return num_blocks, _ceil_divide(length, num_blocks)


def _split(tensor: tf.Tensor, num_blocks: int | tf.Tensor, block: int | tf.Tensor) -> tf.Tensor:
    padding = [[0, num_blocks * block - _length(tensor)]] + [[0, 0]] * (tensor.shape.rank - 1)
    shape = tf.concat([[num_blocks, block], tf.shape(tensor)[1:]], axis=0)
    return tf.reshape(tf.pad(tensor, padding), shape)


def _join(blocks: tf.Tensor) -> tf.Tensor:
    return tf.reshape(blocks, tf.concat([[-1], tf.shape(blocks)[2:]], axis=0))


def _at(tensors: Tensors, index: tf.Tensor) -> Tensors:
    return [tf.gather(tensor, index) for tensor in tensors]


def _length(tensor: tf.Tensor) -> int | tf.Tensor:
    return tf.shape(tensor)[0] if tensor.shape[0] is None else tensor.shape[0]


def _ceil_divide(dividend: int | tf.Tensor, divisor: int | tf.Tensor) -> int | tf.Tensor:
    return -(-dividend // divisor)
