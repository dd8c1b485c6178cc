"""Work on all pairs of bins, a block of them at a time: memory that grows with the bins, and not with their square."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

# Up to here the pairs of all images are taken at once; those of one image are then at most four times a map of 256 channels.
DENSE_BINS = 1024
# Bins on a side of a square block, at most: enough to keep a matrix product busy, and few enough for blocks of views that lie apart.
BLOCK_BINS = 896

Tensors = Sequence[tf.Tensor]
# Of some rows and some columns, to matrices of what their pairs give.
PairFunction = Callable[[Tensors, Tensors], Tensors]
# Whether a block of rows and one of columns have anything to say to each other, one bool.
Meet = Callable[[Tensors, Tensors], tf.Tensor]
Structure = TypeVar("Structure")


def is_large(num_bins: int | None) -> bool:
    """Whether a map's pairs should be taken block by block; also where its size is not known before the run.

    Example:
        >>> from pixpro_tf.ops import pairwise
        >>> pairwise.is_large(7 * 7), pairwise.is_large(56 * 56), pairwise.is_large(None)
        (False, True, True)
    """
    return num_bins is None or num_bins > DENSE_BINS


def weighted_sums(
    weights: PairFunction, rows: Tensors, columns: Tensors, values: Tensors, meet: Meet
) -> Tensors:
    """`sum_j weights(i, j) * values_j` for every row i of each image: at once for small maps, by square blocks for large ones.

    Args:
        weights: of rows `[..., b, ...]` and columns `[..., c, ...]`; gives a matrix `[..., b, c]` for each of `values`. What comes of
            rows and columns of zeros, which fill up the last blocks, does not matter as long as it is finite.
        rows: `[B, N, ...]`.
        columns: `[B, M, ...]`.
        values: `[B, M, C]`, each with its own C.
        meet: of a block of an image's rows and one of its columns; false where all weights are zero. Such blocks are left out.

    Returns:
        `[B, N, C]` for each of the values. A gradient through blocks would keep all of them: there must be none, or one of its own.

    Example:
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
    """The softmax of each row's logits, and the average of the columns' values by it.

    Attributes:
        largest: `[..., N, 1]`, the largest logit; -inf for a row without any.
        total: `[..., N, 1]`, sum of the exponentials of the logits less the largest.
        sums: `[..., N, C]`, sums of the values with these weights.

    Example:
        >>> from pixpro_tf.ops import pairwise
        >>> import tensorflow as tf
        >>> empty = pairwise.Softmax(tf.constant([[-float("inf")]]), tf.zeros([1, 1]), tf.zeros([1, 1]))
        >>> softmax = empty.with_more(logits=tf.zeros([1, 2]), values=tf.constant([[1.0], [3.0]]))
        >>> float(softmax.averages()), float(softmax.log_sum())
        (2.0, 0.6931)
    """

    largest: tf.Tensor
    total: tf.Tensor
    sums: tf.Tensor

    def averages(self) -> tf.Tensor:
        """`[..., N, C]`; 0 for a row without logits."""
        return tf.math.divide_no_nan(self.sums, self.total)

    def log_sum(self) -> tf.Tensor:
        """`[..., N]`, the logarithm of the sum of the logits' exponentials; -inf for a row without logits."""
        return (tf.math.log(self.total) + self.largest)[..., 0]

    def with_more(self, logits: tf.Tensor, values: tf.Tensor) -> "Softmax":
        """Some more columns: exponentials are relative to the largest logit, and what was summed up before follows it."""
        largest = tf.maximum(self.largest, tf.reduce_max(logits, axis=-1, keepdims=True))
        shift = tf.where(largest > -math.inf, largest, tf.zeros_like(largest))
        kept, weights = tf.exp(self.largest - shift), tf.exp(logits - shift)
        total = kept * self.total + tf.reduce_sum(weights, axis=-1, keepdims=True)
        return Softmax(largest, total, kept * self.sums + tf.matmul(weights, values))


