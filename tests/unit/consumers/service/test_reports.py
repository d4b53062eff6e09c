"""Rows on the service itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from consumers.service import reports
from consumers.service.health import Health
from consumers.service.metrics import MetricsCollector
from consumers.service.reports import Reports
from schemas.errors import SinkHeldBack
from schemas.events.times import iso_of
from schemas.health import Problem
from schemas.intel.verdicts import Reputation, Unanswered, Verdict, WhyUnanswered
from schemas.rows.columns import HEALTH_TABLE, VERDICTS_TABLE, row_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from schemas.ledger_ports import Ledger
    from schemas.rows.findings import FindingRow


class Kept:
    """A sink that keeps rows, or holds back."""

    def __init__(self) -> None:
        self.rows: list[FindingRow] = []
        self.held_back = False

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Keep rows."""
        if self.held_back:
            raise SinkHeldBack("down", remedy="wait")
        self.rows += rows
        return []

    async def close(self) -> None:
        """Nothing is open."""


def _reports() -> tuple[Reports, Kept, Kept, Health]:
    verdicts, health_rows, health = Kept(), Kept(), Health()
    ledger: Any = None
    measures = MetricsCollector(health=health, ledger=_as_ledger(ledger))
    made = Reports(verdicts, health_rows, measures, health, instance="i", version="1")
    return made, verdicts, health_rows, health


def _as_ledger(ledger: Any) -> Ledger:
    return ledger  # type: ignore[no-any-return] # it is never asked here


def _verdict(reputation: Reputation) -> Verdict:
    return Verdict(reputation=reputation, source="crowdsec", time=1_000.0, expires=9_000.0)


async def test_a_row_for_each_change_of_a_verdict() -> None:
    """Also of the reason why there is none; and none for what was told before."""
    made, verdicts, _, _ = _reports()
    down = Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=0.0)
    spent = Unanswered(why=WhyUnanswered.QUOTA, expires=0.0)
    bad, unknown = _verdict(Reputation.MALICIOUS), _verdict(Reputation.UNKNOWN)
    for answer in (down, down, spent, unknown, unknown, bad):
        made.record_verdicts({"81.2.69.160": answer})
    made.record_verdicts({"81.2.69.161": unknown})
    await made.send_verdicts()
    told = [(one["IPAddress"][-1], one["Verdict"], one["Reason"]) for one in verdicts.rows]
    assert told == [
        ("0", "unanswered", "source down"),
        ("0", "unanswered", "quota spent"),
        ("0", "unknown", "crowdsec: no reputation"),
        ("0", "malicious", "crowdsec: no reputation"),
        ("1", "unknown", "crowdsec: no reputation"),
    ]
    assert [row_error(one, VERDICTS_TABLE) for one in verdicts.rows] == [None] * 5
    await made.send_verdicts()
    assert len(verdicts.rows) == 5


async def test_what_cannot_be_sent_is_given_up_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reports hold nothing up, and do not fill the memory."""
    monkeypatch.setattr(reports, "MAX_QUEUED_VERDICTS", 10)
    made, verdicts, _, _ = _reports()
    made.record_verdicts({f"81.2.69.{n}": _verdict(Reputation.BENIGN) for n in range(25)})
    assert made.dropped == 15
    verdicts.held_back = True
    await made.send_verdicts()
    assert made.dropped == 25
    verdicts.held_back = False
    await made.send_verdicts()
    assert verdicts.rows == []


async def test_health_rows_have_the_figures_and_the_troubles() -> None:
    """In the columns of the table."""
    made, _, health_rows, health = _reports()
    health.report(Problem.KEY_REFUSED, "make another", part="crowdsec")
    await made.send_health()
    rows = health_rows.rows
    assert [row_error(one, HEALTH_TABLE) for one in rows] == [None] * len(rows)
    by_name = {one["Metric"]: one for one in rows}
    assert by_name["ready"]["Value"] == 0.0
    assert by_name["trouble"]["Detail"] == {"code": "key-refused", "part": "crowdsec"}
    assert by_name["last_error"]["Detail"]["detail"] == "make another"
    assert {one["Instance"] for one in rows} == {"i"}


async def test_a_verdict_that_goes_on_is_told_again_when_the_told_one_has_ended() -> None:
    """Who reads the table would take it for ended; not where nothing has changed at all."""
    made, verdicts, _, _ = _reports()
    now = time.time()
    ends = (now - 10.0, now - 10.0, now + 600.0, now + 1_200.0)
    for end in ends:
        made.record_verdicts({"81.2.69.160": replace(_verdict(Reputation.BENIGN), expires=end)})
    await made.send_verdicts()
    assert [one["ExpiresTime"] for one in verdicts.rows] == [iso_of(ends[0]), iso_of(ends[2])]


async def test_what_was_told_is_found_by_addresses_and_networks() -> None:
    """Of addresses that nothing was told of, nothing has to be taken back."""
    made, _, _, _ = _reports()
    made.record_verdicts({f"81.2.69.{n}": _verdict(Reputation.MALICIOUS) for n in range(3)})
    assert made.filter_reported(["81.2.69.1", "81.2.69.9"]) == ["81.2.69.1"]
    assert sorted(made.filter_reported(["81.2.69.0/31"])) == ["81.2.69.0", "81.2.69.1"]
