"""The rules on the pipeline itself, run on sample rows.

``ingestion_time()`` is a column here and only type-checks as it is shipped; all else runs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from producers.demo.rule import INGESTED, Workspace, alerts_of
from schemas.events.times import iso
from schemas.health import Problem
from schemas.rows.columns import HEALTH_TABLE, row_error
from tests.deployment import kql
from tests.deployment.rows import NOON, at, run_rule

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.rows.findings import FindingRow

RULES = kql.read_yaml("rules")


def _health(
    told: datetime, metric: str, value: float, ingested: datetime | None = None, **detail: Any
) -> FindingRow:
    instance = detail.pop("instance", "one")
    row: FindingRow = {
        "TimeGenerated": iso(told),
        "Instance": instance,
        "Version": "1",
        "Metric": metric,
        "Value": value,
        "Detail": detail or None,
    }
    assert row_error(row, HEALTH_TABLE) is None
    return {**row, INGESTED: iso(ingested or told)}


def _alerts(name: str, rows: list[FindingRow], now: datetime = NOON) -> list[str]:
    rule = RULES[name]
    told = run_rule(rule, {HEALTH_TABLE: rows}, now)
    return sorted(alert["title"] for alert in alerts_of(rule, told))


def test_heartbeat_of_nothing_at_all() -> None:
    """Without any row there is an alert: that is what it is for."""
    assert _alerts("HealthHeartbeat", []) == [
        "signinwatch: heartbeat missing (no data for 24 hours)"
    ]


def test_heartbeat_where_there_is_no_table() -> None:
    """A deployment that never got as far as the tables, or lost them, is told of."""
    rule = RULES["HealthHeartbeat"]
    (row,) = Workspace(kql.read_functions()).query(rule["query"], NOON)
    assert row["State"] == "no data for 24 hours"


def test_heartbeat_that_stopped() -> None:
    """Twenty minutes without a word, whatever there was before."""
    (title,) = _alerts("HealthHeartbeat", [_health(at("11:39"), "ready", 1)])
    assert "no data since 2026-01-02T11:39" in title
    assert _alerts("HealthHeartbeat", [_health(at("11:41"), "ready", 1)]) == []


def test_heartbeat_of_a_service_that_is_not_ready() -> None:
    """It lives and does not work; the alert tells why."""
    error: dict[str, Any] = {"code": "hub-refused", "part": None, "detail": "the key needs Listen"}
    rows = [
        _health(at("11:30"), "ready", 1),
        _health(at("11:55"), "ready", 0),
        _health(at("11:55"), "last_error", 1, **error),
        _health(at("11:20"), "last_error", 1, code="starting", detail="old"),
    ]
    told = run_rule(RULES["HealthHeartbeat"], {HEALTH_TABLE: rows}, NOON)
    (alert,) = alerts_of(RULES["HealthHeartbeat"], told)
    assert alert["title"].endswith("(running but not ready)")
    assert alert["details"]["Issues"] == "hub-refused: the key needs Listen"
    assert _alerts("HealthHeartbeat", [*rows, _health(at("11:55"), "ready", 1, instance="2")]) == []


@pytest.mark.parametrize(
    ("values", "alerts"),
    [
        ((1000, 990, 985), False),
        ((1000, 110, 101), False),
        ((1000, 110, 100), True),
        ((1000, 900, 680), False),
        ((1000, 900, 660), True),
        ((1000, 800, 600), False),
    ],
)
def test_quota(values: tuple[int, int, int], alerts: bool) -> None:
    """A tenth left, or less than three days' worth; another period does not count."""
    first, yesterday, now = values
    rows = [
        _health(at("10:00", days=-9), "quota_left", 99_999, period="2025-12"),
        _health(at("10:00", days=-8), "quota_left", first, period="2026-01"),
        _health(at("12:05", days=-1), "quota_left", yesterday, period="2026-01"),
        _health(at("11:55"), "quota_left", now, period="2026-01"),
    ]
    told = _alerts("HealthQuota", rows)
    expected = now <= 100 or now < 3 * (yesterday - now)
    assert alerts == expected, "the table above says what the rule says"
    assert bool(told) == alerts
    assert all(f"{now} CrowdSec lookups left" in title for title in told)


def test_quota_of_nothing() -> None:
    """Where all lookups are people's, none are left to the service, and that is no news."""
    assert _alerts("HealthQuota", [_health(at("11:55"), "quota_left", 0, period="2026-01")]) == []


def test_quota_of_a_service_without_key() -> None:
    """Nothing is asked of CrowdSec: nothing can run out."""
    assert _alerts("HealthQuota", [_health(at("11:55"), "ready", 1)]) == []


