"""Labelled images, collected from files of any format with an account of what is wrong in them."""

import collections
import dataclasses
import os
from collections.abc import Iterable, Sequence

import numpy as np

from pixpro_tf.data import limits
from pixpro_tf.data.labelled.boxes.pictures import STORED, Picture, read_picture
from pixpro_tf.errors import ConfigError, RunError, listed, printable

# Boxes may reach beyond their image by this number of pixels without being counted: labels are rounded, and VOC counts pixels from 1.
_ROUNDING = 1.0
# Number of examples that a report names for each kind of problem.
_NAMED = 3
# Number of classes that the line about them names.
_CLASSES_NAMED = 100
_BY_NAME = "in alphabetical order, because the labels do not number them"
_GIVEN = "in the order of --classes"
_MISSING = (
    "images that do not exist, left out (pass their folder with --images, or --evaluation_images)"
)

_TURNED = (
    "images rotated by an EXIF tag, left out (pass --box_orientation, or save them without the tag)"
)


@dataclasses.dataclass(frozen=True)
class LabelledImage:
    """Image with its objects.

    Attributes:
        path: path of the file.
        width, height: size of the image as it is shown, in pixels.
        boxes: float64 `[N, 4]`, (y0, x0, y1, x1) in pixels, inside the image and of positive area.
        labels: int64 `[N]`, indices of the class names.
        crowds: bool `[N]`, whether a box surrounds a group of objects that are not labelled one by one.
        difficult: bool `[N]`, whether VOC calls an object difficult.
        is_turned: whether an EXIF tag rotates the image; the boxes are those of the image as it is shown.
    """

    path: str
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    crowds: np.ndarray
    difficult: np.ndarray
    is_turned: bool = False

    @property
    def ignored(self) -> np.ndarray:
        """Whether an object counts neither as missed nor as wrong in an evaluation, bool `[N]`: crowds, and VOC's difficult objects."""
        return self.crowds | self.difficult

    @property
    def has_objects(self) -> bool:
        """Whether there are boxes other than those of crowds."""
        return not self.crowds.all()

    def chosen(self, which: np.ndarray) -> "LabelledImage":
        """Returns the image with some of its objects, given as bool `[N]`."""
        arrays = {
            name: getattr(self, name)[which] for name in ("boxes", "labels", "crowds", "difficult")
        }
        return dataclasses.replace(self, **arrays)


@dataclasses.dataclass(frozen=True)
class LabelledBoxes:
    """All images of a set of labels.

    Attributes:
        source: path of the labels, as the user passed it.
        class_names: names of the classes, in the order of their indices.
        images: images in the order of their paths.
        problems: names of images for each kind of problem.
        order: where the order of the classes comes from, to be read after their names.
        is_order_chosen: whether that is a choice of this project, because the labels do not number their classes.
        numbered: names of the classes by their numbers in YOLO files; empty for other formats.
    """

    source: str
    class_names: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    problems: dict[str, list[str]]
    order: str = ""
    is_order_chosen: bool = False
    numbered: tuple[str, ...] = ()

    @property
    def report(self) -> list[str]:
        """Lines about the numbers of images and boxes, and about each kind of problem with some of its images."""
        boxes = sum(len(image.labels) for image in self.images)
        lines = [
            f"{self.source}: images: {len(self.images)}, boxes: {boxes}, classes: {len(self.class_names)}"
        ]
        for kind, names in self.problems.items():
            lines.append(f"{self.source}: {kind}: {len(names)} ({listed(_once(names), _NAMED)})")
        return [printable(line) for line in lines]

    def classes_line(self, flags: str, numbers: Sequence[int] = (), order: str = "") -> str:
        """Returns a line with the classes, their numbers, and where their order comes from.

        Args:
            flags: flags with which a user can set the order.
            numbers: numbers of the classes; empty numbers them from 1.
            order: where the order comes from; empty for `self.order`.
        """
        numbered = zip(
            numbers or range(1, len(self.class_names) + 1), self.class_names, strict=True
        )
        names = listed([f"{number} {name}" for number, name in numbered], _CLASSES_NAMED)
        advice = f"; {flags} sets their order and adds classes without boxes"
        reason = order or self.order + (advice if self.is_order_chosen else "")
        return printable(f"{self.source}: classes: {names} ({reason})")


@dataclasses.dataclass(frozen=True)
class RawObject:
    """Object as labels describe it.

    Attributes:
        name: name of its class.
        box: (y0, x0, y1, x1) in pixels, or as shares of the height and width with `relative`.
        crowd, difficult, relative: see `LabelledImage` and above.
    """

    name: str
    box: Sequence[float]
    crowd: bool = False
    difficult: bool = False
    relative: bool = False