def softmax_of_all_and_some(
    logits: Callable[[Tensors, Tensors], tf.Tensor],
    some: Callable[[Tensors, Tensors], tf.Tensor],
    rows: Tensors,
    columns: Tensors,
    values: tf.Tensor,
    meet: Meet,
) -> tuple[Softmax, Softmax]:
    """For every row of each image, the softmax over all columns and that over some: at once, or by square blocks.

    Args:
        logits: of rows `[..., b, ...]` and columns `[..., c, ...]`; gives `[..., b, c]`.
        some: of the same; bool `[..., b, c]`.
        rows: `[B, N, ...]`.
        columns: `[B, M, ...]`.
        values: `[B, M, C]`.
        meet: as of `weighted_sums`, false where `some` is.

    Returns:
        The softmax of all and that of some, with `[B, N]` in front. As of `weighted_sums`, not to take a gradient through.

    Example:
        >>> from pixpro_tf.ops import pairwise
        >>> import tensorflow as tf
        >>> features, values = tf.constant([[[1.0], [0.0]]]), tf.constant([[[4.0], [8.0]]])
        >>> of_all, of_some = pairwise.softmax_of_all_and_some(
        ...     logits=lambda rows, columns: tf.matmul(rows[0], columns[0], transpose_b=True),
        ...     some=lambda rows, columns: tf.eye(2, batch_shape=[1]) > 0,
        ...     rows=[features],
        ...     columns=[features],
        ...     values=values,
        ...     meet=lambda *_: True,
        ... )
        >>> of_all.averages()[0, :, 0].numpy().tolist()
        [5.07, 6.0]
        >>> of_some.averages()[0, :, 0].numpy().tolist()
        [4.0, 8.0]
    """

    def add(
        state: Tensors, rows: Tensors, columns: Sequence[Any], met: tf.Tensor | bool
    ) -> Tensors:
        columns, values, real = columns
        found = tf.where(real[..., None, :], logits(rows, columns), -math.inf)
        of_all, of_some = Softmax(*state[:3]), Softmax(*state[3:])

        def added(of_some: Softmax) -> Softmax:
            chosen = tf.where(some(rows, columns), found, -math.inf)
            return of_some.with_more(chosen, values)

        return [*of_all.with_more(found, values), *_if(met, added, of_some)]

    def start(shape: Sequence[tf.Tensor]) -> Tensors:
        empty = Softmax(
            tf.fill([*shape, 1], tf.constant(-math.inf, values.dtype)),
            tf.zeros([*shape, 1], values.dtype),
            tf.zeros([*shape, values.shape[-1]], values.dtype),
        )
        return [*empty, *empty]

    # The columns that fill up the last block are no columns.
    real = tf.ones(tf.shape(values)[:2], tf.bool)
    state = _fold(add, start, rows, (columns, values, real), meet, [values.dtype] * 6)
    return Softmax(*state[:3]), Softmax(*state[3:])


def symmetric_weighted_sums(weights: PairFunction, bins: Tensors, values: Tensors) -> Tensors:
    """`sum_j weights(i, j) * values_j` for every bin i of each image, where `weights(i, j) = weights(j, i)`: by square blocks.

    Each block of weights off the diagonal is computed once, and used for its rows and, transposed, for its columns.

    Args:
        weights: of the `bins` `[b, ...]` of two blocks of one image; gives a matrix `[b, b]` for each of `values`.
        bins: `[B, N, ...]`.
        values: `[B, N, C]`, each with its own C.

    Returns:
        `[B, N, C]` for each of the values. As of `weighted_sums`, not to take a gradient through.

    Example:
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
    """What `add` makes of a start for each row and of the columns, all at once or one block after another.

    `columns[0]` are those that `meet` sees.
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
    # In parallel, blocks would be in memory together.
    return tf.map_fn(
        lambda element: list(function(element)),
        elements,
        parallel_iterations=1,
        fn_output_signature=list(dtypes),
    )


def _if(
    condition: tf.Tensor | bool, function: Callable[[Structure], Structure], tensors: Structure
) -> Structure:
    """`function(tensors)` or the tensors themselves, by a bool known now or not. A loop of one turn, for XLA leaves what a `tf.cond` does to a single core."""
    if condition is True:
        return function(tensors)
    _, tensors = tf.while_loop(
        lambda again, _: again, lambda _, tensors: (False, function(tensors)), (condition, tensors)
    )
    return tensors


def _divide(length: int | tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """How many blocks, of how many bins, the last of them filled up."""
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