def test_feeds() -> None:
    """By age, the youngest copy of all instances; by what the service says, if it lasts."""
    rows = [
        _health(at("11:55"), "feed_age_seconds", 90_000, feed="old"),
        _health(at("11:55"), "feed_age_seconds", 90_000, feed="fresh"),
        _health(at("11:55"), "feed_age_seconds", 60, feed="fresh", instance="2"),
        _health(at("10:30"), "feed_age_seconds", 990_000, feed="mended"),
        _health(at("11:55"), "replica_age_seconds", 200_000),
        _health(at("11:05"), "trouble", 1, code="feed-stale", part="told"),
        _health(at("11:55"), "trouble", 1, code="feed-stale", part="told"),
        _health(at("11:55"), "trouble", 1, code="feed-stale", part="shortly"),
        _health(at("11:05"), "trouble", 1, code="feed-stale", part="over"),
        *(_health(at(f"11:{m:02}"), "ready", 1, instance="2") for m in range(0, 60, 5)),
        *(
            _health(at(f"11:{m:02}"), "trouble", 1, code="feed-stale", part="long", instance="2")
            for m in range(0, 60, 5)
        ),
        _health(at("11:05"), "trouble", 1, code="feed-stale", part="now and then", instance="2"),
        _health(at("11:55"), "trouble", 1, code="feed-stale", part="now and then", instance="2"),
        _health(at("11:05"), "trouble", 1, code="quota-spent", part="other"),
        _health(at("11:55"), "trouble", 1, code="quota-spent", part="other"),
    ]
    assert _alerts("HealthFeeds", rows) == [
        "signinwatch: long is stale",
        "signinwatch: old is stale",
        "signinwatch: told is stale",
    ]
    rows.append(_health(at("11:59"), "replica_age_seconds", 270_000, instance="one"))
    assert "signinwatch: crowdsec-replica is stale" not in _alerts("HealthFeeds", rows)
    old = [_health(at("11:59"), "replica_age_seconds", 270_000)]
    assert _alerts("HealthFeeds", old) == ["signinwatch: crowdsec-replica is stale"]


def _dropped(told: datetime, value: float, reason: str = "too old", **more: Any) -> FindingRow:
    return _health(told, "dropped", value, reason=reason, **more)


def test_dropped() -> None:
    """What rose within the slice, once; the ledger's number is the same from every instance."""
    rows = [
        _health(at("10:00"), "waiting", 0),
        _dropped(at("10:50"), 3),
        _dropped(at("11:10"), 3),
        _dropped(at("11:50"), 10),
        _dropped(at("11:51"), 10, instance="two"),
        _dropped(at("11:50"), 4, "displaced"),
        _dropped(at("10:50"), 8, "same"),
        _dropped(at("11:50"), 8, "same"),
    ]
    assert _alerts("HealthDropped", rows) == [
        "signinwatch: 4 sign-ins expired before lookup (displaced)",
        "signinwatch: 7 sign-ins expired before lookup (too old)",
    ]
    later = [*rows, _dropped(at("12:50"), 10)]
    assert _alerts("HealthDropped", later, at("13:00")) == []
    edge = [*rows, _dropped(at("11:58"), 12, ingested=at("11:59"))]
    assert _alerts("HealthDropped", edge, at("13:00")) == [
        "signinwatch: 2 sign-ins expired before lookup (too old)"
    ]


def test_dropped_after_a_long_silence() -> None:
    """The first number seen is no news; nobody can tell when it rose."""
    rows = [
        _health(at("11:40"), "waiting", 0),
        _dropped(at("11:40"), 50),
        _dropped(at("11:50"), 51),
    ]
    assert _alerts("HealthDropped", rows) == [
        "signinwatch: 1 sign-ins expired before lookup (too old)"
    ]


def test_dropped_of_a_new_ledger() -> None:
    """It counts from zero again; a number that is read a little late is no new ledger."""
    rows = [
        _dropped(at("09:00"), 500),
        _dropped(at("11:10"), 40),
        _dropped(at("11:50"), 90),
        _dropped(at("10:50"), 7, "displaced"),
        _dropped(at("11:10"), 6, "displaced", instance="two"),
        _dropped(at("11:20"), 9, "displaced"),
    ]
    assert _alerts("HealthDropped", rows) == [
        "signinwatch: 2 sign-ins expired before lookup (displaced)",
        "signinwatch: 90 sign-ins expired before lookup (too old)",
    ]


STREAM_CODES = [
    Problem.PARTITIONS_UNOWNED,
    Problem.STREAM_STANDS,
    Problem.BALANCING_FAILS,
    Problem.CHECKPOINT_UNREADABLE,
    Problem.FINDINGS_REFUSED,
    Problem.CLOCK_OFF,
]


def _told(
    moment: str, what: Problem, part: str | None = "signins/0", instance: str = "1"
) -> FindingRow:
    detail: dict[str, Any] = {"code": what.value, "part": part, "detail": "mend it", "since": "x"}
    return _health(at(moment), "last_error", 1, instance=instance, **detail)


@pytest.mark.parametrize("what", STREAM_CODES)
def test_a_stream_that_is_not_read_is_told(what: Problem) -> None:
    """While all else is well; once for each part, however many instances tell of it."""
    rows = [
        *(_health(at(f"11:{m}"), "ready", 1) for m in range(10, 60, 5)),
        *(_told("11:55", what, instance=one) for one in "12"),
        _told("11:50", what),
        _told("11:55", what, None),
    ]
    assert _alerts("HealthStream", rows) == [
        f"signinwatch: {what.value}",
        f"signinwatch: {what.value} (signins/0)",
    ]


def test_what_is_over_or_something_else_is_not_told_as_a_stream() -> None:
    """Other troubles have rules of their own, or are told by the heartbeat."""
    over = _told("11:40", Problem.STREAM_STANDS)
    others = [_told("11:55", one) for one in Problem if one not in STREAM_CODES]
    assert _alerts("HealthStream", [over, *others]) == []
    assert _alerts("HealthStream", []) == []


def test_the_rule_on_streams_knows_its_codes() -> None:
    """No code is misspelled, none is missing."""
    (listed,) = re.findall(r"dynamic\(\[(.*)\]\)", RULES["HealthStream"]["query"])
    assert set(re.findall(r'"([a-z-]+)"', listed)) == {one.value for one in STREAM_CODES}
