"""Principal components of features, the directions in which they vary most."""

import numpy as np


def principal_components(maps: np.ndarray, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Computes the principal components of l2-normalised features over the bins of all images.

    Args:
        maps: float `[B, h, w, C]`.
        count: number of components, at most C and at most B * h * w.

    Returns:
        Coordinates float64 `[B, h, w, count]`, each stretched so that its 2nd and 98th percentiles are 0 and 1, and clipped to that range
        (0.5 everywhere if nothing varies); and the share of the variance that each component explains, `[count]`. The sign of each
        component makes its largest loading positive.
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
