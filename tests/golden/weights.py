"""Deterministic weights and inputs of the golden numbers (see pixpro_r50.npz).

Every value is generated from the name of its parameter, so no checkpoint has to be stored.
Names are those of the official PyTorch state dict, without 'module.'.
"""

import math
import zlib

import numpy as np


def value(name, shape):
    """Returns a float32 array of `shape` that depends only on `name`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_mean":
        return np.zeros(shape, np.float32)
    if leaf == "running_var":
        return np.ones(shape, np.float32)
    if leaf == "weight" and len(shape) == 4:  # conv, OIHW
        fan_out = shape[0] * shape[2] * shape[3]
        return (rng.standard_normal(shape) * math.sqrt(2.0 / fan_out)).astype(np.float32)
    if leaf == "weight":  # batch-norm scale
        return rng.uniform(0.5, 1.0, shape).astype(np.float32)
    return (0.05 * rng.standard_normal(shape)).astype(np.float32)


def inputs(batch=2, size=224, step=0):
    """Returns two NHWC float32 views and their boxes (x0, y0, x1, y1) in [0, 1]; the first image's second box is flipped."""
    rng = np.random.default_rng(1000 + step)
    v1 = rng.standard_normal((batch, size, size, 3)).astype(np.float32)
    v2 = (0.7 * v1[:, ::-1] + 0.3 * rng.standard_normal(v1.shape)).astype(np.float32)
    b1 = np.array([[0.05, 0.10, 0.75, 0.80], [0.00, 0.00, 0.60, 0.95]], np.float32)[:batch]
    b2 = np.array([[0.90, 0.20, 0.30, 0.90], [0.20, 0.10, 1.00, 0.70]], np.float32)[:batch]
    return v1, v2, b1, b2
