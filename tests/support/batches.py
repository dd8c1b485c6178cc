"""Test images for batches, and a comparison of batches."""

import numpy as np
from PIL import Image

from pixpro_tf.cli import write_tfrecords


def write_noise(root, count):
    """Writes `count` noise images of different heights to `folder`, and to `shards` with five images per file."""
    (root / "folder").mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 256, (20 + index, 30, 3), np.uint8)
        Image.fromarray(pixels).save(root / "folder" / f"{index:02d}.png")
    write_tfrecords.write(
        f"folder:{root / 'folder'}", str(root / "shards"), per_shard=5, num_workers=1
    )


def assert_same(batch, other):
    assert set(batch) == set(other)
    for name, value in batch.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
