"""Names are the field's, and each has one meaning; what is too long to read at once is refused."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for top in ("schemas", "consumers", "producers")
    for path in (ROOT / top).rglob("*.py")
)
LONGEST_FILE = 400
LONGEST_FUNCTION = 70
PRIVATE_WORDS = frozenset(
    "told lately turns parked parking judging learning asker asked unsaid "
    "moment trouble troubles mend mends watch one some".split()
)
"""Words that name nothing to a reader from the field; see the words in ``docs/concepts.md``."""


def _names(path: str) -> set[str]:
    """Return the identifiers of a file."""
    text = (ROOT / path).read_text("utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


@pytest.mark.parametrize("path", FILES)
def test_identifiers_are_words_of_the_field(path: str) -> None:
    """Whole names and the parts of a name that underscores divide."""
    found = {
        name for name in _names(path) if PRIVATE_WORDS & set(name.strip("_").lower().split("_"))
    }
    assert found == set()


def test_a_class_name_has_one_meaning() -> None:
    """Over all packages."""
    defined = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                defined[node.name].append(path)
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("path", FILES)
def test_files_and_functions_are_short(path: str) -> None:
    """A file is read in one sitting, a function at one look."""
    text = (ROOT / path).read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ] == []
