"""The shown half of the stories: what the detector may be tuned on."""

from __future__ import annotations

from tests.bench.stories import shown_1, shown_2

STORIES = (*shown_1.STORIES, *shown_2.STORIES)
