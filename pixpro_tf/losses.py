"""Losses, which map the features of two networks to one number per image, in at least float32.

The pixel losses accept maps of any size: from all pairs of bins they need only a sum over the bins of the other view, through which no
gradient flows. A pass over blocks of pairs reduces the pairs to a tensor of the size of a map, and the loss is a product with it.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from pixpro_tf.ops.geometry import Bins, may_meet, same_place
from pixpro_tf.ops.numerics import at_least_float32
from pixpro_tf.ops.pairwise import Tensors, softmax_of_some_and_others, weighted_sums

EMPTY_MASK_EPSILON = 1e-6


def pixel_consistency(
    propagated: tf.Tensor,
    target: tf.Tensor,
    bins: Bins,
    target_bins: Bins,
    threshold: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the mean cosine similarity over the positive pairs of each image.

    Args:
        propagated: float `[B, N, C]`, unit length along C; N = H*W, row-major.
        target: float `[B, M, C]`, unit length along C; receives no gradient.
        bins, target_bins: positions of the bins of the two maps.
        threshold: largest distance of a positive pair; see `ops.geometry.positive_mask`.

    Returns:
        Similarity `[B]` in [-1, 1], in at least float32, 0 for an image without positive pairs; and number of these pairs `[B]`.

    Raises:
        ValueError: if the static shapes are inconsistent.

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043), equation 5. The authors' loss is -2 times this, per direction; the
        paper's is -1 times.

    Examples:
        >>> from pixpro_tf import losses
        >>> from pixpro_tf.ops.geometry import bins_of
        >>> import tensorflow as tf
        >>> bins = bins_of(tf.constant([[0.0, 0.0, 1.0, 1.0]]), height=2, width=2)
        >>> features = tf.math.l2_normalize(tf.constant([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]]), -1)
        >>> similarity, pairs = losses.pixel_consistency(features, features, bins, bins, threshold=0.7)
        >>> float(similarity[0]), float(pairs[0])
        (1.0, 4.0)
    """
    _check_shapes("propagated", propagated, target, bins, target_bins)
    propagated = at_least_float32(propagated)
    target = tf.stop_gradient(tf.cast(target, propagated.dtype))

    def positives(rows: Tensors, columns: Tensors) -> Tensors:
        mask = tf.cast(same_place(rows[0], columns[0], rows[1], threshold), target.dtype)
        return mask, mask

    # sum_ij A_ij y_i.x'_j = sum_i y_i.(sum_j A_ij x'_j): the same number as from the cosines of all pairs, with one product fewer.
    sums, pairs = weighted_sums(
        positives,
        [bins.centres, _unit(bins, target_bins)],
        [target_bins.centres],
        [target, tf.ones_like(target[..., :1])],
        meet=lambda rows, columns: may_meet(rows[0], columns[0], rows[1], threshold),
    )
    # The gradient is stopped again for XLA, which otherwise keeps each block for a gradient that is never used.
    sums, pairs = tf.stop_gradient(sums), tf.reduce_sum(tf.stop_gradient(pairs), axis=[1, 2])
    total = tf.einsum("bnc,bnc->b", propagated, sums)
    return total / (pairs + EMPTY_MASK_EPSILON), pairs


