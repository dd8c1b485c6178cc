"""The mechanical part of how the project writes: docstrings, help texts and messages. CONTRIBUTING.md has the glossary."""

import ast
import importlib
import re

import pytest

from tests.cli.test_command_line import COMMANDS
from tests.conftest import ROOT

PREPOSITIONS = (
    *("about", "across", "after", "against", "among", "as", "at", "before", "behind", "beside"),
    *("between", "beyond", "by", "during", "for", "from", "in", "inside", "into", "of", "off"),
    *("on", "onto", "over", "per", "through", "to", "under", "until", "up", "upon", "with"),
    *("within", "without"),
)
STARTS_WITH_PREPOSITION = re.compile(rf"(?:{'|'.join(PREPOSITIONS)})\b(?!-)", re.I)
# Words and phrases with the plain ones that replace them.
PLAIN = {
    r"\b(?:is|are) no (?!longer|more|less)": "is not a",
    r"\bthere (?:is|are) no\b": "not found, does not contain",
    r"\bmend\b": "fix",
    r"\banew\b": "again",
    r"\bin the place of\b": "instead of",
    r"\bby way of\b": "through",
    r"\bunheard\b": "unused",
    r"\bpassed over\b": "skipped",
    r"\bleave it out\b": "remove it",
    r"\bis there already\b": "already exists",
    r"\boptimis(?:er|ers)\b": "optimizer",
    r"\bbins found again\b": "dense matching accuracy",
}
FILES = sorted(
    path
    for folder in ("pixpro_tf", "export", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in (ROOT / "docs").rglob("*.md") if "report" not in path.parts),
]
name_of = lambda path: str(path.relative_to(ROOT))  # noqa: E731


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield getattr(node, "name", "module"), ast.get_docstring(node) or " "


def descriptions(docstring):
    """The first line, and the text of each entry of Args, Attributes and Returns."""
    yield docstring.splitlines()[0]
    for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", docstring, re.M):
        yield from re.findall(r"^    [\w, *]+: (.*)", section, re.M)


def strings(tree):
    """All texts of a module that are not docstrings."""
    known = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in known:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_docstring_starts_with_a_preposition(path):
    for name, docstring in docstrings(ast.parse(path.read_text())):
        for text in descriptions(docstring):
            assert not STARTS_WITH_PREPOSITION.match(text), f"{name}: {text}"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_text_starts_with_a_preposition(name):
    settings = importlib.import_module(name).main.settings
    for field in settings.__dataclass_fields__.values():
        text = field.metadata["help"]
        assert not STARTS_WITH_PREPOSITION.match(text), f"--{field.name}: {text}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_texts_use_the_plain_word(path):
    tree = ast.parse(path.read_text())
    texts = [*strings(tree), *(text for _, text in docstrings(tree))]
    for text in texts:
        for pattern, plain in PLAIN.items():
            assert not re.search(pattern, text), f"{pattern} -> {plain}: {text}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_comments_do_not_start_with_a_preposition(path):
    for comment in re.findall(r"^\s*# (.*)", path.read_text(), re.M):
        for pattern in PLAIN:
            assert not re.search(pattern, comment), comment


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_use_the_plain_word(path):
    text = path.read_text()
    for pattern in PLAIN:
        assert not re.search(pattern, text), pattern
