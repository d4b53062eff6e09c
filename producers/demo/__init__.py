"""The demo data: a recording of a fictional company, CrowdSec verdicts, and seeded attacks."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True)
class Demo:
    """The files of the package."""

    recording: Traversable
    """Newline-delimited event hub messages, gzipped."""
    crowdsec: dict[str, dict[str, Any]]
    """CrowdSec's item for each known address."""
    planted: dict[str, str]
    """The seeded malicious addresses, each with its story."""


def load_demo() -> Demo:
    """Load the files of the package."""
    folder = resources.files("producers.demo")

    def read(name: str) -> Any:
        return orjson.loads(folder.joinpath(name).read_bytes())

    return Demo(
        folder.joinpath("recording.ndjson.gz"), read("crowdsec.json"), read("truth.json")["planted"]
    )
