"""Tests of the import order: a module imports only from its own package and from packages below it."""

import ast

import pytest

from tests.conftest import ROOT

# Tables of names and numbers that do not need TensorFlow and import nothing; every module may import them.
TABLES = {
    "backbones.architectures",
    "data.limits",
    "data.views.channels",
    "data.views.policies",
    "layers.layouts",
}
# Packages by line: a package imports from itself and from the lines above its own, not from other packages in its line.
LINES = (
    {"ops", "errors", "keras2", "keras_arguments", "_version"} | TABLES,
    {"layers", "losses", "config", "optimizers", "data"},
    {"objectives", "backbones", "cli"},
    {"pixpro"},
    {"build", "pretrained"},
    {"storage"},
    {"evaluation", "interop"},
    {"training", "export", "data_service", "statistics", "tfrecords", "visualize"},
    {"pretraining"},
    {"train.py", "export/", "benchmarks", "examples"},
)
# Packages that may import less than their line allows: only these, errors and keras2.
ONLY = {"data": {"data", "ops"}, "ops": {"ops"}, "losses": {"ops"}, "layers": {"layers", "ops"}}


def package_modules():
    package = ROOT / "pixpro_tf"
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__")
        if name:
            yield name.rstrip("."), path


def programs():
    """Yields the files that use the package, by their name in LINES."""
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
    """Returns the modules of the package that a file imports, also inside functions, without the name of the package."""
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
    raise AssertionError(f"LINES does not contain {module}; add it")


@pytest.mark.parametrize(
    ("module", "path"), MODULES, ids=[str(path.relative_to(ROOT)) for _, path in MODULES]
)
def test_a_module_imports_only_from_its_own_package_or_from_below(module, path):
    for other in imported(path):
        assert top(module) == top(other) or line_of(other) < line_of(module), f"imports {other}"
        allowed = ONLY.get(top(module))
        assert allowed is None or top(other) in allowed | {"errors", "keras2"}, f"imports {other}"


def test_imported_finds_imports():
    assert {"pixpro", "storage.run_folder", "data.sources"} <= imported(
        ROOT / "pixpro_tf" / "training" / "run.py"
    ) | imported(ROOT / "pixpro_tf" / "training" / "session.py")


@pytest.mark.parametrize("path", [path for _, path in MODULES], ids=lambda path: path.stem)
def test_a_file_has_at_most_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400
