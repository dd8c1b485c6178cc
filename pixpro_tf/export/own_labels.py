"""One's own boxes for the exports: the classes, and the images to train and to evaluate on."""

from typing import Protocol

from pixpro_tf.data.labelled import boxes
from pixpro_tf.errors import ConfigError
from pixpro_tf.export.label_map import Label, number, read_label_map
from pixpro_tf.export.records import LabelsPart, Part


class OwnLabels(Protocol):
    """Where one's own boxes are.

    Attributes:
        labels, images, evaluation_labels, evaluation_images, box_orientation: see `boxes.read_parts`.
        label_map: file that numbers the classes; empty numbers them from 1.
    """

    @property
    def labels(self) -> str: ...

    @property
    def images(self) -> str: ...

    @property
    def evaluation_labels(self) -> str: ...

    @property
    def evaluation_images(self) -> str: ...

    @property
    def box_orientation(self) -> str: ...

    @property
    def label_map(self) -> str: ...


def check_classes(classes: tuple[str, ...], label_map: str) -> None:
    """Raises `ConfigError` if the classes are in two flags."""
    if classes and label_map:
        raise ConfigError(
            "--classes and --label_map cannot be combined, because a label map has its own classes; remove one of them"
        )


def open_labels(
    given: OwnLabels, classes: tuple[str, ...] = ()
) -> tuple[tuple[Label, ...], dict[str, list[Part]]]:
    """Reads one's own labels, and prints how many there are and what is wrong in them.

    Args:
        given: where they are.
        classes: names of the classes in their order; empty for those of the label map, or all.

    Returns:
        The classes, and the images by the name of their records, "train" and "evaluation".

    Raises:
        UserError: if the labels cannot be used.
    """
    mapped = read_label_map(given.label_map) if given.label_map else ()
    train, evaluation, lines = boxes.read_parts(
        given.labels,
        given.images,
        given.evaluation_labels,
        given.evaluation_images,
        tuple(label.name for label in mapped) or classes,
        given.box_orientation,
    )
    numbers = [label.id for label in mapped]
    order = f"numbered by --label_map={given.label_map}" if mapped else ""
    lines.append(train.classes_line("--classes or --label_map", numbers, order))
    print("\n".join(lines))
    parts: dict[str, list[Part]] = {
        "train": [LabelsPart(train)],
        "evaluation": [LabelsPart(evaluation)],
    }
    return mapped or number(train.class_names), parts
