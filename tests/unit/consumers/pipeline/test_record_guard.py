"""A mistake of ours in one record costs that record alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers.pipeline import judge as judging
from consumers.pipeline import pending as parking
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import PENDING, RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.settings import load_settings
from consumers.wiring.replay import StateFolder, open_chain
from producers.quarantine.directory import DirectoryQuarantine
from schemas.errors import LedgerFailed
from schemas.events.decode import Decoder
from schemas.ports import Message, Position
from tests.contracts.support_ledger import waiting
from tests.recorded import FALLBACK, every_table
from tests.servers.crowdsec import CrowdSec
from tests.support.command import crowdsec_at
from tests.support.sign_ins import address, message, row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from schemas.ports import QuarantineItem

BAD = [address(n) for n in range(20)]
POISON = "poison@example.net"


class MemorySink:
    """Keeps rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    async def send(self, rows: Sequence[Any]) -> list[tuple[Any, str]]:
        """Keep rows; none is refused."""
        self.rows += rows
        return []

    async def close(self) -> None:
        """Do nothing."""


async def _kept(folder: Path) -> list[QuarantineItem]:
    return [item async for item in DirectoryQuarantine(folder).items()]


def _slip_in_judging(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Callable[..., Any] = vars(judging)["finding_row"]

    def slipping(**more: Any) -> Any:
        return made(**more) if more["details"].account != POISON else [][0]

    monkeypatch.setattr(judging, "finding_row", slipping)


def _slip_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Callable[..., Any] = vars(judging)["finding_row"]

    def slipping(**more: Any) -> Any:
        half = {"UserAgent": "\ud83d"} if more["details"].account == POISON else {}
        return {**made(**more), **half}

    monkeypatch.setattr(judging, "finding_row", slipping)


def _slip_in_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Callable[..., Any] = vars(parking)["signals_of"]

    def slipping(signin: Any) -> Any:
        found = made(signin)
        return found if found.account != POISON else [][0]

    monkeypatch.setattr(parking, "signals_of", slipping)


@pytest.mark.parametrize(
    ("slip", "quota"),
    [(_slip_in_judging, 1_000), (_slip_in_the_row, 1_000), (_slip_in_scoring, 5)],
)
async def test_a_slip_in_one_record_is_quarantined_and_the_stream_goes_on(
    slip: Callable[[pytest.MonkeyPatch], None],
    quota: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it comes: in judging, in what is written, in the score of what waits."""
    slip(monkeypatch)
    crowdsec, sink = CrowdSec(), MemorySink()
    crowdsec.serve_bad(*BAD)
    rows = [row(one, POISON if n == 7 else "ada@example.net") for n, one in enumerate(BAD)]
    async with crowdsec.server() as server:
        for name, value in crowdsec_at(server.url).items():
            monkeypatch.setenv(f"SIGNINWATCH_{name}", value)
        with StateFolder(tmp_path) as state:
            async with open_chain(
                load_settings(None),
                state,
                lambda: sink,
                clock_kind="event",
                quota=quota,
                origin="test",
            ) as chain:
                bodies = [Message(message(one), Position("p", n)) for n, one in enumerate(rows)]
                await chain.pipeline.process(bodies)
                await chain.pipeline.drain(spend_remaining=True)
                counts = chain.pipeline.counts
    found = {one["EventId"] for one in sink.rows}
    assert rows[7]["Id"] not in found
    assert len(found) == min(quota, 19)
    (item,) = await _kept(tmp_path)
    assert rows[7]["Id"].encode() in item.body
    assert counts.records == counts.rejected + counts.skipped.total() + counts.signins == 20


def test_errors_on_purpose_pass_through(tmp_path: Path) -> None:
    """A ledger that fails is no fault of the record's."""
    guard = RecordGuard(PipelineCounts(), DirectoryQuarantine(tmp_path))
    (signin,) = Decoder(every_table()).decode(message(row(BAD[0]))).signins
    with pytest.raises(LedgerFailed), guard.around(signin):
        raise LedgerFailed("full")
    with pytest.raises(KeyboardInterrupt), guard.around(signin):
        raise KeyboardInterrupt
    assert guard.counts.rejected == 0


async def test_it_names_the_error_and_none_of_the_data(tmp_path: Path) -> None:
    """And catches one record once, though two addresses of it are judged."""
    guard = RecordGuard(PipelineCounts(signins=2, records=2), DirectoryQuarantine(tmp_path))
    (signin,) = Decoder(every_table()).decode(message(row(BAD[0]))).signins
    pending = waiting("k", BAD[1])
    for subject in (signin, signin, pending):
        with guard.around(subject):
            raise KeyError("ada@example.net")
    await guard.flush()
    await guard.flush()
    first, second = await _kept(tmp_path)
    assert (first.kind, second.kind) == ("message", PENDING)
    assert "KeyError in test_it_names" in first.reason
    assert "ada" not in first.reason
    assert Decoder(every_table()).decode(first.body).signins[0].addresses == (BAD[0],)
    counts = guard.counts
    assert (counts.records, counts.rejected, counts.signins) == (3, 2, 1)


async def test_a_record_that_is_not_found_again_is_set_aside_without_its_bytes(
    tmp_path: Path,
) -> None:
    """Even then the stream goes on."""
    guard = RecordGuard(PipelineCounts(signins=1, records=1), DirectoryQuarantine(tmp_path))
    (signin,) = Decoder(every_table()).decode(message(row(BAD[0]))).signins
    signin.index = 7
    with guard.around(signin):
        signin.details(enqueued=None, fallback_time=FALLBACK)
    await guard.flush()
    (item,) = await _kept(tmp_path)
    assert (item.body, guard.counts.rejected) == (b"", 1)
    assert "IndexError in WholeBody.raw" in item.reason


async def test_a_decoder_that_raises_rejects_the_message(tmp_path: Path) -> None:
    """Whole, with its bytes."""

    class Slipping(Decoder):
        def decode_quickly(self, body: bytes) -> Any:
            raise IndexError(body)

    guard = RecordGuard(PipelineCounts(), DirectoryQuarantine(tmp_path))
    found = await guard.decode(Slipping(every_table()), Message(b"body", Position("p", 1)))
    (reject,) = found.rejects
    assert (reject.body, found.records) == (b"body", 1)
    assert "IndexError" in reject.reason


async def test_a_row_that_cannot_be_written_is_set_aside_alone(tmp_path: Path) -> None:
    """Half a character, or a value of a kind that JSON has not, spoils no upload."""
    sink = MemorySink()
    outbox = Outbox(sink, DirectoryQuarantine(tmp_path))
    good = {"FindingId": "good", "Severity": "High", "EventTime": "x"}
    await outbox.add([{"FindingId": "\ud83d"}, {"FindingId": object()}, good])
    await outbox.flush()
    assert outbox.refused == 3 - len(sink.rows)
    assert len(await _kept(tmp_path)) == outbox.refused


async def test_a_large_body_is_decoded_beside_the_event_loop(tmp_path: Path) -> None:
    """A small one at once: a thread would cost more."""
    guard = RecordGuard(PipelineCounts(), DirectoryQuarantine(tmp_path))
    decoder = Decoder(every_table())
    for body, at_once in ((b"{" * 1_000, True), (b"{" * 900_000, False)):
        task = asyncio.create_task(guard.decode(decoder, Message(body, Position("p", 1))))
        await asyncio.sleep(0)
        assert task.done() is at_once
        assert (await task).rejected == 1
