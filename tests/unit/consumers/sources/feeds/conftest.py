"""Fixtures of the feeds' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.feeds import Worlds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Worlds]:
    """Return where worlds are opened."""
    made = Worlds(tmp_path)
    yield made
    for world in made.all:
        world.close()
