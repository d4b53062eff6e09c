"""Linters of files that are no Python: strict as soon as pyproject.toml asks for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.unit.deploy.dockerfile import ROOT


def complaints(package: str, program: str, *arguments: str) -> str:
    """Run a linter on a file; return what it says, empty if nothing.

    Skips, and says so, only while *package* is not among the extra ``dev``.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    declared = any(
        one.startswith(package) for one in project["project"]["optional-dependencies"]["dev"]
    )
    found = shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        assert not declared, f"{package} is in the extra dev, and is not installed"
        pytest.skip(f"{package} is not in the extra dev yet")
    ran = subprocess.run(
        [found, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return "" if ran.returncode == 0 else f"{ran.stdout}{ran.stderr}" or "failed without a word"
