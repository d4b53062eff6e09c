"""Passes on each verdict when it becomes known: to the verdicts table, the export, a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.enrichment.local_sources import LocalMatch, LocalSources
    from schemas.intel.verdicts import Answer, Verdict
    from schemas.ports import Clock

    VerdictListener = Callable[[Mapping[str, Answer], Mapping[str, Sequence[Verdict]]], None]
    """Receives new answers by address, and local verdicts that add to or replace them."""


class VerdictPublisher:
    """Publishes answers, and what local sources say now of the same or other addresses."""

    def __init__(
        self, local_sources: LocalSources, clock: Clock, listeners: Sequence[VerdictListener]
    ) -> None:
        self._local_sources = local_sources
        self._clock = clock
        self._listeners = listeners

    def publish(self, answers: Mapping[str, Answer]) -> None:
        """Publish new answers."""
        if self._listeners and answers:
            local = self._current(self._local_sources.match(list(answers)))
            self._notify(answers, local)

    def publish_matches(self, matches: Mapping[str, LocalMatch]) -> None:
        """Publish the verdicts of local sources alone."""
        if self._listeners and matches:
            self._notify({}, self._current(matches))

    def publish_removed(self, answers: Mapping[str, Answer], addresses: Sequence[str]) -> None:
        """Publish what is left of addresses that a feed has removed: the answers, if any."""
        local = self._current(self._local_sources.match(addresses))
        self._notify(answers, {address: local.get(address, ()) for address in addresses})

    def _notify(
        self, answers: Mapping[str, Answer], local: Mapping[str, Sequence[Verdict]]
    ) -> None:
        for listener in self._listeners:
            listener(answers, local)

    def _current(self, matches: Mapping[str, LocalMatch]) -> dict[str, Sequence[Verdict]]:
        """Return the verdicts of the local sources that are valid now."""
        now = self._clock.now()
        verdicts = {
            address: self._local_sources.verdicts_of(address, match, now)
            for address, match in matches.items()
        }
        return {address: found for address, found in verdicts.items() if found}
