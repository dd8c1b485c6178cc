"""Reference implementation of the losses in NumPy, in float64, with loops over images and bins."""

import numpy as np

from tests.ops.test_geometry import mask_by_loop


def unit_vectors(rng, *shape):
    vectors = rng.standard_normal(shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def masks(box_1, box_2, height, width, threshold):
    """Returns the positive masks `[B, N, N]`, bool, for boxes `[B, 4]`."""
    return np.array(
        [mask_by_loop(*pair, height, width, threshold) for pair in zip(box_1, box_2, strict=True)]
    )


def pixel_consistency(propagated, target, positives):
    """Returns the mean cosine of each image's positive pairs, and its gradient with respect to `propagated`."""
    means, gradient = np.zeros(len(propagated)), np.zeros_like(propagated)
    for image, (y, x, mask) in enumerate(zip(propagated, target, positives, strict=True)):
        scale = 1 / (mask.sum() + 1e-6)
        for i, j in zip(*np.nonzero(mask), strict=True):
            means[image] += scale * (y[i] @ x[j])
            gradient[image, i] += scale * x[j]
    return means, gradient


def pixel_contrast(projected, target, positives, temperature):
    """Returns the mean of -log(share of positives) over each image's bins with positives, and its gradient for `projected`."""
    means, gradient = np.zeros(len(projected)), np.zeros_like(projected)
    for image, (x, keys, mask) in enumerate(zip(projected, target, positives, strict=True)):
        counted = np.nonzero(mask.any(axis=1))[0]
        for i in counted:
            weights = np.exp(keys @ x[i] / temperature)
            share = weights[mask[i]].sum() / weights.sum()
            means[image] -= np.log(share) / len(counted)
            # d(-log(a / b)) = db / b - da / a.
            of_all = weights @ keys / weights.sum()
            of_positives = weights[mask[i]] @ keys[mask[i]] / weights[mask[i]].sum()
            gradient[image, i] = (of_all - of_positives) / temperature / len(counted)
    return means, gradient


def pixel_contrast_of_batch(projected, target, positives, own, temperature, own_image):
    """As `pixel_contrast`, against the bins of all images, of which `own` are those of `projected`; with or without those of the own image."""
    means, gradient = np.zeros(len(projected)), np.zeros_like(projected)
    for image, (x, mask) in enumerate(zip(projected, positives, strict=True)):
        counted = np.nonzero(mask.any(axis=1))[0]
        others = np.concatenate([each for g, each in enumerate(target) if g != own[image]])
        for i in counted:
            keys = target[own[image]]
            keys = np.concatenate(
                [keys[mask[i]], keys[~mask[i]] if own_image else keys[:0], others]
            )
            weights = np.exp(keys @ x[i] / temperature)
            number = mask[i].sum()
            means[image] -= np.log(weights[:number].sum() / weights.sum()) / len(counted)
            of_all = weights @ keys / weights.sum()
            of_positives = weights[:number] @ keys[:number] / weights[:number].sum()
            gradient[image, i] = (of_all - of_positives) / temperature / len(counted)
    return means, gradient


def instance_contrast(prediction, keys, own, temperature):
    """Returns -log of each prediction's share for its own key, and the gradient of their sum with respect to `prediction`."""
    values, gradient = [], []
    for p, key in zip(prediction, own, strict=True):
        weights = np.exp(keys @ p / temperature)
        values.append(-np.log(weights[key] / weights.sum()))
        gradient.append((weights @ keys / weights.sum() - keys[key]) / temperature)
    return np.array(values), np.array(gradient)
