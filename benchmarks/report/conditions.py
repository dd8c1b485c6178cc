"""Conditions of runs and results, in a file beside them, so that those of different plans are not mixed."""

import glob
import json
import os
from typing import Any

from benchmarks.report.parts import write_json
from benchmarks.report.place import Place
from benchmarks.report.plan import Plan
from pixpro_tf.errors import RunError

_FILE = "conditions.json"


def check_conditions(plan: Plan, place: Place) -> None:
    """Records the conditions of the runs and results, and rejects those of other conditions.

    Args:
        plan, place: plan and folders of the report.

    Raises:
        RunError: if `work_dir` or `measurements` comes from a plan that differs in what results depend on, or from an unknown one.
    """
    recorded = {}
    for flag_name in ("work_dir", "measurements"):
        folder = getattr(place, flag_name)
        before = _read(folder)
        if before is None and glob.glob(os.path.join(glob.escape(folder), "*.json")):
            raise RunError(
                f"--{flag_name}={folder} contains results without their conditions, which would be in {os.path.join(folder, _FILE)}; use another folder"
            )
        if names := differences(plan, folder):
            raise RunError(
                f"--{flag_name}={folder} contains results of a different plan, which differs in {', '.join(names)}; use another folder"
            )
        recorded[folder] = (before or {}) | plan.conditions()
    for folder, conditions in recorded.items():
        write_json(os.path.join(folder, _FILE), conditions)


def differences(plan: Plan, folder: str) -> list[str]:
    """Returns the names of the conditions in which a plan differs from the results in a folder.

    Methods that only one of them has do not differ. A folder without conditions does not differ either.
    """
    before = _read(folder)
    if before is None:
        return []
    # Results of plans that score no other splits were recorded without this condition.
    before = {"other_splits": []} | before
    now = plan.conditions()
    return [name for name in now if before.get(name, now[name]) != now[name]]


def _read(folder: str) -> dict[str, Any] | None:
    path = os.path.join(folder, _FILE)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return json.load(file)
