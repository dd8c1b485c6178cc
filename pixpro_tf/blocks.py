"""Work on all pairs of bins, a block of them at a time: memory that grows with the bins, and not with their square."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# Up to here the pairs of all images are taken at once; those of one image are then at most four times a map of 256 channels.
DENSE_BINS = 1024
# In one block, 16 MiB in float32: for a map of 112 x 112 bins some three hundred rows, enough to keep a matrix product busy, and few
# enough to keep the backward pass, which has several blocks at once, within 300 MB.
PAIRS_AT_ONCE = 2**22


# Of a block's rows and the columns that they meet, to what they give: a row for each row.
PairFunction = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], Sequence[tf.Tensor]]


def is_large(num_bins: int | None) -> bool:
    """Whether a map's pairs should be taken block by block; also where its size is not known before the run."""
    return num_bins is None or num_bins > DENSE_BINS


def over_pairs(
    function: PairFunction,
    rows: Sequence[tf.Tensor],
    columns: Sequence[tf.Tensor],
    dtypes: Sequence[tf.DType],
) -> Sequence[tf.Tensor]:
    """What a function gives for all rows of a batch: at once for small maps, and `map_rows` for large ones.

    Args:
        function: as of `map_rows`, with `[..., b, ...]` for both.
    """
    if is_large(rows[0].shape[1]):
        return map_rows(function, rows, columns, dtypes)
    return function(rows, columns)


def map_rows(
    function: PairFunction,
    rows: Sequence[tf.Tensor],
    columns: Sequence[tf.Tensor],
    dtypes: Sequence[tf.DType],
    pairs_at_once: int = PAIRS_AT_ONCE,
) -> Sequence[tf.Tensor]:
    """Pairs the rows of each image with its columns, one image and one block of rows after the other.

    Args:
        function: of a block of an image's rows `[b, ...]` and of all its columns; gives tensors `[b, ...]`, each row of which follows
            from the same row of its arguments. Rows of zeros fill the last block up, and what comes of them is left out.
        rows: `[B, N, ...]`.
        columns: the first `[B, M, ...]`, others `[B, ...]`.
        dtypes: of what the function gives.
        pairs_at_once: largest b * M, at least M.

    Returns:
        Tensors `[B, N, ...]`. A gradient through them would keep every block; give them one of their own instead.
    """

    def of_image(image):
        rows, columns = image
        num_rows, num_columns = (_length(tensors[0]) for tensors in (rows, columns))
        num_blocks = _ceil_divide(num_rows, pairs_at_once // num_columns)
        block = _ceil_divide(num_rows, num_blocks)

        def split(tensor):
            padding = [[0, num_blocks * block - num_rows]] + [[0, 0]] * (tensor.shape.rank - 1)
            return tf.reshape(
                tf.pad(tensor, padding),
                tf.concat([[num_blocks, block], tf.shape(tensor)[1:]], axis=0),
            )

        blocks = _map(lambda rows: function(rows, columns), tuple(map(split, rows)), dtypes)
        return tuple(
            tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))[:num_rows]
            for tensor in blocks
        )

    return _map(of_image, (tuple(rows), tuple(columns)), dtypes)


def _map(function, elements, dtypes):
    # In parallel, blocks would be in memory together.
    return tf.map_fn(
        lambda element: tuple(function(element)),
        elements,
        parallel_iterations=1,
        fn_output_signature=tuple(dtypes),
    )


def _length(tensor):
    return tf.shape(tensor)[0] if tensor.shape[0] is None else tensor.shape[0]


def _ceil_divide(dividend, divisor):
    return -(-dividend // divisor)
