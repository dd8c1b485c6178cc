"""Parts of a measurement that are finished, in a file, so that an interrupted one does not repeat them."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

from pixpro_tf.storage.checkpoint_files import write_atomically


class Parts:
    """Results of finished parts by their names.

    Args:
        path: path of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: dict[str, Any] = {"seconds": {"training": 0.0, "measuring": 0.0}}
        if os.path.exists(path):
            with open(path) as file:
                self._found = json.load(file)

    def __call__(self, name: str, measure: Callable[[], Any]) -> Any:
        """Returns the result of a part, which is measured unless it is finished."""
        if name not in self._found:
            started = time.process_time()
            self._found[name] = measure()
            self.spent("measuring", time.process_time() - started)
        return self._found[name]

    @property
    def seconds(self) -> dict[str, float]:
        """Processor time of all starts for "training" and "measuring"; other work on the machine does not change it."""
        return self._found["seconds"]

    def spent(self, name: str, seconds: float) -> None:
        """Adds to the time and writes the file."""
        self.seconds[name] = round(self.seconds[name] + seconds, 1)
        write_json(self._path, self._found)

    def remove(self) -> None:
        """Deletes the file, once its content is in the result."""
        os.remove(self._path)


def write_json(path: str, content: dict[str, Any]) -> None:
    """Writes a file, which is complete or does not change."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, json.dumps(content, indent=2))
