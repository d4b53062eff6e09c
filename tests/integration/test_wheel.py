"""The wheel is whole: the demo runs from it in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def readme_sample() -> list[str]:
    """Return the demo's output as the README shows it, without what it leaves out (``…``)."""
    text = (ROOT / "README.md").read_text("utf-8")
    sample = text.split("$ make demo\n")[1].split("```")[0]
    return [line for line in sample.splitlines() if line != "…"]


def test_the_demo_runs_from_the_wheel(tmp_path: Path) -> None:
    """With nothing of the source tree in sight."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    source = tmp_path / "source"
    git = shutil.which("git")
    assert git is not None
    subprocess.run([git, "clone", "--quiet", ROOT, source], check=True)
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert (installed / "consumers" / "service" / "runbook.md").is_file(), "it is served"
    ran = subprocess.run(
        [sys.executable, "-c", "import consumers.cli as c; print(c.__file__); c.main()", "demo"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert (installed / "signinwatch.py").is_file(), "for python -m signinwatch"
    assert ran.stdout.startswith(str(installed))
    assert "seeded malicious IPs were found" in ran.stdout
    printed = iter(line.rstrip() for line in ran.stdout.splitlines())
    assert [line for line in readme_sample() if line not in printed] == []
    assert [path.name for path in empty.iterdir()] == ["signinwatch-demo-findings.jsonl"]
