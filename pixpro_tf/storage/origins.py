"""Origin of trained weights in words, for the READMEs of exports."""

from collections.abc import Sequence
from typing import Any

from pixpro_tf.build import build_objectives
from pixpro_tf.config import Config

# Names by the classes of the objectives; the class of a custom objective is its name.
_TITLES = {
    "PixelConsistency": "PixPro",
    "PixelContrast": "PixContrast",
    "InstanceRegression": "instance regression",
    "InstanceContrast": "instance contrast",
}


def of_run(config: Config, description: dict[str, Any]) -> str:
    """Returns the origin of the weights in a run folder.

    Args:
        config: configuration of the run.
        description: content of its `config.json`.

    Examples:
        >>> import pixpro_tf
        >>> from pixpro_tf.storage import origins
        >>> origins.of_run(pixpro_tf.Config(instance_weight=1), {"num_images": 5000})
        'pre-trained without labels with PixPro and instance regression, using pixpro_tf'
    """
    if imported := imported_from(description):
        return _of_imported(imported)
    return _of_objectives(objectives_of(config, description))


def objectives_of(config: Config, description: dict[str, Any]) -> list[str]:
    """Returns the classes of a run's objectives; descriptions written before they contained them have those of the flags."""
    return description.get("objectives") or class_names(build_objectives(config))


def class_names(objectives: Sequence[Any]) -> list[str]:
    """Returns the names of the classes of objectives."""
    return [type(objective).__name__ for objective in objectives]


def imported_from(description: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what `config.json` says about imported weights; None for a run, also for one that another program has begun."""
    return None if description["num_images"] else description.get("imported")


def of_card(card: dict[str, Any]) -> str:
    """Returns the origin of the weights that a model card describes; older cards do not contain the objectives."""
    if imported := card.get("imported"):
        return _of_imported(imported)
    return _of_objectives(card.get("objectives") or [])


def of_published(handle: str) -> str:
    """Returns the origin of published weights, see `pretrained.read`."""
    return f"with the weights of `{handle}`"


def _of_imported(imported: dict[str, Any]) -> str:
    return (
        "with weights that pixpro_tf imported from the PyTorch checkpoint `{file}` ({kind})".format(
            **imported
        )
    )


def _of_objectives(names: Sequence[str]) -> str:
    titles = " and ".join(_TITLES.get(name, name) for name in names)
    return f"pre-trained without labels with {titles + ', using ' if titles else ''}pixpro_tf"
