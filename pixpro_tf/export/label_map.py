"""Classes of a detector with their numbers, and the label maps that list them."""

import dataclasses
import os
import re
from collections.abc import Iterable

from google.protobuf import text_encoding

from pixpro_tf.errors import RunError, first_line

# Text in double or single quotes; it may contain the other characters that have a meaning.
_QUOTED = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
_NAME = rf"\bname\s*:\s*({_QUOTED})"
_SHOWN = rf"\bdisplay_name\s*:\s*({_QUOTED})"
_ITEM = rf"\bitem\s*:?\s*\{{((?:{_QUOTED}|[^\}}\"'])*)\}}"


@dataclasses.dataclass(frozen=True)
class Label:
    """Class of objects: its number in the API, starting at 1, and its name."""

    id: int
    name: str


def number(names: Iterable[str]) -> tuple[Label, ...]:
    """Returns labels for names, numbered from 1 in their order."""
    return tuple(Label(index, name) for index, name in enumerate(names, start=1))


def label_map(labels: tuple[Label, ...]) -> str:
    """Returns the text of a label_map.pbtxt."""
    return "".join(
        f"item {{\n  id: {label.id}\n  name: {quoted(label.name)}\n}}\n" for label in labels
    )


def read_label_map(path: str) -> tuple[Label, ...]:
    """Returns the classes of a label_map.pbtxt, in the order of their numbers.

    In the API's own maps, a `name` such as "/m/01g317" is an identifier of Freebase, and `display_name` is the name of the class.

    Raises:
        RunError: if the file cannot be read, or is not a label map with unique numbers from 1 and unique names.
    """
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            text = re.sub(rf"({_QUOTED})|#.*", lambda found: found[1] or "", file.read())
    except (OSError, ValueError) as error:
        raise RunError(f"--label_map={path} cannot be read: {first_line(error)}") from error
    try:
        labels = _labels_in(text)
    except ValueError as error:
        raise RunError(
            f"--label_map={path} has a name with an invalid escape ({first_line(error)}); write \\\\ for a backslash"
        ) from error
    numbers, names = {label.id for label in labels}, {label.name for label in labels}
    num_items = len(re.findall(r"\bitem\s*:?\s*\{", re.sub(_QUOTED, "", text)))
    if not labels or labels[0].id < 1 or {len(numbers), len(names), len(labels)} != {num_items}:
        raise RunError(
            f"--label_map={path} is not a label map: each item needs an id of at least 1 and a name, all of them unique"
        )
    return tuple(labels)


def _labels_in(text: str) -> list[Label]:
    """Returns the complete items of a label map, by their ids; raises `ValueError` for a name with an invalid escape."""
    labels = []
    for item in re.findall(_ITEM, text):
        number, name = (
            re.search(r"\bid\s*:\s*(\d+)", re.sub(_QUOTED, "", item)),
            re.search(_NAME, item),
        )
        if number and name:
            shown = re.search(_SHOWN, item)
            chosen = shown if shown and _unquoted(name[1]).startswith("/") else name
            labels.append(Label(int(number[1]), _unquoted(chosen[1])))
    return sorted(labels, key=lambda label: label.id)


def _unquoted(text: str) -> str:
    """Returns the content of a quoted string of a text-format protocol buffer, which may contain the bytes of UTF-8 as octal numbers."""
    return text_encoding.CUnescape(text[1:-1]).decode("utf-8", "surrogateescape")


def quoted(text: str) -> str:
    """Quotes a string for a text-format protocol buffer."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
