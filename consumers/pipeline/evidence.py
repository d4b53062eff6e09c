"""What is passed to the evaluator with sign-ins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.enrichment.indicator_review import IndicatorReview
    from consumers.enrichment.stories.memory import StoryMemory
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.in_flight import Sighting
    from schemas.events.sign_in import Details
    from schemas.intel.verdicts import Verdict
    from schemas.rows.context import SignInContext


@dataclass(frozen=True, slots=True)
class Answered:
    """Sign-ins in flight, and the verdict on their address."""

    address: str
    sightings: Sequence[Sighting]
    verdict: Verdict
    trackers: Sequence[BatchTracker]


@dataclass(frozen=True, slots=True)
class KnownBefore:
    """What earlier sign-ins say of a sign-in, and of the indicators that name its address."""

    review: IndicatorReview
    stories: StoryMemory


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the sign-ins themselves, or Entra ID, say of a sign-in."""

    address: str
    details: Details
    verdict: Verdict | None = None
    context: SignInContext | None = None
