"""Imports point one way: a module imports only from layers below its own."""

import ast

import pytest

from tests.conftest import ROOT

LAYERS = (
    {"stack", "errors", "graphs", "signals"},
    {"checkpoint_files", "handles"},
    {"blocks", "commands", "config", "geometry", "numerics"},
    {"convolution", "losses", "normalization", "diagnostics"},
    {"data.randomness", "data.scene_renderer"},
    {"heads", "optimizers", "data"},
    {"backbones", "encoder", "propagation", "strategy"},
    {"objectives"},
    {"pixpro"},
    {"checkpoints", "run_folder", "view_pictures", "model_card"},
    {"trained"},
    {"interop", "initialization", "callbacks", "reusable"},
    {"evaluation", "export"},
    {"data_service", "tfrecords", "visualize"},
    {"training"},
    {"command_line", "interop.torch.importing", "interop.torch.__main__"},
)
DATA_MAY_IMPORT = {"data", "errors", "graphs", "stack"}


def modules():
    package = ROOT / "pixpro_tf"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        if not name.endswith("__init__"):
            yield name, path


def imported(path):
    """Modules of the package that a file imports, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pixpro_tf"):
            parent = node.module.removeprefix("pixpro_tf").lstrip(".")
            for alias in node.names:
                name = f"{parent}.{alias.name}".lstrip(".")
                known = {module for module, _ in modules()}
                packages = {module.split(".")[0] for module in known}
                found.add(name if name in known or name in packages else parent)
    return found - {""}


def layer_of(module):
    for level, names in enumerate(LAYERS):
        if module in names:
            return level
    for level, names in enumerate(LAYERS):
        if module.split(".")[0] in names:
            return level
    raise AssertionError(f"{module} is in no layer; add it")


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_a_module_imports_from_its_own_package_or_from_below(module, path):
    for other in imported(path):
        same_package = module.split(".")[0] == other.split(".")[0]
        assert same_package or layer_of(other) < layer_of(module), f"{module} imports {other}"


def test_data_knows_nothing_of_models():
    for module, path in modules():
        if module.startswith("data."):
            assert {name.split(".")[0] for name in imported(path)} <= DATA_MAY_IMPORT, module


def test_the_check_sees_imports():
    assert {"pixpro", "callbacks", "data.sources"} <= imported(ROOT / "pixpro_tf" / "training.py")
