"""What is written for people is what the code does."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from consumers.cli import cli
from consumers.settings import PREFIX, Settings
from tests import reference
from tests.bench.demo_recording import recording as demo_recording

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_reference_is_up_to_date() -> None:
    """``python -m tests.reference`` writes it."""
    assert reference.FILE.read_text("utf-8") == reference.build()


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_readme_names_every_command(command: str) -> None:
    """None is hidden, and none is promised that does not exist."""
    assert f"signinwatch {command}" in README


@pytest.mark.parametrize("group", sorted(Settings.model_fields))
def test_the_readme_or_its_reference_names_every_setting(group: str) -> None:
    """By the name of its variable."""
    assert f"{PREFIX}{group.upper()}" in README + reference.FILE.read_text("utf-8")


def test_the_demo_recording_is_what_its_generator_makes() -> None:
    """Nobody edited it by hand; compared unpacked, for packers differ."""
    shipped = ROOT / "producers" / "demo"
    for name, content in demo_recording.build().items():
        kept = (shipped / name).read_bytes()
        if name.endswith(".gz"):
            kept, content = gzip.decompress(kept), gzip.decompress(content)
        assert kept == content, name


def test_lock_files_name_no_registry() -> None:
    """They hold names, versions and hashes."""
    for name in ("requirements.lock", "requirements-demo.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text
        assert "--hash=sha256:" in text
