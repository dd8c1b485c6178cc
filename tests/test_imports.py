"""Imports point one way: a module imports only from its own package and from those below it."""

import ast

import pytest

from tests.conftest import ROOT

# Names and numbers that need no TensorFlow and import nothing; everything may read them.
TABLES = {"backbones.architectures", "data.views.policies", "layers.layouts"}
# Each line imports from itself only within one package, and from the lines above it.
LINES = (
    {"ops", "errors", "keras2", "_version"} | TABLES,
    {"layers", "losses", "config", "optimizers", "data"},
    {"objectives", "backbones", "cli"},
    {"pixpro"},
    {"build"},
    {"storage"},
    {"evaluation", "interop"},
    {"training", "export", "data_service", "tfrecords", "visualize"},
    {"pretraining"},
    {"train.py", "export/", "benchmarks", "examples"},
)
# What some packages import, beside errors and keras2: less than their line allows.
ONLY = {"data": {"data", "ops"}, "ops": {"ops"}, "losses": {"ops"}, "layers": {"layers", "ops"}}


def package_modules():
    package = ROOT / "pixpro_tf"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__")
        if name:
            yield name.rstrip("."), path


def programs():
    """What uses the package, by its line's name."""
    yield "train.py", ROOT / "train.py"
    for folder, name in (
        ("export", "export/"),
        ("benchmarks", "benchmarks"),
        ("examples", "examples"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield name, path


MODULES = [*package_modules(), *programs()]
KNOWN = {name for name, _ in package_modules()}


def imported(path):
    """Modules of the package that a file imports, without the package's name; imports inside functions count."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pixpro_tf"):
            parent = node.module.removeprefix("pixpro_tf").lstrip(".")
            for alias in node.names:
                name = f"{parent}.{alias.name}".lstrip(".")
                found.add(name if name in KNOWN else parent)
    return found - {""}


def top(module):
    return module.split(".")[0]


def line_of(module):
    for number, names in enumerate(LINES):
        if top(module) in names or module in names:
            return number
    raise AssertionError(f"{module} is in no line; add it")


@pytest.mark.parametrize(
    ("module", "path"), MODULES, ids=[str(path.relative_to(ROOT)) for _, path in MODULES]
)
def test_a_module_imports_from_its_own_package_or_from_below(module, path):
    for other in imported(path):
        assert top(module) == top(other) or line_of(other) < line_of(module), f"imports {other}"
        allowed = ONLY.get(top(module))
        assert allowed is None or top(other) in allowed | {"errors", "keras2"}, f"imports {other}"


def test_the_check_sees_imports():
    assert {"pixpro", "storage.run_folder", "data.sources"} <= imported(
        ROOT / "pixpro_tf" / "training" / "run.py"
    ) | imported(ROOT / "pixpro_tf" / "training" / "session.py")
