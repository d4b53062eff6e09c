"""Sorting the sign-ins of a few messages by what is known of their address."""

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

_FIRST = itemgetter(2)


def firsts(held: Sequence[Sighting]) -> int:
    """Return how many sign-ins there are: each is counted by its address of first choice."""
    return sum(map(_FIRST, held))


@dataclass(slots=True)
class Triaged:
    """The sign-ins of a few messages, by what is known of their address."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    in_feed: dict[str, list[Sighting]] = field(default_factory=dict)
    """Those of which free sources speak, so that nobody has to be asked."""
    waiting: dict[str, list[Sighting]] = field(default_factory=dict)
    new: dict[str, list[Sighting]] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    """Addresses of which nobody speaks, and nobody is there to be asked."""


class Triage:
    """Sorts, and counts what goes no further."""

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
        self._held = in_flight
        self._evaluator = evaluator
        self._local_sources = local_sources
        self._lookups = lookups
        self._own_networks = own_networks

    def triage(
        self,
        group: Mapping[str, list[Sighting]],
        answers: Mapping[str, Answer],
        known: Mapping[str, LocalMatch],
        ticket: BatchTracker,
    ) -> Triaged:
        """Sort addresses; sign-ins of one that is being asked about join those held for it.

        Without a pause, or an answer could slip through.
        """
        found = Triaged()
        joining: list[str] = []
        for address, held in group.items():
            answer = answers.get(address)
            if isinstance(answer, Verdict):
                found.verdicts[address] = answer
                continue
            left = held
            if (one := known.get(address)) is not None:
                spoken, left = self._evaluator.matched_by_feed(address, held, one)
                if spoken:
                    found.in_feed[address] = spoken
            if left and not self._goes_no_further(address, left, found):
                if answer is not None:
                    self._park(address, left, answer, found)
                elif address in self._held.addresses:
                    self._held.add(address, left, ticket)
                    joining.append(address)
                else:
                    found.new[address] = left
        if self._lookups is not None and joining:
            self._lookups.enqueue(joining)
        return found

    def _goes_no_further(self, address: str, held: Sequence[Sighting], found: Triaged) -> bool:
        """Count sign-ins from own networks, and all where there is nobody to ask."""
        if address in self._own_networks:
            self._counts.own_network += firsts(held)
        elif self._lookups is None:
            self._counts.unanswered += firsts(held)
            self._counts.reasons[self._local_sources.reason_not_looked_up.value] += firsts(held)
            found.unmatched.append(address)
        else:
            return False
        return True

    def _park(self, address: str, held: list[Sighting], answer: Unanswered, found: Triaged) -> None:
        found.waiting[address] = held
        self._counts.reasons[answer.why.value] += firsts(held)
