"""``signinwatch publish``: send recordings to an event hub unchanged."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import require_outputs, write_summary
from consumers.commands.publish_rate import SendRate
from schemas.errors import ConfigurationError, HubFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from consumers.inputs.read_ahead import ReadAhead
    from consumers.settings import Settings
    from schemas.ports import Message, MessageSink


BATCH_LINGER_SECONDS = 0.2
"""How long a batch waits to fill up when input is slower than sending."""
MAX_NOTES = 10
"""How many oversized messages are reported individually."""
Progress = Callable[[int, str], None]
"""Called with the bytes read and a description of what was sent."""
CANCEL_RETRY_SECONDS = 2.0
"""After this time a cancellation without effect is repeated."""


@click.command("publish")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Messages per second. Default: as fast as possible.",
)
@click.option("--hub", help="The event hub, if EVENTHUB__NAME lists several.")
@click.option(
    "--partition",
    type=click.IntRange(min=0),
    metavar="N",
    help="Send to this partition only. Default: all in turn.",
)
@click.option("--summary", help="Write the counts as a JSON object to a file or -.")
@click.pass_obj
def publish_command(
    config: Path | None,
    files: tuple[str, ...],
    rate: float | None,
    hub: str | None,
    partition: int | None,
    summary: str | None,
) -> None:
    """Send recordings to the event hub unchanged.

    FILE is NDJSON, gzipped NDJSON or Event Hubs Capture Avro; - is standard input. Sending it
    twice is harmless: the same event gives the same FindingId.
    """
    from consumers.inputs.recording import sizes_of
    from consumers.settings import load_settings

    settings = load_settings(config)
    if rate is not None and not math.isfinite(rate):
        raise ConfigurationError("--rate: must be a number of messages per second")
    require_outputs(files, {"--summary": summary})
    console = Console(stderr=True)
    plan = PublishOptions(files, rate, hub, partition)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        told = asyncio.run(publish(settings, plan, advance))
    figures = told.summary()
    write_summary(summary, figures)
    console.print(screens.published_panel(figures))
    for note in told.notes:
        click.echo(f"signinwatch: {screens.plain(note, 1_000)}", err=True)
    if told.failure is not None:
        raise HubFailed(told.failure, again=False)
    if told.interrupted:
        click.echo("signinwatch: interrupted", err=True)
    if not told.complete:
        raise SystemExit(1)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What to send, and how fast."""

    files: Sequence[str]
    rate: float | None = None
    hub: str | None = None
    partition: int | None = None


@dataclass(slots=True)
class PublishResult:
    """What was sent. Only what the hub confirmed is counted."""

    messages: int = 0
    records: int = 0
    bytes: int = 0
    batches: int = 0
    retries: int = 0
    split: int = 0
    too_large: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    failure: str | None = None
    """Why sending ended early, and how to fix it."""
    unconfirmed: int = 0
    """Messages that were not confirmed at an early end; they may have arrived."""
    notes: list[str] = field(default_factory=list)
    """Messages that could not be sent, a line for each."""

    @property
    def complete(self) -> bool:
        """Return True if everything was sent."""
        return not (self.interrupted or self.failure or self.notes)

    def summary(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "messages": self.messages,
            "records": self.records,
            "bytes": self.bytes,
            "batches": self.batches,
            "retries": self.retries,
            "split": self.split,
            "too_large": self.too_large,
            "unconfirmed": self.unconfirmed,
            "seconds": round(self.seconds, 3),
            "messages_per_second": round(self.messages / self.seconds, 1) if self.seconds else 0.0,
            "complete": self.complete,
        }


async def publish(settings: Settings, plan: PublishOptions, progress: Progress) -> PublishResult:
    """Send recordings. ConfigurationError for what a person must mend first.

    HubFailed if the hub does not let us in; what happens after that is told in the result, an
    interruption too: it ends the sending and not this function.
    """
    from consumers.inputs.read_ahead import ReadAhead
    from consumers.inputs.recording import require_recording
    from consumers.wiring.publish import open_hub_sink

    for name in plan.files:
        require_recording(name)
    async with open_hub_sink(settings, plan.hub, plan.partition) as sink:
        sending = _Publisher(sink, plan.rate, progress)
        ahead = ReadAhead(plan.files, lambda read: progress(read, ""))
        try:
            async with _terminating():
                await sending.run(ahead)
        except asyncio.CancelledError:
            sending.told.interrupted = True
        except HubFailed as error:
            sending.told.failure = str(error)
        finally:
            ahead.stop()
        return sending.finish(ahead.unreadable)


