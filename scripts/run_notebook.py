"""Executes a notebook in an empty folder, and stores it with its outputs as the docs show them.

    python scripts/run_notebook.py examples/pretrain.ipynb [--check]

`--check` executes it and does not store anything. Log messages and paths of this machine are left out of the outputs, and figures are reduced.
"""

import base64
import io
import os
import re
import sys
import tempfile

import nbformat
from nbclient import NotebookClient
from PIL import Image

_MAX_WIDTH = 800
_SECONDS = 1200


def executed(path: str) -> nbformat.NotebookNode:
    """The notebook with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=_SECONDS, resources={"metadata": {"path": folder}}
        )
        client.execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                cell.outputs = [each for each in map(_presentable, cell.outputs) if each]
    # The kernel notes its own version.
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def _presentable(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    if output.output_type == "stream":
        if output.name == "stderr":
            return None
        text = re.sub(r"^INFO:.*\n?", "", output.text, flags=re.M)
        output.text = text.replace(sys.executable, "python")
        return output if output.text else None
    elif png := output.get("data", {}).get("image/png"):
        output.data["image/png"] = _reduced(png)
    return output


def _reduced(png: str) -> str:
    with Image.open(io.BytesIO(base64.b64decode(png)), formats=["PNG"]) as image:
        reduced = image.convert("RGB")
    reduced.thumbnail((_MAX_WIDTH, 10 * _MAX_WIDTH), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    reduced.quantize(256).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code."""
    (path,) = [argument for argument in arguments if argument != "--check"]
    # The kernel imports the package of this checkout.
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    notebook = executed(path)
    if "--check" not in arguments:
        nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
