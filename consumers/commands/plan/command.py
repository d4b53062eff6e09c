"""``signinwatch plan``: what the traffic of a recording costs. Asks nobody, keeps nothing.

The chains of all plans run side by side over each batch of a recording, so that it is read once
and may come from a pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from consumers.clock import EventClock
from consumers.commands.plan.traffic import PLANS, Coverage, Planned, Traffic
from consumers.event_time import advance
from consumers.inputs.recording import read_recording, require_recording
from consumers.wiring.core import lifetimes, make_decoder
from consumers.wiring.plan import open_plan_chain
from schemas.errors import RecordingUnreadable
from schemas.events.addresses import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.settings import Settings
    from consumers.wiring.plan import PlanChain
    from schemas.ports import Message

MOST_MESSAGES = 256
MOST_BYTES = 16 * 1024 * 1024
"""What is handed to the pipelines at once."""

Progress = Callable[[int, str], None]
"""Is told of bytes read, and of what was counted."""


class _Runs:
    """The chains, and a clock beside theirs that tells when each sign-in came."""

    def __init__(self, settings: Settings, planned: Planned) -> None:
        self._planned = planned
        self._decoder = make_decoder(settings)
        self._clock = EventClock()
        self.chains: list[PlanChain] = []

    async def take(self, messages: Sequence[Message]) -> None:
        """Count messages, then run each chain over them."""
        planned = self._planned
        before = self._clock.now()
        for message in messages:
            decoded = self._decoder.decode(message.body)
            advance(self._clock, decoded, message)
            planned.records += decoded.records
            planned.skipped += decoded.skips.total()
            planned.rejected += decoded.rejected
            planned.traffic.take(self._clock.now(), decoded.signins)
        arrived = planned.traffic.arrived()
        for coverage, chain in zip(planned.coverages, self.chains, strict=True):
            coverage.arrive(arrived, before)
            await chain.pipeline.take(messages)

    async def end(self) -> None:
        """Let each chain ask what it still may, as the service would now. Nothing hurries."""
        for coverage, chain in zip(self._planned.coverages, self.chains, strict=True):
            await chain.pipeline.drain()
            coverage.end(self._clock.now())
            coverage.lookups = chain.lookups.counts.lookups


async def plan(settings: Settings, files: Sequence[str], progress: Progress) -> Planned:
    """Run recordings through the chain of each plan.

    *progress* is told of bytes read. ConfigurationError for what a person must mend first.
    """
    for name in files:
        require_recording(name)
    lifetime = lifetimes(settings).unknown
    planned = Planned(
        Traffic(Networks(settings.trusted_networks), lifetime),
        [Coverage(quota, waiting_limit=settings.policy.waiting_limit) for quota in PLANS],
    )
    runs = _Runs(settings, planned)
    async with AsyncExitStack() as stack:
        for coverage in planned.coverages:
            opened = open_plan_chain(settings, coverage.lookups_a_month, coverage.told)
            runs.chains.append(await stack.enter_async_context(opened))
        for name in files:
            await _read(name, runs, planned, progress)
        await runs.end()
    planned.notes += _advice(planned)
    return planned


async def _read(name: str, runs: _Runs, planned: Planned, progress: Progress) -> None:
    batch: list[Message] = []
    size = 0
    try:
        for message in read_recording(name, lambda read: progress(read, "")):
            batch.append(message)
            size += len(message.body)
            if len(batch) >= MOST_MESSAGES or size >= MOST_BYTES:
                await runs.take(batch)
                progress(0, f"{planned.traffic.signins[0]:,} sign-ins")
                batch, size = [], 0
    except RecordingUnreadable as error:
        planned.notes.append(f"{error}; what came before it was counted.")
    await runs.take(batch)


def _advice(planned: Planned) -> list[str]:
    """Say what a person may want to do about what was not read."""
    if planned.rejected * 2 > planned.records:
        return [
            "Most of it could not be read. A recording holds one JSON text a line: "
            "`jq -c . FILE` turns a pretty-printed file into one."
        ]
    if planned.traffic.signins[0] == 0 and planned.records:
        return ["No sign-in was found; see the TABLES setting, and TRUSTED_NETWORKS."]
    return []
