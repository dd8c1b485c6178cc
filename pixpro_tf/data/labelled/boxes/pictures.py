"""Sizes of image files, and boxes in photographs that an EXIF tag rotates.

Such a photograph is stored in one way and shown in another. Some tools write boxes in pixels of the image as it is shown, others as it is
stored.
"""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from pixpro_tf.data import limits, pillow_images
from pixpro_tf.errors import first_line

SHOWN, STORED = "shown", "stored"


@dataclasses.dataclass(frozen=True)
class Picture:
    """Size and orientation of an image file.

    Attributes:
        size: width and height of the image as it is shown, in pixels.
        orientation: its EXIF orientation, from 1 (stored as it is shown) to 8.

    Examples:
        >>> import numpy as np
        >>> from pixpro_tf.data.labelled.boxes.pictures import Picture
        >>> portrait = Picture((30, 40), orientation=6)
        >>> portrait.fitting((40, 30)), portrait.fitting((30, 40)), portrait.fitting(None)
        (('stored',), ('shown',), ('shown', 'stored'))
        >>> portrait.shown(np.array([[0.0, 0, 10, 5]])).tolist()
        [[0.0, 20.0, 5.0, 30.0]]
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def is_turned(self) -> bool:
        """Whether the image is shown in another way than it is stored."""
        return self.orientation != 1

    def size_in(self, frame: str) -> tuple[int, int]:
        """Returns width and height as the image is shown or stored."""
        width, height = self.size
        sideways = frame == STORED and self.orientation in pillow_images.SIDEWAYS
        return (height, width) if sideways else (width, height)

    def fitting(self, size: tuple[int, int] | None) -> tuple[str, ...]:
        """Returns the frames, `shown` and `stored`, in which the image has a width and height; both for None."""
        return tuple(frame for frame in (SHOWN, STORED) if size in (None, self.size_in(frame)))

    def shown(self, boxes: np.ndarray) -> np.ndarray:
        """Returns the boxes of the stored image as those of the image as it is shown, float64 `[N, 4]`, (y0, x0, y1, x1) in pixels.

        Source: EXIF 2.32 (CIPA DC-008), tag 0x0112.
        """
        y0, x0, y1, x1 = boxes.T
        width, height = self.size
        if self.orientation in pillow_images.SIDEWAYS:
            y0, x0, y1, x1 = x0, y0, x1, y1
        if self.orientation in (2, 3, 6, 7):
            x0, x1 = width - x1, width - x0
        if self.orientation in (3, 4, 7, 8):
            y0, y1 = height - y1, height - y0
        return np.stack([y0, x0, y1, x1], axis=1)


def read_picture(path: str) -> Picture:
    """Returns size and orientation of an image file, which is decoded, because it may be cut off behind a sound beginning.

    Raises:
        limits.TooLarge: if the file or the image is larger than the limits allow.
        OSError: if the file cannot be read.
        ValueError: if it is damaged or not an image.
    """
    limits.check_bytes(os.path.getsize(path))
    with open(path, "rb") as file:
        encoded = file.read()
    with pillow_images.opened(encoded, pillow_images.ALL) as image:
        orientation = pillow_images.orientation_of(image)
        image.load()
        # Pillow itself turns images of some formats.
        rest = pillow_images.orientation_of(image)
        if image.format in pillow_images.FORMATS:
            pillow_images.rgb(image)
        elif image.format == "PNG" and orientation == 1:
            _check_png(encoded)
    width, height = image.size
    sideways = rest in pillow_images.SIDEWAYS
    return Picture((height, width) if sideways else (width, height), orientation)


def _check_png(encoded: bytes) -> None:
    """Decodes a PNG as it is decoded later; TensorFlow rejects damage that Pillow overlooks, such as a missing end."""
    try:
        tf.io.decode_png(encoded)
    except tf.errors.OpError as error:
        raise ValueError(first_line(error)) from error
