"""Triage: sorts the sign-ins of a few messages by what is known about their address."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from schemas.intel.verdicts import Answer, Unanswered, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.local_sources import LocalMatch, LocalSources
    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import InFlight, Sighting
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.pipeline.stats import PipelineCounts
    from consumers.pipeline.verdict_publisher import VerdictPublisher
    from schemas.events.addresses import Networks

_is_first = itemgetter(2)


def firsts(sightings: Sequence[Sighting]) -> int:
    """Return the number of sign-ins: each is counted under its first-choice address."""
    return sum(map(_is_first, sightings))


@dataclass(slots=True)
class Triaged:
    """The sign-ins of a few messages, sorted by what is known about their address."""

    matches: Mapping[str, LocalMatch]
    """What local sources hold on the addresses."""
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
        cache: VerdictCache,
        local_sources: LocalSources,
        in_flight: InFlight,
        evaluator: Evaluator,
        publisher: VerdictPublisher,
        recent: RecentSignIns,
        counts: PipelineCounts,
        own_networks: Networks,
        *,
        looks_up: bool,
    ) -> None:
        """Without *looks_up*, nothing is looked up, so that nothing can wait."""
        self._cache = cache
        self._local_sources = local_sources
        self._in_flight = in_flight
        self._evaluator = evaluator
        self._publisher = publisher
        self._recent = recent
        self._counts = counts
        self._own_networks = own_networks
        self._looks_up = looks_up

    async def triage(self, group: Mapping[str, list[Sighting]], tracker: BatchTracker) -> Triaged:
        """Record and sort sign-ins; those of an address being looked up become in flight."""
        self._counts.seen(group)
        self._recent.record(group)
        in_flight = self._in_flight.addresses
        matches = self._local_sources.match(list(group))
        answers = await self._cache.get_verdicts(
            [address for address in group if address not in in_flight]
        )
        triaged = self._sort(group, answers, matches, tracker)
        if unmatched := [address for address in triaged.unmatched if address not in matches]:
            reason = Unanswered(why=self._local_sources.reason_not_looked_up, expires=0.0)
            self._publisher.publish(dict.fromkeys(unmatched, reason))
        self._publisher.publish_matches(
            {
                address: matches[address]
                for address in triaged.in_feed
                if not self._evaluator.cannot_alert(None, matches[address])
            }
        )
        return triaged

    def _sort(
        self,
        group: Mapping[str, list[Sighting]],
        answers: Mapping[str, Answer],
        matches: Mapping[str, LocalMatch],
        tracker: BatchTracker,
    ) -> Triaged:
        """Sort sign-ins. Must not await: a result could be processed in between and be missed."""
        triaged = Triaged(matches)
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
                    triaged.waiting[address] = unmatched
                    self._counts.reasons[answer.why.value] += firsts(unmatched)
                elif address in self._in_flight.addresses:
                    self._in_flight.add(address, unmatched, tracker)
                else:
                    triaged.new[address] = unmatched
        return triaged

    def _filter(self, address: str, sightings: Sequence[Sighting], triaged: Triaged) -> bool:
        """Count and filter out sign-ins from own networks, and all if nothing is looked up."""
        if address in self._own_networks:
            self._counts.own_network += firsts(sightings)
        elif not self._looks_up:
            self._counts.unanswered += firsts(sightings)
            self._counts.reasons[self._local_sources.reason_not_looked_up.value] += firsts(
                sightings
            )
            triaged.unmatched.append(address)
        else:
            return False
        return True