@asynccontextmanager
async def _terminating() -> AsyncIterator[None]:
    """Let signals cancel the sending, so that what was sent can be told.

    Again and again: whoever waits for the hub's word inside the SDK may swallow it once.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    again: list[asyncio.TimerHandle] = []

    def stop() -> None:
        if task is not None:
            task.cancel()
            again.append(loop.call_later(CANCEL_RETRY_SECONDS, stop))

    for one in before:
        loop.add_signal_handler(one, stop)
    try:
        yield
    finally:
        for handle in again:
            handle.cancel()
        for one, handler in before.items():
            loop.remove_signal_handler(one)
            signal.signal(one, handler)


class _Publisher:
    """One run: messages into batches, batches to the hub at the rate that is wanted."""

    def __init__(self, sink: MessageSink, rate: float | None, progress: Progress) -> None:
        self.told = PublishResult()
        self._sink = sink
        self._pace = None if rate is None else SendRate(rate)
        self._progress = progress
        self._bytes = 0
        self._records = 0
        self._flushing = False
        self._started = time.monotonic()

    async def run(self, ahead: ReadAhead) -> None:
        """Send all that is read."""
        while True:
            messages = await ahead.next_batch(BATCH_LINGER_SECONDS if self._sink.waiting else None)
            for message in messages or ():
                await self._take(message)
            if not messages:
                await self._flush()
            if messages is None:
                return

    def finish(self, unreadable: Sequence[str]) -> PublishResult:
        """Return what is to be told at the end."""
        told = self.told
        more = told.too_large - len(told.notes)
        if more > 0:
            told.notes.append(f"{more:,} more were too large.")
        told.notes += [f"{one}; what came before it was sent." for one in unreadable]
        told.retries = self._sink.retries
        told.unconfirmed = self._sink.waiting if self._flushing else 0
        told.seconds = time.monotonic() - self._started
        return told

    async def _take(self, message: Message) -> None:
        """Add a message to batches, split between records if necessary."""
        from schemas.events.decode import MAX_BODY_BYTES
        from schemas.events.envelopes import split_envelope

        body = message.body
        if await self._add(body):
            return
        parts = [body] if len(body) > MAX_BODY_BYTES else split_envelope(body, self._sink.room)
        sent = 0
        for part in parts:
            if len(parts) > 1 and await self._add(part):
                sent += 1
            else:
                self._tell_too_large(message, len(part), alone=len(parts) == 1)
        self.told.split += sent > 0

    def _tell_too_large(self, message: Message, size: int, *, alone: bool) -> None:
        told = self.told
        told.too_large += 1
        if len(told.notes) < MAX_NOTES:
            what = "cannot be split between records" if alone else "are a single record"
            place = f"{message.position.source}:{message.position.number}"
            told.notes.append(
                f"{place}: not sent: {size:,} bytes exceed the limit of the event hub and {what}."
            )

    async def _add(self, body: bytes) -> bool:
        """Add a body to the batch or the next batch; False if it is too large for any."""
        from schemas.events.envelopes import count_records

        if not self._sink.add(body):
            if not self._sink.waiting:
                return False
            await self._flush()
            if not self._sink.add(body):
                return False
        self._bytes += len(body)
        self._records += count_records(body)
        if self._pace is not None and self._sink.waiting >= self._pace.group_size:
            await self._flush()
        return True

    async def _flush(self) -> None:
        """Send the batch and count what the hub confirmed."""
        waiting = self._sink.waiting
        if not waiting:
            return
        if self._pace is not None:
            await asyncio.sleep(self._pace.delay(time.monotonic()))
            self._pace.sent(waiting, time.monotonic())
        self._flushing = True
        await self._sink.flush()
        self._flushing = False
        told = self.told
        told.batches += 1
        told.messages += waiting
        told.bytes += self._bytes
        told.records += self._records
        self._bytes = self._records = 0
        self._progress(0, f"{told.messages:,} messages, {told.bytes / 1e6:,.1f} MB")
