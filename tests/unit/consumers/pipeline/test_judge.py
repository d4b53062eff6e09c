"""Judging: policy, classes, false positives, repeats and folding."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.pipeline.judge import Judge
from consumers.pipeline.stats import PipelineCounts
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict
from schemas.rows.columns import row_error
from schemas.rows.policy import Policy

ADDRESS = "81.2.69.160"
TIME = datetime(2026, 3, 2, 8, 10, tzinfo=UTC)
WALL = datetime(2026, 11, 22, tzinfo=UTC)


def judge(lines: list[dict[str, Any]] | None = None, most: int = 100) -> Judge:
    """Return a judge with a policy."""
    return Judge(Policy(lines or []), origin="replay", most_per_hour=most)


def details(event: str = "1", outcome: Outcome = Outcome.SUCCESS, **more: Any) -> Details:
    """Return a sign-in."""
    fields = {"event_time": TIME, "account": "ada@example.net", **more}
    return Details(
        table="SigninLogs",
        event_id=event,
        addresses=((ADDRESS, f"{ADDRESS}:443"),),
        outcome=outcome,
        **fields,
    )


def verdict(reputation: str = "malicious", **more: Any) -> Verdict:
    """Return a verdict."""
    intel = more.pop("intel", Intel())
    return Verdict(
        reputation=Reputation(reputation),
        source="crowdsec",
        time=0.0,
        expires=9e9,
        intel=intel,
        **more,
    )


def judged(
    verdict: Verdict, details: Details, by: Judge | None = None
) -> tuple[str, str, str] | None:
    """Return severity, reputation and class of the finding, or None."""
    now = details.event_time.timestamp() + 5
    row = (by or judge()).judge(details, ADDRESS, [verdict], wall=WALL, now=now)
    if row is None:
        return None
    assert row_error(row) is None
    assert row["DelaySeconds"] == 5
    assert row["SourceIPAddress"] == f"{ADDRESS}:443"
    return row["Severity"], row["Reputation"], row["AddressClass"]


@pytest.mark.parametrize(
    ("given", "signin", "expected"),
    [
        (verdict(), details("a"), ("High", "malicious", "unknown")),
        (verdict(), details("b", Outcome.PASSWORD_ACCEPTED), ("High", "malicious", "unknown")),
        (verdict(), details("c", Outcome.FAILURE), ("Low", "malicious", "unknown")),
        (verdict("suspicious"), details("d"), ("Medium", "suspicious", "unknown")),
        (verdict("benign"), details("e"), None),
        (verdict("unknown"), details("f"), None),
        (
            verdict("unknown", address_class=AddressClass.TOR),
            details("g"),
            ("Medium", "suspicious", "tor"),
        ),
        (verdict("benign", address_class=AddressClass.TOR), details("h", Outcome.FAILURE), None),
        (verdict(address_class=AddressClass.RELAY), details("i"), ("Low", "malicious", "relay")),
        (verdict(intel=Intel(false_positives=("cdn:x",))), details("j"), None),
        (verdict(intel=Intel(classifications=("scanner:shodan",))), details("k"), None),
        (verdict(), details("l", sign_in_as_number=21928), ("Medium", "malicious", "mobile")),
        (verdict(), details("m", sign_in_as_number=24940), ("High", "malicious", "hosting")),
    ],
)
def test_the_shipped_policy(
    given: Verdict, signin: Details, expected: tuple[str, str, str] | None
) -> None:
    """Severity by class, outcome and reputation."""
    assert judged(given, signin) == expected
    if judge().cannot_alert(given):
        assert expected is None


def test_own_lines_go_first() -> None:
    """A line of the user's own decides before the shipped ones, and is named."""
    own = [{"name": "quiet-tor", "class": ["tor"], "severity": "none"}]
    tor = verdict("unknown", address_class=AddressClass.TOR)
    assert judged(tor, details("n"), judge(own)) is None
    assert judge(own).cannot_alert(tor)
    assert not judge().cannot_alert(tor)


