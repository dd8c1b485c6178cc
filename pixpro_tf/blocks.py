"""Work on all pairs of bins, a block of them at a time: memory that grows with the bins, and not with their square."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Up to here the pairs of all images are taken at once; those of one image are then at most four times a map of 256 channels.
DENSE_BINS = 1024
# Bins on a side of a square block, at most: enough to keep a matrix product busy, and few enough for blocks of views that lie apart.
BLOCK_BINS = 896
# In a block of whole rows, 16 MiB in float32: for a map of 112 x 112 bins some three hundred rows.
PAIRS_AT_ONCE = 2**22

Tensors = Sequence[tf.Tensor]
# Of some rows and some columns, to what all pairs of them give.
PairFunction = Callable[[Tensors, Tensors], Tensors]


def is_large(num_bins: int | None) -> bool:
    """Whether a map's pairs should be taken block by block; also where its size is not known before the run."""
    return num_bins is None or num_bins > DENSE_BINS


def weighted_sums(
    weights: PairFunction,
    rows: Tensors,
    columns: Tensors,
    values: Tensors,
    meet: Callable[[Tensors, Tensors], tf.Tensor],
) -> Tensors:
    """`sum_j weights(i, j) * values_j` for every row i of each image: at once for small maps, by square blocks for large ones.

    Args:
        weights: of rows `[..., b, ...]` and columns `[..., c, ...]`; gives a matrix `[..., b, c]` for each of `values`. What comes of
            rows and columns of zeros, which fill up the last blocks, does not matter as long as it is finite.
        rows: `[B, N, ...]`.
        columns: `[B, M, ...]`.
        values: `[B, M, C]`, each with its own C.
        meet: of a block of an image's rows and one of its columns; a bool, false where all weights are zero. Such blocks are left out.

    Returns:
        `[B, N, C]` for each of the values. A gradient through blocks would keep all of them: there must be none, or one of its own.
    """
    if not is_large(rows[0].shape[1]):
        matrices = weights(rows, columns)
        return [tf.matmul(matrix, each) for matrix, each in zip(matrices, values, strict=True)]

    def of_image(image):
        rows, columns, values = image
        num_rows = _length(rows[0])
        rows, columns, values = (
            [_split(tensor, *_divide(_length(tensor), BLOCK_BINS)) for tensor in tensors]
            for tensors in (rows, columns, values)
        )

        def of_rows(rows):
            def add(sums, block):
                columns, values = block

                def added(sums):
                    matrices = weights(rows, columns)
                    return [
                        total + tf.matmul(matrix, each)
                        for total, matrix, each in zip(sums, matrices, values, strict=True)
                    ]

                return _if(meet(rows, columns), added, sums)

            block = tf.shape(rows[0])[0]
            zeros = [tf.zeros([block, each.shape[-1]], each.dtype) for each in values]
            return tf.foldl(add, (columns, values), zeros, parallel_iterations=1)

        return [_join(each)[:num_rows] for each in _map(of_rows, rows, _dtypes(values))]

    return _map(of_image, (rows, columns, values), _dtypes(values))


def symmetric_weighted_sums(weights: PairFunction, bins: Tensors, values: Tensors) -> Tensors:
    """`sum_j weights(i, j) * values_j` for every bin i of each image, where `weights(i, j) = weights(j, i)`: by square blocks.

    Each block of weights off the diagonal is computed once, and used for its rows and, transposed, for its columns.

    Args:
        weights: of the `bins` `[b, ...]` of two blocks of one image; gives a matrix `[b, b]` for each of `values`.
        bins: `[B, N, ...]`.
        values: `[B, N, C]`, each with its own C.

    Returns:
        `[B, N, C]` for each of the values. As of `weighted_sums`, not to take a gradient through.
    """

    def of_image(image):
        num_bins = _length(image[0][0])
        num_blocks, block = _divide(num_bins, BLOCK_BINS)
        bins, values = ([_split(each, num_blocks, block) for each in tensors] for tensors in image)

        def add(i, j, sums):
            matrices = weights(_at(bins, i), _at(bins, j))

            def added(sums, block, of, transpose=False):
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

    return _map(of_image, (bins, values), _dtypes(values))


def over_rows(
    function: PairFunction, rows: Tensors, columns: Tensors, dtypes: Sequence[tf.DType]
) -> Tensors:
    """What a function gives for each row that meets all columns: at once for small maps, by blocks of rows for large ones.

    Args:
        function: of rows `[..., b, ...]` and all columns `[..., M, ...]`; gives tensors `[..., b, ...]`, each row of which follows from
            the same row of its arguments. What comes of rows of zeros, which fill up the last block, is left out.
        rows: `[B, N, ...]`.
        columns: `[B, M, ...]`.
        dtypes: of what the function gives.

    Returns:
        Tensors `[B, N, ...]`. As of `weighted_sums`, not to take a gradient through.
    """
    if not is_large(rows[0].shape[1]):
        return function(rows, columns)

    def of_image(image):
        rows, columns = image
        num_rows, num_columns = (_length(tensors[0]) for tensors in (rows, columns))
        num_blocks, block = _divide(num_rows, PAIRS_AT_ONCE // num_columns)
        blocks = [_split(each, num_blocks, block) for each in rows]
        results = _map(lambda rows: function(rows, columns), blocks, dtypes)
        return [_join(each)[:num_rows] for each in results]

    return _map(of_image, (rows, columns), dtypes)


def _map(function, elements, dtypes):
    # In parallel, blocks would be in memory together.
    return tf.map_fn(
        lambda element: list(function(element)),
        elements,
        parallel_iterations=1,
        fn_output_signature=list(dtypes),
    )


def _if(condition, function, tensors):
    """`function(tensors)` or the tensors themselves. A loop of one turn, for XLA leaves what a `tf.cond` does to a single core."""
    _, tensors = tf.while_loop(
        lambda again, _: again, lambda _, tensors: (False, function(tensors)), (condition, tensors)
    )
    return tensors


def _divide(length, largest):
    """How many blocks, of how many bins, the last of them filled up."""
    num_blocks = _ceil_divide(length, largest)
    return num_blocks, _ceil_divide(length, num_blocks)


def _split(tensor, num_blocks, block):
    padding = [[0, num_blocks * block - _length(tensor)]] + [[0, 0]] * (tensor.shape.rank - 1)
    shape = tf.concat([[num_blocks, block], tf.shape(tensor)[1:]], axis=0)
    return tf.reshape(tf.pad(tensor, padding), shape)


def _join(blocks):
    return tf.reshape(blocks, tf.concat([[-1], tf.shape(blocks)[2:]], axis=0))


def _at(tensors, index):
    return [tf.gather(tensor, index) for tensor in tensors]


def _dtypes(tensors):
    return [tensor.dtype for tensor in tensors]


def _length(tensor):
    return tf.shape(tensor)[0] if tensor.shape[0] is None else tensor.shape[0]


def _ceil_divide(dividend, divisor):
    return -(-dividend // divisor)
