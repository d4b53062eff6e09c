"""The demo: a recording of an invented company, what CrowdSec would say, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True)
class Demo:
    """What the package brings along."""

    recording: Traversable
    """Newline-delimited event hub messages, gzipped."""
    crowdsec: dict[str, dict[str, Any]]
    """CrowdSec's item for each address that it knows."""
    planted: dict[str, str]
    """The bad addresses, each with its story."""


def load_demo() -> Demo:
    """Read the package's own files."""
    folder = resources.files("producers.demo")

    def read(name: str) -> Any:
        return orjson.loads(folder.joinpath(name).read_bytes())

    return Demo(
        folder.joinpath("recording.ndjson.gz"), read("crowdsec.json"), read("truth.json")["planted"]
    )