def test_an_event_delivered_twice_gives_one_finding() -> None:
    """Unless it got worse meanwhile."""
    one = judge()
    assert judged(verdict("suspicious"), details(), one) is not None
    assert judged(verdict("suspicious"), details(), one) is None
    assert judged(verdict("malicious"), details(), one) is not None
    assert judged(verdict("suspicious"), details(), one) is None


def test_a_sign_in_that_gets_further_is_told_again() -> None:
    """With MFA it is several records with one id; what comes late never takes anything back."""
    one = judge()
    told = [
        judged(verdict(), details(outcome=outcome), one)
        for outcome in (
            Outcome.FAILURE,
            Outcome.PASSWORD_ACCEPTED,
            Outcome.INTERRUPTED,
            Outcome.SUCCESS,
            Outcome.PASSWORD_ACCEPTED,
            Outcome.SUCCESS,
        )
    ]
    assert [found is not None for found in told] == [True, True, False, True, False, False]


def test_an_outcome_and_a_severity_may_rise_one_after_the_other() -> None:
    """The worse verdict of a record that did not get as far, and the success of a lesser one."""
    one = judge()
    assert judged(verdict(), details(outcome=Outcome.PASSWORD_ACCEPTED), one) is not None
    assert judged(verdict("suspicious"), details(), one) is not None
    assert judged(verdict("suspicious"), details(), one) is None
    assert judged(verdict(), details(), one) is None, "both were told; readers join them"


def test_what_repeats_too_often_becomes_one_counted_row() -> None:
    """Failures beyond the limit are counted by hour; their row has a stable id."""

    def run() -> list[dict[str, Any]]:
        one = judge(most=3)
        seconds = [timedelta(seconds=n) for n in range(10)]
        rows = [
            one.judge(
                details(str(n), Outcome.FAILURE, event_time=TIME + seconds[n]),
                ADDRESS,
                [verdict()],
                wall=WALL,
                now=TIME.timestamp(),
            )
            for n in range(10)
        ]
        assert sum(row is not None for row in rows) == 3
        assert one.close_aggregates(TIME.timestamp(), WALL) == []
        return one.close_aggregates(TIME.timestamp() + 3_600, WALL)

    (row,) = run()
    assert row_error(row) is None
    assert row["Evidence"]["folded"]["signIns"] == 7
    assert "7 more like it" in row["MatchReason"]
    assert row["SourceIPAddress"] is None
    assert run()[0]["FindingId"] == row["FindingId"]


def test_successes_are_never_folded() -> None:
    """However many there are."""
    one = judge(most=2)
    assert all(judged(verdict(), details(str(n)), one) for n in range(20))
    assert one.close_aggregates(None, WALL) == []


def test_accounts_and_hours_are_folded_apart() -> None:
    """The limit holds for the same address, account, table, outcome and hour."""
    one = judge(most=1)
    signins = [
        details("1", Outcome.FAILURE),
        details("2", Outcome.FAILURE, account="eve@example.net"),
        details("3", Outcome.INTERRUPTED),
        details("4", Outcome.FAILURE, event_time=TIME + timedelta(hours=1)),
    ]
    assert all(judged(verdict(), signin, one) for signin in signins)


@pytest.mark.parametrize(("late", "origin"), [(False, "replay"), (True, "late")])
def test_what_had_to_wait_is_told_so(late: bool, origin: str) -> None:
    """But not where a replay goes to Sentinel, whose rules would alert on it."""
    wall, now = WALL, TIME.timestamp()
    for late_origin in (origin, "replay"):
        one = Judge(Policy(), origin="replay", most_per_hour=100, late_origin=late_origin)
        row = one.judge(details(), ADDRESS, [verdict()], wall=wall, now=now, late=late)
        assert row is not None
        assert row["Origin"] == (late_origin if late else "replay")


def test_new_words_for_reputations_are_counted() -> None:
    """By word, bounded; the words that are known, and none at all, are not new."""
    counts = PipelineCounts()
    for word in (None, "malicious", "Known", "safe", "dubious", "dubious", *map(str, range(50))):
        counts.reputation_word(word)
    assert counts.new_reputations["dubious"] == 2
    assert len(counts.new_reputations) == 20
