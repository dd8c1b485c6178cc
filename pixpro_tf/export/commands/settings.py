"""Flags that all exports have."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from pixpro_tf.cli.commands import Command
from pixpro_tf.cli.outputs import check_output
from pixpro_tf.cli.settings import BackboneSettings
from pixpro_tf.config.flag import flag, required


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(BackboneSettings):
    """What is exported, and where to."""

    allow_unfinished: bool = flag(False, "Backbone", "take a run that has not made all its steps")
    output: str = required("Output", "folder to make")
    overwrite: bool = flag(False, "Output", "replace an output")

    @property
    def common_arguments(self) -> dict[str, Any]:
        """Arguments that every export's library takes, by name."""
        return {
            "network": self.network or None,
            "allow_unfinished": self.allow_unfinished,
            "overwrite": self.overwrite,
        }


AnySettings = TypeVar("AnySettings", bound=ExportSettings)


def command(
    settings: type[AnySettings], name: str, doc: str | None, run: Callable[[AnySettings], None]
) -> Command[AnySettings]:
    """The command of an export, called `name`; the rest is as of `Command`."""

    def checked(settings: AnySettings) -> None:
        check_output(settings.source, settings.output, settings.overwrite)
        run(settings)

    return Command(settings, doc, f"python -m export.{name}", checked, f"pixpro-export {name}")
