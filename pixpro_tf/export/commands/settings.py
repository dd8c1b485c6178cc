"""Flags that all exports share, and the factory of their commands."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.settings import BackboneSettings, allow_unfinished_flag, overwrite_flag
from pixpro_tf.config.flag import flag, required


def label_map_flag() -> str:
    """Returns the flag `--label_map` of the exports with one's own boxes."""
    return flag(
        "",
        "Data",
        "label_map.pbtxt that numbers the classes of --labels; empty numbers them from 1",
        used_by={"labels": ()},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(BackboneSettings):
    """Flags of every export: the backbone and the output."""

    allow_unfinished: bool = allow_unfinished_flag()
    output: str = required("Output", "folder to create", path=True)
    overwrite: bool = overwrite_flag()

    @property
    def common_arguments(self) -> dict[str, Any]:
        """Keyword arguments that the library function of every export takes."""
        return {
            "network": self.network or None,
            "allow_unfinished": self.allow_unfinished,
            "overwrite": self.overwrite,
        }


AnySettings = TypeVar("AnySettings", bound=ExportSettings)


def command(
    settings: type[AnySettings], name: str, doc: str | None, run: Callable[[AnySettings], None]
) -> Command[AnySettings]:
    """Returns the command of the export `name`; see `Command` for the other arguments."""

    return Command(settings, doc, f"python -m export.{name}", run, f"pixpro-export {name}")
