"""Labelled images, collected from files of any format with an account of what is wrong in them."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from pixpro_tf.errors import ConfigError, RunError, listed

# Formats of images that the consumers of the labels decode, too.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP")
# Boxes may reach beyond their image by this number of pixels without being counted: labels are rounded, and VOC counts pixels from 1.
_ROUNDING = 1.0
# Number of examples that a report names for each kind of problem.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """Image with its objects.

    Attributes:
        path: path of the file.
        width, height: size of the image, in pixels.
        boxes: float64 `[N, 4]`, (y0, x0, y1, x1) in pixels, inside the image and of positive area.
        labels: int64 `[N]`, indices of the class names.
        crowds: bool `[N]`, whether a box surrounds a group of objects that are not labelled one by one.
    """

    path: str
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    crowds: np.ndarray


@dataclasses.dataclass(frozen=True)
class LabelledBoxes:
    """All images of a set of labels.

    Attributes:
        source: path of the labels, as the user passed it.
        class_names: names of the classes, in the order of their indices.
        images: images in the order of their paths.
        problems: names of images for each kind of problem.
    """

    source: str
    class_names: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    problems: dict[str, list[str]]

    @property
    def report(self) -> list[str]:
        """Lines about the numbers of images and boxes, and about each kind of problem with some of its images."""
        boxes = sum(len(image.labels) for image in self.images)
        lines = [
            f"{self.source}: {len(self.images)} images, {boxes} boxes, {len(self.class_names)} classes"
        ]
        for kind, names in self.problems.items():
            lines.append(f"{self.source}: {len(names)} {kind}: {listed(_once(names), _NAMED)}")
        return lines


@dataclasses.dataclass(frozen=True)
class RawObject:
    """Object as labels describe it.

    Attributes:
        name: name of its class.
        box: (y0, x0, y1, x1) in pixels, or as shares of the height and width with `relative`.
        crowd, relative: see `LabelledImage` and above.
    """

    name: str
    box: Sequence[float]
    crowd: bool = False
    relative: bool = False


class Collector:
    """Collects the labelled images of one source.

    Args:
        source: path of the labels, for messages.
        class_names: names of the classes in their order; None takes those that occur, in alphabetical order.
    """

    def __init__(self, source: str, class_names: Sequence[str] | None) -> None:
        self._source = source
        self._given = None if class_names is None else tuple(class_names)
        self._images: dict[str, tuple[int, int, list[tuple[str, np.ndarray, bool]]]] = {}
        self._problems: dict[str, list[str]] = collections.defaultdict(list)

    def add(
        self, path: str, objects: Iterable[RawObject], size: tuple[int, int] | None = None
    ) -> None:
        """Adds an image, unless it cannot be used.

        Args:
            path: path of the file.
            objects: its objects.
            size: width and height according to the labels; None if they do not say.
        """
        if path in self._images:
            self.problem("images that are labelled twice, of which the first labels are used", path)
            return
        if not os.path.isfile(path):
            self.problem("images that do not exist, left out", path)
            return
        try:
            with Image.open(path, formats=_FORMATS) as image:
                found = image.size
        except (OSError, ValueError, SyntaxError):
            self.problem("images that are damaged or not JPEG, PNG, GIF or BMP, left out", path)
            return
        if size is not None and size != found:
            # Such as images that a viewer turns, so that boxes would be in other places.
            self.problem("images whose size differs from that in the labels, left out", path)
            return
        usable = (self._usable(each, path, found) for each in objects)
        self._images[path] = (*found, [each for each in usable if each is not None])

    def problem(self, kind: str, path: str) -> None:
        """Counts a problem with an image."""
        self._problems[kind].append(os.path.basename(path))

    def result(self) -> LabelledBoxes:
        """Returns all images; raises `RunError` if there are none, or no objects."""
        objects = [each for *_, found in self._images.values() for each in found]
        names = self._given or tuple(sorted({name for name, *_ in objects}))
        index = {name: place for place, name in enumerate(names)}
        images = []
        for path in sorted(self._images):
            width, height, found = self._images[path]
            images.append(
                LabelledImage(
                    path,
                    width,
                    height,
                    np.array([box for _, box, _ in found], np.float64).reshape(-1, 4),
                    np.array([index[name] for name, *_ in found], np.int64),
                    np.array([crowd for *_, crowd in found], bool),
                )
            )
        labels = LabelledBoxes(self._source, names, tuple(images), dict(self._problems))
        if not objects:
            problems = "; ".join(labels.report[1:])
            raise RunError(
                f"{self._source} contains no box that can be used{f' ({problems})' if problems else ''}"
            )
        return labels

    def _usable(
        self, raw: RawObject, path: str, size: tuple[int, int]
    ) -> tuple[str, np.ndarray, bool] | None:
        if self._given is not None and raw.name not in self._given:
            self.problem(f"boxes of the unknown class {raw.name}, left out", path)
            return None
        limit = np.array([size[1], size[0]] * 2, np.float64)
        box = np.array(raw.box, np.float64)
        if box.shape != (4,) or not np.isfinite(box).all():
            self.problem("boxes that are not four finite numbers, left out", path)
            return None
        box = box * limit if raw.relative else box
        if not (box[2:] > box[:2]).all():
            self.problem("boxes without area, left out", path)
            return None
        inside = np.clip(box, 0, limit)
        if not (inside[2:] > inside[:2]).all():
            self.problem("boxes outside of their image, left out", path)
            return None
        if np.abs(inside - box).max() > _ROUNDING:
            self.problem("boxes that reach beyond their image, cut", path)
        if raw.crowd:
            self.problem("crowds, which are neither trained nor scored", path)
        return raw.name, inside, raw.crowd


def find_image(name: str, folders: Sequence[str]) -> str:
    """Returns the path of an image in the first of some folders that has it; its path in the first folder if none has."""
    paths = [os.path.join(folder, name) for folder in folders]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def check_classes(names: Sequence[str]) -> None:
    """Raises `ConfigError` if a class is listed twice."""
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--classes={','.join(names)} contains {twice[0]} twice; list each class once"
        )


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
