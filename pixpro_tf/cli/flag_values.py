"""Values of flags, read from the text of a command line; a text that is not such a value is reported in plain words."""

from collections.abc import Callable
from typing import Any

from absl import flags

from pixpro_tf.config.flag import AUTO


class _Parser(flags.ArgumentParser):
    """Parser of the values of a flag.

    Args:
        name: name of the flag.
        read: function that returns the value of a text, or raises `ValueError`.
        wanted: description of the values, for messages, e.g. "a number".
    """

    def __init__(self, name: str, read: Callable[[str], Any], wanted: str) -> None:
        super().__init__()
        self.name, self.read, self.wanted = name, read, wanted

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            # The default.
            return argument
        try:
            return self.read(argument)
        except ValueError:
            # Any other error would be wrapped by absl into words of its own.
            raise flags.Error(f"--{self.name}={argument} is not {self.wanted}") from None


def parser_of(name: str, default: Any, automatic: bool = False) -> "flags.ArgumentParser[Any]":
    """Returns the parser of a flag.

    Args:
        name: name of the flag.
        default: default value, which determines the type.
        automatic: whether a whole number may also be `auto`.
    """
    if isinstance(default, bool):
        boolean = f"a boolean; use --{name} or --no{name}"
        return _Parser(name, flags.BooleanParser().parse, boolean)
    if isinstance(default, int):
        if automatic:
            return _Parser(name, _integer_or_auto, "a whole number or auto")
        return _Parser(name, _integer, "a whole number")
    if isinstance(default, float):
        return _Parser(name, float, "a number")
    if isinstance(default, tuple):
        kind = type(default[0])
        example = "whole numbers, e.g. 1,2" if kind is int else "numbers, e.g. 0.01,0.1"
        return _Parser(name, lambda text: _several(kind, text), f"a list of {example}")
    return flags.ArgumentParser()


def _integer(text: str) -> int:
    return flags.IntegerParser().parse(text)


def _integer_or_auto(text: str) -> int:
    return AUTO if text == "auto" else _integer(text)


def _several(kind: type, text: str) -> tuple[Any, ...]:
    return tuple(kind(part.strip()) for part in text.split(","))