def pixel_contrast(
    projected: tf.Tensor,
    target: tf.Tensor,
    bins: Bins,
    target_bins: Bins,
    threshold: float,
    temperature: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the contrastive loss of bins against the bins of the other view, averaged over each image.

    The loss of a bin i that has a positive is `-log(sum_{j in pos} exp(cos_ij / tau) / sum_j exp(cos_ij / tau))`; other bins do not count.

    Args:
        projected: float `[B, N, C]`, unit length along C; N = H*W, row-major.
        target: float `[B, M, C]`, unit length along C; receives no gradient.
        bins, target_bins: positions of the bins of the two maps.
        threshold: largest distance of a positive pair; see `ops.geometry.positive_mask`.
        temperature: tau, greater than 0.

    Returns:
        Three tensors `[B]` in at least float32: the loss, at least 0, and 0 for an image without positive pairs; the number of bins that
        count; and the number of those whose nearest bin in the other view is a positive.

    Raises:
        ValueError: if the static shapes are inconsistent.

    Source: Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043), equation 2; the paper's temperature is 0.3.

    Examples:
        >>> from pixpro_tf import losses
        >>> from pixpro_tf.ops.geometry import bins_of
        >>> import tensorflow as tf
        >>> bins = bins_of(tf.constant([[0.0, 0.0, 1.0, 1.0]]), height=2, width=2)
        >>> features = tf.eye(4, batch_shape=[1])
        >>> loss, counted, right = losses.pixel_contrast(
        ...     features, features, bins, bins, threshold=0.7, temperature=0.3
        ... )
        >>> float(loss[0]), float(counted[0]), float(right[0])
        (0.102, 4.0, 4.0)
    """
    _check_shapes("projected", projected, target, bins, target_bins)
    projected = at_least_float32(projected)
    target = tf.stop_gradient(tf.cast(target, projected.dtype))
    found = _contrast_of_bins(
        [projected, bins.centres, _unit(bins, target_bins)],
        [target, target_bins.centres],
        positives=lambda rows, columns: same_place(rows[1], columns[1], rows[2], threshold),
        negatives=None,
        meet=lambda rows, columns: may_meet(rows[1], columns[1], rows[2], threshold),
        temperature=temperature,
    )
    return _mean_of_bins(*found)


def pixel_contrast_of_batch(
    projected: tf.Tensor,
    target: tf.Tensor,
    bins: Bins,
    target_bins: Bins,
    own: tf.Tensor,
    threshold: float,
    temperature: float,
    own_image: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the contrastive loss of bins against the bins of the other views of all images of the global batch.

    Positives are those of `pixel_contrast`: bins of the own image at the same position.

    Args:
        projected: float `[B, N, C]`, unit length along C; N = H*W, row-major.
        target: float `[G, M, C]`, unit length along C, of the whole global batch; receives no gradient.
        bins, target_bins: positions of the bins of the two maps, of B and of G images.
        own: integer `[B]` in [0, G), index of the own image of each map in the global batch.
        threshold, temperature: see `pixel_contrast`.
        own_image: whether the other bins of the own image are negatives, too.

    Returns:
        Three tensors `[B]`; see `pixel_contrast`.

    Source: the negatives of SimCLR (https://arxiv.org/abs/2002.05709), for bins.

    Examples:
        >>> from pixpro_tf import losses
        >>> from pixpro_tf.ops.geometry import bins_of
        >>> import tensorflow as tf
        >>> bins = bins_of(tf.constant([[0.0, 0.0, 1.0, 1.0]] * 2), height=1, width=1)
        >>> features = tf.constant([[[1.0, 0.0]], [[0.0, 1.0]]])
        >>> loss, counted, right = losses.pixel_contrast_of_batch(
        ...     features, features, bins, bins, own=[0, 1], threshold=0.7, temperature=0.3
        ... )
        >>> loss.numpy().tolist(), counted.numpy().tolist(), right.numpy().tolist()
        ([0.035, 0.035], [1.0, 1.0], [1.0, 1.0])
    """
    projected = at_least_float32(projected)
    target = tf.stop_gradient(tf.cast(target, projected.dtype))
    own = tf.convert_to_tensor(own)
    images, num_bins = tf.unstack(tf.shape(projected)[:2])
    unit = tf.maximum(bins.diagonal, tf.gather(target_bins.diagonal, own))
    rows = [projected, bins.centres, tf.repeat(unit[:, None], num_bins, 1)]
    rows += [tf.repeat(own[:, None], num_bins, 1)]
    of_batch = tf.range(tf.shape(target)[0])[:, None]
    columns = [target, target_bins.centres, tf.repeat(of_batch, tf.shape(target)[1], 1)]

    def same_image(rows: Tensors, columns: Tensors) -> tf.Tensor:
        return rows[3][..., :, None] == columns[2][..., None, :]

    def positives(rows: Tensors, columns: Tensors) -> tf.Tensor:
        near = same_place(rows[1], columns[1], rows[2], threshold)
        return near & same_image(rows, columns)

    def meet(rows: Tensors, columns: Tensors) -> tf.Tensor:
        first, last = tf.reduce_min(rows[3]), tf.reduce_max(rows[3])
        return (last >= tf.reduce_min(columns[2])) & (first <= tf.reduce_max(columns[2]))

    # The bins of all images are those of a single large one.
    found = _contrast_of_bins(
        [tf.reshape(each, [1, -1, *each.shape[2:]]) for each in rows],
        [tf.reshape(each, [1, -1, *each.shape[2:]]) for each in columns],
        positives=positives,
        negatives=None if own_image else lambda *pair: ~same_image(*pair),
        meet=meet,
        temperature=temperature,
    )
    return _mean_of_bins(*(tf.reshape(each, [images, num_bins]) for each in found))


