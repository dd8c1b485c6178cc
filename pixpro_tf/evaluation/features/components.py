"""The directions in which features vary most."""

import numpy as np


def principal_components(maps: np.ndarray, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of l2-normalised features, over the bins of all images together.

    Args:
        maps: float `[B, h, w, C]`.
        count: how many, at most C and at most B * h * w.

    Returns:
        Coordinates float64 `[B, h, w, count]`, each stretched so that its 2nd and 98th percentiles are 0 and 1, and clipped there (0.5
        throughout, where nothing varies); and the share of the variance that each component explains, `[count]`. The sign of a
        component is that in which its largest loading is positive.
    """
    flat = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    flat -= flat.mean(axis=0)
    _, deviations, loadings = np.linalg.svd(flat, full_matrices=False)
    loadings = loadings[:count]
    largest = np.abs(loadings).argmax(axis=1)
    loadings *= np.sign(loadings[np.arange(len(loadings)), largest])[:, None]
    coordinates = flat @ loadings.T
    low, high = np.percentile(coordinates, [2, 98], axis=0)
    varies = high > low
    stretched = (coordinates - low) / np.where(varies, high - low, 1)
    stretched = np.where(varies, np.clip(stretched, 0, 1), 0.5)
    total = np.sum(deviations**2)
    shares = deviations[:count] ** 2 / total if total > 0 else np.zeros(count)
    return stretched.reshape(*maps.shape[:-1], -1), shares
