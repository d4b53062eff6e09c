"""The half of the stories that was kept back until the detectors were done."""

from __future__ import annotations

from tests.bench.stories import held_1, held_2

STORIES = (*held_1.STORIES, *held_2.STORIES)
