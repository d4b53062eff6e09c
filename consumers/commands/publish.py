"""``signinwatch publish``: send exported sign-ins to an event hub, unchanged."""

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
"""Seconds that a batch waits to become full if reading is slower than sending."""
MAX_NOTES = 10
"""Oversized messages that are reported individually."""
Progress = Callable[[int, str], None]
"""Gets the number of bytes read and a description of what was sent."""
CANCEL_RETRY_SECONDS = 2.0
"""After this time a cancellation without effect is repeated."""


@click.command("publish")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Messages a second, sent evenly. Default: no limit.",
)
@click.option("--hub", help="Event hub to use if EVENTHUB__NAME has several.")
@click.option(
    "--partition",
    type=click.IntRange(min=0),
    metavar="N",
    help="Send to this partition only. Default: round robin.",
)
@click.option("--summary", help="Write the figures as one JSON object to a file, or -.")
@click.pass_obj
def publish_command(
    config: Path | None,
    files: tuple[str, ...],
    rate: float | None,
    hub: str | None,
    partition: int | None,
    summary: str | None,
) -> None:
    """Send exported sign-ins to an event hub, unchanged.

    FILE is an export of any kind, as for replay, a folder or a pattern; - reads standard input.
    Sending a file twice is harmless: the same event gets the same FindingId.
    """
    from consumers.inputs.recording import expand_names, sizes_of
    from consumers.settings import load_settings

    settings = load_settings(config)
    if rate is not None and not math.isfinite(rate):
        raise ConfigurationError("--rate: must be a finite number of messages a second")
    files = tuple(expand_names(files))
    require_outputs(files, {"--summary": summary})
    console = Console(stderr=True)
    options = PublishOptions(files, rate, hub, partition)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        result = asyncio.run(publish(settings, options, advance))
    figures = result.summary()
    write_summary(summary, figures)
    console.print(screens.published_panel(figures))
    for note in result.notes:
        click.echo(f"signinwatch: {screens.plain(note, 1_000)}", err=True)
    if result.failure is not None:
        raise HubFailed(result.failure, again=False)
    if result.interrupted:
        click.echo("signinwatch: interrupted", err=True)
    if not result.complete:
        raise SystemExit(130 if result.interrupted else 1)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What to send, and how fast."""

    files: Sequence[str]
    rate: float | None = None
    hub: str | None = None
    partition: int | None = None


@dataclass(slots=True)
class PublishResult:
    """What was sent. Counts include only what the hub has confirmed."""

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
    """Messages in flight when sending ended early; they may have arrived."""
    notes: list[str] = field(default_factory=list)
    """What could not be sent, one line each."""

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


async def publish(settings: Settings, options: PublishOptions, progress: Progress) -> PublishResult:
    """Send files to the event hub and return what was sent.

    Raise ConfigurationError for invalid settings or files, HubFailed if the hub refuses the
    connection. Later failures and interruptions end the sending and are part of the result.
    """
    from consumers.inputs.read_ahead import ReadAhead
    from consumers.inputs.recording import require_recording
    from consumers.wiring.publish import open_hub_sink

    for name in options.files:
        require_recording(name)
    async with open_hub_sink(settings, options.hub, options.partition) as sink:
        sending = _Publisher(sink, options.rate, progress)
        ahead = ReadAhead(options.files, lambda read: progress(read, ""))
        try:
            async with _terminating():
                await sending.run(ahead)
        except asyncio.CancelledError:
            sending.result.interrupted = True
        except HubFailed as error:
            sending.result.failure = str(error)
        finally:
            ahead.stop()
        return sending.finish(ahead.unreadable)


@asynccontextmanager
async def _terminating() -> AsyncIterator[None]:
    """Let signals cancel the sending, so that the result can be shown.

    The cancellation is repeated, because the SDK may swallow it while it waits for the hub.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    retries: list[asyncio.TimerHandle] = []

    def stop() -> None:
        if task is not None:
            task.cancel()
            retries.append(loop.call_later(CANCEL_RETRY_SECONDS, stop))

    for number in before:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for handle in retries:
            handle.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


class _Publisher:
    """One run: puts messages into batches and sends batches at the requested rate."""

    def __init__(self, sink: MessageSink, rate: float | None, progress: Progress) -> None:
        self.result = PublishResult()
        self._sink = sink
        self._rate = None if rate is None else SendRate(rate)
        self._progress = progress
        self._bytes = 0
        self._records = 0
        self._flushing = False
        self._started = time.monotonic()

    async def run(self, ahead: ReadAhead) -> None:
        """Send all messages."""
        while True:
            messages = await ahead.next_batch(BATCH_LINGER_SECONDS if self._sink.waiting else None)
            for message in messages or ():
                await self._take(message)
            if not messages:
                await self._flush()
            if messages is None:
                return

    def finish(self, unreadable: Sequence[str]) -> PublishResult:
        """Return the final result."""
        result = self.result
        more = result.too_large - len(result.notes)
        if more > 0:
            result.notes.append(f"{more:,} more messages were too large.")
        result.notes += [f"{reason}; messages before it were sent." for reason in unreadable]
        result.retries = self._sink.retries
        result.unconfirmed = self._sink.waiting if self._flushing else 0
        result.seconds = time.monotonic() - self._started
        return result

    async def _take(self, message: Message) -> None:
        """Add a message to the batch, split by record if it is too large."""
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
                self._report_too_large(message, len(part), alone=len(parts) == 1)
        self.result.split += sent > 0

    def _report_too_large(self, message: Message, size: int, *, alone: bool) -> None:
        result = self.result
        result.too_large += 1
        if len(result.notes) < MAX_NOTES:
            what = "the message cannot be split by record" if alone else "a record cannot be split"
            position = f"{message.position.source}:{message.position.number}"
            result.notes.append(
                f"{position}: not sent: {size:,} bytes exceed the event hub's limit, and {what}."
            )

    async def _add(self, body: bytes) -> bool:
        """Add a body to the batch or the next one; return False if it fits in no batch."""
        from schemas.events.envelopes import count_records

        if not self._sink.add(body):
            if not self._sink.waiting:
                return False
            await self._flush()
            if not self._sink.add(body):
                return False
        self._bytes += len(body)
        self._records += count_records(body)
        if self._rate is not None and self._sink.waiting >= self._rate.group_size:
            await self._flush()
        return True

    async def _flush(self) -> None:
        """Send the batch when it is due, and count what the hub confirmed."""
        waiting = self._sink.waiting
        if not waiting:
            return
        if self._rate is not None:
            await asyncio.sleep(self._rate.delay(time.monotonic()))
            self._rate.sent(waiting, time.monotonic())
        self._flushing = True
        await self._sink.flush()
        self._flushing = False
        result = self.result
        result.batches += 1
        result.messages += waiting
        result.bytes += self._bytes
        result.records += self._records
        self._bytes = self._records = 0
        self._progress(0, f"{result.messages:,} messages, {result.bytes / 1e6:,.1f} MB")