class Collector:
    """Collects the labelled images of one source.

    Args:
        source: path of the labels, for messages.
        chosen: names of the classes in the order that the user chose; empty for those of the labels.
        class_names: names of the classes in the order of the labels; None takes those that occur, in alphabetical order.
        order: where the order of the labels comes from.
        box_orientation: `shown` or `stored`, the frame of the boxes in images that an EXIF tag rotates, where the labels' width and height do
            not tell; empty leaves such images out.
    """

    def __init__(
        self,
        source: str,
        chosen: tuple[str, ...],
        class_names: tuple[str, ...] | None = None,
        order: str = _BY_NAME,
        box_orientation: str = "",
    ) -> None:
        self._source = source
        self._given = chosen or class_names
        self._order = _GIVEN if chosen else order
        self._box_orientation = box_orientation
        self._images: dict[str, tuple[Picture, list[RawObject]]] = {}
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
        path = os.path.abspath(path)
        if path in self._images:
            self.problem("images listed twice, only the first labels used", path)
            return
        try:
            picture = read_picture(path)
        except limits.TooLarge:
            self.problem(
                "images that are larger than --max_megapixels or --max_image_megabytes allow, left out",
                path,
            )
            return
        except (OSError, ValueError):
            self.problem(
                "images that are damaged or not JPEG, PNG, GIF, BMP, WebP or TIFF, left out", path
            )
            return
        frames = picture.fitting(size)
        if not frames:
            self.problem("images whose size differs from that in the labels, left out", path)
            return
        frame = frames[0]
        if picture.is_turned:
            if len(frames) > 1:
                frame = self._box_orientation
            if not frame:
                self.problem(_TURNED, path)
                return
            self.problem(
                f"images rotated by an EXIF tag, with boxes in the image as it is {frame}", path
            )
        usable = (self._usable(each, path, picture, frame) for each in objects)
        self._images[path] = (picture, [each for each in usable if each is not None])

    def missing(self, name: str) -> None:
        """Counts an image that does not exist, by its name in the labels."""
        self._problems[_MISSING].append(name)

    def problem(self, kind: str, path: str) -> None:
        """Counts a problem with an image."""
        self._problems[kind].append(os.path.basename(path))

    def result(self) -> LabelledBoxes:
        """Returns all images; raises `RunError` if there are none, or no objects."""
        objects = [each for _, found in self._images.values() for each in found]
        names = self._given or tuple(sorted({each.name for each in objects}))
        index = {name: place for place, name in enumerate(names)}
        images = []
        for path in sorted(self._images):
            picture, found = self._images[path]
            images.append(
                LabelledImage(
                    path,
                    *picture.size,
                    np.array([each.box for each in found], np.float64).reshape(-1, 4),
                    np.array([index[each.name] for each in found], np.int64),
                    np.array([each.crowd for each in found], bool),
                    np.array([each.difficult for each in found], bool),
                    picture.is_turned,
                )
            )
        labels = LabelledBoxes(
            self._source,
            names,
            tuple(images),
            dict(self._problems),
            self._order,
            is_order_chosen=self._given is None,
        )
        if not objects:
            problems = "; ".join(labels.report[1:])
            raise RunError(
                f"{self._source} contains no box that can be used{f' ({problems})' if problems else ''}"
            )
        return labels

    def _usable(self, raw: RawObject, path: str, picture: Picture, frame: str) -> RawObject | None:
        """Returns an object with its box in pixels of the shown image and inside it; None if it cannot be used."""
        if not raw.name:
            self.problem("boxes without a class, left out", path)
            return None
        if self._given is not None and raw.name not in self._given:
            self.problem(
                f"boxes of the class {raw.name}, which is not among the classes, left out", path
            )
            return None
        width, height = picture.size_in(frame)
        limit = np.array([height, width] * 2, np.float64)
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
            self.problem("boxes that extend beyond their image, clipped", path)
        if raw.crowd:
            self.problem("boxes around crowds", path)
        if frame == STORED:
            inside = picture.shown(inside[np.newaxis])[0]
        return dataclasses.replace(raw, box=tuple(inside.tolist()), relative=False)


def check_classes(names: Sequence[str]) -> None:
    """Raises `ConfigError` if a class is listed twice."""
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--classes={','.join(names)} contains {twice[0]} twice; list each class once"
        )


def _once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
