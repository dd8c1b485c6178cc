"""Content of the public interface's docstrings; pytest runs their examples, because pyproject.toml sets --doctest-modules."""

import importlib
import inspect
import pkgutil
import re

import pytest

import pixpro_tf

DOCUMENTED = ("ops", "losses", "layers", "objectives", "optimizers.lars", "optimizers.schedules")
# Their examples would train for minutes, or need the files of such a run; tests/test_public_api.py runs such calls.
SKIPPED = {"pixpro_tf.pretrain", "pixpro_tf.Run", "pixpro_tf.load_backbone"}


def modules():
    for name in DOCUMENTED:
        module = importlib.import_module(f"pixpro_tf.{name}")
        yield module
        for info in pkgutil.iter_modules(getattr(module, "__path__", []), f"{module.__name__}."):
            yield importlib.import_module(info.name)


def documented():
    """Returns the public functions and classes by name."""
    found = {
        f"pixpro_tf.{name}": getattr(pixpro_tf, name)
        for name in pixpro_tf.__all__
        if name != "__version__"
    }
    for module in modules():
        for name, value in vars(module).items():
            is_own = getattr(value, "__module__", "") == module.__name__
            if (
                is_own
                and not name.startswith("_")
                and inspect.isroutine(value) | inspect.isclass(value)
            ):
                found[f"{module.__name__}.{name}"] = value
    return found


ALL = documented()


def test_many_names_are_documented():
    assert len(ALL) > 50


@pytest.mark.parametrize("name", ALL)
def test_docstring_has_example_that_runs(name):
    lines = (inspect.getdoc(ALL[name]) or "").splitlines()
    examples = [line for line in lines if line.strip().startswith(">>>")]
    assert len(examples) > 1
    skipped = [line for line in examples if "+SKIP" in line]
    assert not skipped or name in SKIPPED


@pytest.mark.parametrize("name", ALL)
def test_source_has_link(name):
    text = inspect.getdoc(ALL[name]) or ""
    for source in re.findall(r"^Source: .*(?:\n +.*)*", text, re.M):
        assert "https://" in source
