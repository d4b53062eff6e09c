"""Who may import whom: a package imports those above it in the list, and no other.

Types count as imports.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (
    "schemas",
    "consumers/clock.py",
    "consumers/event_time.py",
    "consumers/coalesce.py",
    "consumers/html.py",
    "consumers/settings",
    "consumers/ledger",
    "consumers/sources",
    "consumers/enrichment",
    "consumers/pipeline",
    "consumers/inputs",
    "consumers/service",
    "producers",
    "consumers/wiring",
    "consumers/commands",
    "consumers/cli.py",
)
FILES = [
    path.relative_to(ROOT).as_posix()
    for top in ("schemas", "consumers", "producers")
    for path in sorted((ROOT / top).rglob("*.py"))
    if path.name != "__init__.py" or path.parent.name == "demo"
]
MODULES = {
    one.removesuffix(".py").removesuffix("/__init__").replace("/", "."): one for one in FILES
}


def layer(path: str) -> int:
    """Return the place of a file in the order."""
    return next(n for n, top in enumerate(LAYERS) if path == top or path.startswith(f"{top}/"))


def imported(path: str) -> set[str]:
    """Return the files of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {MODULES[name] for name in names if name in MODULES}
    return found - {path}


@pytest.mark.parametrize("path", FILES)
def test_imports_go_up_the_list(path: str) -> None:
    """Data flows down the list, imports point up. Wiring and commands import producers."""
    outer = path.startswith(("producers/", "consumers/wiring/", "consumers/commands/"))
    wrong = {
        other
        for other in imported(path)
        if layer(other) > layer(path)
        or (path.startswith("producers/") and other.startswith("consumers/"))
        or (other.startswith("producers/") and not outer)
    }
    assert wrong == set()
