"""Separate environments of the consumers of exports, created once next to that of the project."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pixpro_tf.keras2 import LEGACY_KERAS_VARIABLE
from tests.conftest import ROOT

CONSUMERS = ROOT / "tests" / "export" / "consumers"


@pytest.fixture(scope="session")
def consume(tmp_path_factory):
    """Runs `consumers/SCRIPT.py EXPORT DATA RESULT` in the environment of `consumers/NAME.txt` and returns the result."""

    def run(name, export, script=None, **arrays):
        folder = tmp_path_factory.mktemp(name)
        np.savez(folder / "data.npz", **arrays)
        path = CONSUMERS / f"{script or name}.py"
        process = subprocess.run(
            [environment(name), path, export, folder / "data.npz", folder / "result.json"],
            capture_output=True,
            text=True,
            cwd=folder,
            # The consumer uses its own Keras, whichever one this project has selected.
            env={key: value for key, value in os.environ.items() if key != LEGACY_KERAS_VARIABLE},
            timeout=900,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return json.loads((folder / "result.json").read_text())

    return run


def environment(name, requirements=None):
    """Returns the interpreter of an environment of its own, which is set up if it is missing or its requirements have changed.

    Args:
        name: name of the environment.
        requirements: file of its requirements; by default `consumers/NAME.txt`. Those of `consumers/NAME_alone.txt` follow, without
            their dependencies.
    """
    requirements = requirements or CONSUMERS / f"{name}.txt"
    alone = CONSUMERS / f"{name}_alone.txt"
    wanted = "".join(path.read_text() for path in (requirements, alone) if path.exists())
    folder = ROOT / f".venv-{name}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists() or ready.read_text() != wanted:
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([*install, "--upgrade", "pip"], check=True)
        subprocess.run([*install, "-r", requirements], check=True)
        if alone.exists():
            subprocess.run([*install, "--no-deps", "-r", alone], check=True)
        ready.write_text(wanted)
    return python
