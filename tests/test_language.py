"""Rules of CONTRIBUTING's style that a machine can check: names are unique, and prose uses the field's terms."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, project_files

FOLDERS = (
    *("configs", "datasets", "editing", "losses", "metrics", "models"),
    *("ops", "scripts", "training", "utils"),
)
TOP = {*FOLDERS, "train.py", "generate.py"}
FILES = [path for path in project_files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in TOP]
DOCUMENTS = [path for path in project_files() if path.suffix == ".md" and path.parent in (ROOT, ROOT / "docs")]
FRAGMENT = re.compile(r"(Of|What|Whether|As|That|How|Which|Likewise)\b")
# Retired words; say instead: discriminator loss, generator loss, continue or resume, again, generate or sample.
RETIRED = re.compile(
    r"\b(judges?|judged|judging|deceives?|go(es)? on|anew|likewise|meanwhile|drawings|micro-?pass(es)?|wish(es)?)\b",
    re.I,
)
SPELLING = re.compile(
    r"(regular|optim|normal|recogn|initial|quant|equal|material|minim|penal|synchron|vector)is[ei]\w+", re.I
)
KEYS = {'"drawings"'}  # of files, which keep them
STRINGS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield text


def prose(path: Path) -> Iterator[str]:
    """Yield all comments and strings of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in STRINGS and token.string not in KEYS:
            yield token.string


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_an_imperative_or_a_noun_phrase(path):
    assert [text.splitlines()[0] for text in docstrings(path) if FRAGMENT.match(text)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_uses_no_retired_words(path):
    assert [text for text in prose(path) if RETIRED.search(text) or SPELLING.search(text)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_use_no_retired_words(path):
    assert [
        line for line in path.read_text(encoding="utf-8").splitlines() if RETIRED.search(line) or SPELLING.search(line)
    ] == []


def test_module_names_are_unique():
    names = Counter(path.stem for path in FILES if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_class_names_are_unique():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in FILES]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1 and not name.startswith("_")] == []


def test_rules_find_what_they_look_for(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text('"""Of a thing."""\nx = 1  # the run goes on\ny = f"starts anew {x}"\n', encoding="utf-8")
    assert [text for text in docstrings(path) if FRAGMENT.match(text)]
    assert sum(1 for text in prose(path) if RETIRED.search(text)) == 2
    assert SPELLING.search("an optimiser")
    assert not SPELLING.search("an optimizer")
