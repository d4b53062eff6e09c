"""What a newcomer with an old Python is told, before anything is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _python(path: Path, version: str) -> Path:
    """Write a program that runs code as a Python of *version* would, as far as it asks for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = f"import sys; sys.version_info = ({version}); exec(sys.argv[1])"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n')
    path.chmod(0o755)
    return path


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "Makefile", folder)
    for needed in ("requirements-demo.lock", "requirements-dev.lock", "pyproject.toml"):
        (folder / needed).touch()
    return subprocess.run(
        ["make", *arguments],  # noqa: S607 - the make that is there
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize("version", ["3, 9, 7", "2, 7, 18"])
def test_an_old_python_is_told_in_one_line(tmp_path: Path, target: str, version: str) -> None:
    """Which version was found, and how to name another; no .venv is made."""
    old = _python(tmp_path / "old", version)
    ran = _make(tmp_path, target, f"PYTHON={old}")
    first, *rest = ran.stderr.splitlines()
    major, minor, _ = version.split(", ")
    assert ran.returncode == 2
    assert f"needs Python 3.11 or newer, and {old} is {major}.{minor}" in first
    assert all(line.startswith("make:") for line in rest)
    assert not (tmp_path / ".venv").exists()


def test_an_old_virtual_environment_is_not_used(tmp_path: Path) -> None:
    """It is made anew, and what was installed in it counts no more."""
    _python(tmp_path / ".venv" / "bin" / "python", "3, 9, 7")
    (tmp_path / ".venv" / ".installed").touch()
    ran = _make(tmp_path, "-n", "demo", f"PYTHON={_python(tmp_path / 'new', '3, 12, 1')}")
    assert "older than 3.11, or none: it is made anew" in ran.stdout
    assert "-m venv .venv" in ran.stdout
    assert not (tmp_path / ".venv").exists()


def test_a_fitting_one_is_kept(tmp_path: Path) -> None:
    """Nothing is said, and nothing is made."""
    kept = _python(tmp_path / ".venv" / "bin" / "python", "3, 11, 0")
    ran = _make(tmp_path, "-n", "clean")
    assert "made anew" not in ran.stdout
    assert kept.exists()
