"""Triage: sorts the sign-ins of a few messages by what is known about their address."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from schemas.intel.verdicts import Answer, Unanswered, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.local_sources import LocalMatch, LocalSources
    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import InFlight, Sighting
    from consumers.pipeline.stats import PipelineCounts
    from schemas.events.addresses import Networks

_is_first = itemgetter(2)


def firsts(sightings: Sequence[Sighting]) -> int:
    """Return the number of sign-ins: each is counted under its first-choice address."""
    return sum(map(_is_first, sightings))


@dataclass(slots=True)
class Triaged:
    """The sign-ins of a few messages, sorted by what is known about their address."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    in_feed: dict[str, list[Sighting]] = field(default_factory=dict)
    """Sign-ins that local sources match, so that no lookup is needed."""
    waiting: dict[str, list[Sighting]] = field(default_factory=dict)
    new: dict[str, list[Sighting]] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    """Addresses without a match, for which no lookup is possible."""


class Triage:
    """Sorts sign-ins, and counts those that are filtered out."""

    def __init__(
        self,
        counts: PipelineCounts,
        in_flight: InFlight,
        evaluator: Evaluator,
        local_sources: LocalSources,
        lookups: LookupQueue | None,
        own_networks: Networks,
    ) -> None:
        self._counts = counts
        self._in_flight = in_flight
        self._evaluator = evaluator
        self._local_sources = local_sources
        self._lookups = lookups
        self._own_networks = own_networks

    def triage(
        self,
        group: Mapping[str, list[Sighting]],
        answers: Mapping[str, Answer],
        matches: Mapping[str, LocalMatch],
        tracker: BatchTracker,
    ) -> Triaged:
        """Sort sign-ins; those of an address that is being looked up become in flight.

        Must not await: a result could be delivered in between and be missed.
        """
        triaged = Triaged()
        joining: list[str] = []
        for address, sightings in group.items():
            answer = answers.get(address)
            if isinstance(answer, Verdict):
                triaged.verdicts[address] = answer
                continue
            unmatched = sightings
            if (match := matches.get(address)) is not None:
                matched, unmatched = self._evaluator.split_by_feed_validity(
                    address, sightings, match
                )
                if matched:
                    triaged.in_feed[address] = matched
            if unmatched and not self._filter(address, unmatched, triaged):
                if answer is not None:
                    self._enqueue(address, unmatched, answer, triaged)
                elif address in self._in_flight.addresses:
                    self._in_flight.add(address, unmatched, tracker)
                    joining.append(address)
                else:
                    triaged.new[address] = unmatched
        if self._lookups is not None and joining:
            self._lookups.enqueue(joining)
        return triaged

    def _filter(self, address: str, sightings: Sequence[Sighting], triaged: Triaged) -> bool:
        """Count and filter out sign-ins from own networks, and all if no lookup is possible."""
        if address in self._own_networks:
            self._counts.own_network += firsts(sightings)
        elif self._lookups is None:
            self._counts.unanswered += firsts(sightings)
            self._counts.reasons[self._local_sources.reason_not_looked_up.value] += firsts(
                sightings
            )
            triaged.unmatched.append(address)
        else:
            return False
        return True

    def _enqueue(
        self, address: str, sightings: list[Sighting], answer: Unanswered, triaged: Triaged
    ) -> None:
        triaged.waiting[address] = sightings
        self._counts.reasons[answer.why.value] += firsts(sightings)