def _contrast_of_bins(
    rows: Tensors,
    columns: Tensors,
    *,
    positives: Callable[[Tensors, Tensors], tf.Tensor],
    negatives: Callable[[Tensors, Tensors], tf.Tensor] | None,
    meet: Callable[[Tensors, Tensors], tf.Tensor],
    temperature: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the contrastive loss of each bin.

    Args:
        rows: tensors `[B, N, ...]` that describe the bins, their features first.
        columns: tensors `[B, M, ...]` that describe the bins of the target, their features first.
        positives, negatives: functions of rows and columns that return bool `[..., n, m]`; None if all others are negatives.
        meet: function of a block of rows and one of columns; returns false if it contains no positives.
        temperature: temperature of the loss.

    Returns:
        Three tensors `[B, N]`: the loss, 0 for a bin without positives; and 1 for a bin with positives, and if the nearest bin is one.
    """
    target = columns[0]

    def logits(rows: Tensors, columns: Tensors) -> tf.Tensor:
        found = tf.einsum("...nc,...mc->...nm", rows[0], columns[0]) / temperature
        if negatives is None:
            return found
        counted = positives(rows, columns) | negatives(rows, columns)
        return tf.where(counted, found, -math.inf)

    @tf.custom_gradient
    def of_bins(
        projected: tf.Tensor,
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Callable[..., tf.Tensor]]:
        of_positives, of_negatives = softmax_of_some_and_others(
            logits, positives, [projected, *rows[1:]], columns, target, meet
        )
        of_all = of_positives.joined(of_negatives)
        counts = of_positives.largest[..., 0] > -math.inf
        losses = of_all.log_sum() - of_positives.log_sum()
        losses = tf.where(counts, losses, tf.zeros_like(losses))
        # Gradient of the loss: each bin repels by its softmax over all bins, and each positive attracts by its softmax over the positives.
        slope = (of_all.averages() - of_positives.averages()) / temperature
        slope = tf.where(counts[..., None], slope, tf.zeros_like(slope))

        def gradient(of_losses: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
            return of_losses[..., None] * slope

        # A tie is not right: otherwise a constant feature would match every bin.
        nearest = counts & (of_positives.largest > of_negatives.largest)[..., 0]
        dtype = projected.dtype
        return (losses, tf.cast(counts, dtype), tf.cast(nearest, dtype)), gradient

    return of_bins(rows[0])


def _mean_of_bins(
    losses: tf.Tensor, counts: tf.Tensor, nearest: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the mean loss of each image's bins that count, their number, and the number of those whose nearest bin is a positive."""
    losses, counts, nearest = (tf.reduce_sum(each, axis=-1) for each in (losses, counts, nearest))
    return tf.math.divide_no_nan(losses, counts), counts, nearest


def instance_consistency(prediction: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Computes the cosine similarity of whole-image features.

    Args:
        prediction: float `[B, C]`, unit length along C.
        target: float `[B, C]`, unit length along C; receives no gradient.

    Returns:
        Similarity `[B]` in [-1, 1], in at least float32.

    Source: the authors' instance branch (https://github.com/zdaxie/PixPro), whose loss is -2 times this, per direction.

    Examples:
        >>> from pixpro_tf import losses
        >>> import tensorflow as tf
        >>> losses.instance_consistency(tf.constant([[1.0, 0.0]]), tf.constant([[0.6, 0.8]])).numpy().tolist()
        [0.6]
    """
    prediction = at_least_float32(prediction)
    target = tf.stop_gradient(tf.cast(target, prediction.dtype))
    return tf.einsum("bc,bc->b", prediction, target)


def instance_contrast(
    prediction: tf.Tensor, keys: tf.Tensor, own: tf.Tensor, temperature: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the contrastive loss (InfoNCE) of each image's own key against the keys of the other images.

    Args:
        prediction: float `[B, C]`, unit length along C.
        keys: float `[G, C]`, unit length along C, of the whole global batch; they receive no gradient.
        own: integer `[B]` in [0, G), index of the own key of each prediction.
        temperature: temperature of the softmax, greater than 0.

    Returns:
        Two tensors `[B]` in at least float32: the loss, at least 0; and 1 where the nearest key is the own key, else 0.

    Source: the SimCLR* of Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043): SimCLR's loss against the keys of a momentum encoder.

    Examples:
        >>> from pixpro_tf import losses
        >>> import tensorflow as tf
        >>> images = tf.constant([[1.0, 0.0], [0.0, 1.0]])
        >>> loss, right = losses.instance_contrast(images, images, own=[0, 1], temperature=0.2)
        >>> loss.numpy().tolist(), right.numpy().tolist()
        ([0.007, 0.007], [1.0, 1.0])
    """
    prediction = at_least_float32(prediction)
    keys = tf.stop_gradient(tf.cast(keys, prediction.dtype))
    own = tf.convert_to_tensor(own)
    logits = tf.matmul(prediction, keys, transpose_b=True) / temperature
    nearest = tf.argmax(logits, axis=-1, output_type=own.dtype) == own
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)
    return loss, tf.cast(nearest, loss.dtype)


def _unit(bins: Bins, target_bins: Bins) -> tf.Tensor:
    """Returns `[B, N]`, the larger bin diagonal of the two views, repeated for each bin."""
    unit = tf.maximum(bins.diagonal, target_bins.diagonal)[:, None]
    return tf.broadcast_to(unit, tf.shape(bins.centres)[:2])


def _check_shapes(
    name: str, features: tf.Tensor, target: tf.Tensor, bins: Bins, target_bins: Bins
) -> None:
    if not (
        features.shape[1:2].is_compatible_with(bins.centres.shape[1:2])
        and target.shape[1:2].is_compatible_with(target_bins.centres.shape[1:2])
        and features.shape[2:3].is_compatible_with(target.shape[2:3])
    ):
        raise ValueError(
            f"{name} [B, N, C], target [B, M, C] and their bins [B, N, 2] and [B, M, 2] must have consistent shapes: "
            f"{features.shape}, {target.shape}, {bins.centres.shape}, {target_bins.centres.shape}"
        )
