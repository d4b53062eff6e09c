"""Goal 5: findings to the Logs Ingestion API, against the SDK's own list form.

Ours is :class:`producers.logs_ingestion.LogsIngestionSink`, which hands the SDK gzipped bodies;
the other is ``LogsIngestionClient.upload`` of the same rows, with the same stand-in for a token,
over a connection that is open already. The server is another process, whose CPU time does not
count, and remembers the largest body it got, as sent and unpacked. CPU time of this process.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from azure.monitor.ingestion.aio import LogsIngestionClient

from consumers.pipeline.judge import Judge
from consumers.sources.crowdsec.api import verdict_of_item
from producers.logs_ingestion import LogsIngestionSink, MissingCredential, PlaceholderToken
from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from schemas.intel.verdicts import Verdict
from schemas.rows.policy import Policy
from tests.bench.measure import (
    Outcome,
    Spent,
    interleaved_awaiting,
    print_outcomes,
    served,
    spent_awaiting,
    told_by,
)
from tests.bench.measurements.data import START, addresses, item, messages, repeated

if TYPE_CHECKING:
    from schemas.rows.findings import FindingRow

RULE, STREAM = "dcr-00000000000000000000000000000001", "Custom-SignInWatchFindings_CL"
LARGEST = 1_000_000
WANTED = {1_000: 3.0, 100: 2.0}
ROWS_A_ROUND = 4_000


def rows(count: int) -> list[FindingRow]:
    """Return the findings that *count* sign-ins from 60 bad addresses make."""
    bad = addresses(60, seed=7)
    decoder = Decoder(load_tables())
    judge = Judge(Policy(), origin="test", most_per_hour=10**6)
    now = datetime.now(UTC)
    verdicts = {address: _verdict(address) for address in bad}
    made: list[FindingRow] = []
    for message in messages("nested", repeated(bad, count)):
        for signin in decoder.decode(message.body).signins:
            details = signin.details(enqueued=None, fallback_time=START)
            address = signin.addresses[0]
            verdict = verdicts[address]
            row = judge.judge(details, address, [verdict], wall=now, now=now.timestamp())
            assert row is not None
            made.append(row)
    return made


def _verdict(address: str) -> Verdict:
    said = verdict_of_item(orjson.loads(item(address, "malicious")))
    return Verdict(
        reputation=said.reputation,
        source="crowdsec",
        time=START.timestamp(),
        expires=START.timestamp() + 86_400,
        address_class=said.address_class,
        intel=said.intel,
    )


async def measured(url: str, size: int, wanted: float) -> list[Outcome]:
    """Measure uploads of *size* findings; the medians are of all uploads of a round."""
    made = rows(ROWS_A_ROUND)
    parts = [made[start : start + size] for start in range(0, ROWS_A_ROUND, size)]
    sink = LogsIngestionSink(url, RULE, None, patience=5)
    client = LogsIngestionClient(url, MissingCredential(), authentication_policy=PlaceholderToken())
    largest: dict[str, int] = {"ours": 0, "theirs": 0}

    def note(side: str) -> None:
        told = told_by(url)
        assert told["rows"] == ROWS_A_ROUND, told
        largest[side] = max(largest[side], told["sent"], told["unpacked"])

    async def send() -> None:
        for part in parts:
            assert not await sink.send(part)

    async def upload() -> None:
        for part in parts:
            await client.upload(RULE, STREAM, part)  # type: ignore[arg-type]

    async def ours() -> Spent:
        spent = await spent_awaiting(send)
        note("ours")
        return spent

    async def theirs() -> Spent:
        spent = await spent_awaiting(upload)
        note("theirs")
        return spent

    one, other = await interleaved_awaiting(ours, theirs)
    await sink.close()
    await client.close()
    each, name = 1e6 / ROWS_A_ROUND, "5 upload"
    bytes_ = f"{size:,} findings, largest body (SDK's {largest['theirs']:,})"
    return [
        Outcome(name, f"{size:,} findings", one.cpu * each, other.cpu * each, "us", wanted),
        Outcome(name, bytes_, largest["ours"], 0, "B", LARGEST, most=True),
    ]


def run() -> tuple[list[Outcome], list[str]]:
    """Measure both sizes."""
    outcomes = []
    with served("ingestion") as url:
        for size, wanted in WANTED.items():
            outcomes += asyncio.run(measured(url, size, wanted))
    mean = sum(len(orjson.dumps(row)) for row in rows(100)) / 100
    return outcomes, [f"goal 5: a finding has {mean:,.0f} B of JSON"]


if __name__ == "__main__":
    print_outcomes(*run())
