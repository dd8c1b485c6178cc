"""Encoded images: which files are taken for one, and what their pixels mean."""

import tensorflow as tf

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


def is_image_name(name: str) -> bool:
    """Whether a file's name, without folders, is that of an image; the suffix counts in any case, and hidden files do not."""
    return not is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is to be passed over."""
    return name.startswith(".")


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """An encoded image as RGB.

    Grey becomes three equal channels, CMYK is converted, 16 bits are reduced to the upper 8, alpha is dropped without blending,
    and of an animation the first frame counts. Orientation tags are not followed (nor are they by the authors).

    Args:
        encoded: string scalar, JPEG, PNG, GIF or BMP.

    Returns:
        uint8 `[H, W, 3]`.
    """

    def jpeg():
        # The accurate inverse DCT, which Pillow uses too; TensorFlow's default trades digits for speed.
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def other():
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(encoded), jpeg, other)
    image.set_shape([None, None, 3])
    return image
