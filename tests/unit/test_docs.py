"""What is written for people is what the code does."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from consumers.cli import cli
from consumers.settings import Settings
from consumers.settings.catalogue import NAMED_GROUPS, unit_of
from docs.build_reference import DOCS, pages
from tests.bench.demo_recording import recording as demo_recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(("file", "text"), list(pages().items()))
def test_generated_pages_are_up_to_date(file: str, text: str) -> None:
    """``make docs`` writes them."""
    assert (DOCS / file).read_text("utf-8") == text


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for name, info in Settings.model_fields.items():
        group: Any = NAMED_GROUPS.get(name, info.annotation)
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from ((f"{name}.{inner}", field) for inner, field in group.model_fields.items())
        yield name, info


@pytest.mark.parametrize(("name", "info"), list(_fields()))
def test_every_setting_says_what_it_means(name: str, info: FieldInfo) -> None:
    """With a unit for a number, and an example where there is no default."""
    assert len((info.description or "").split()) >= 3
    if name.count(".") and isinstance(info.default, float | int) and info.default is not None:
        assert unit_of(info) or isinstance(info.default, bool) or name == "http.port"
    if "." in name and info.default in (None, [], {}) and "Literal" not in str(info.annotation):
        assert info.examples


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_readme_names_every_command(command: str) -> None:
    """None is hidden, and none is promised that does not exist."""
    assert f"signinwatch {command}" in README


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
