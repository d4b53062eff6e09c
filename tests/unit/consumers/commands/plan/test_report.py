"""What a plan recommends, and how it is shown: on a terminal, on a page and as an object."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson
from rich.console import Console

from consumers.commands.plan import egress as plan_egress
from consumers.commands.plan import report as plan_report
from consumers.commands.plan.console import plan_screen
from consumers.commands.plan.egress import Candidate
from consumers.commands.plan.html import plan_page
from consumers.commands.plan.report import as_json, percent, recommended, rows, sentence
from consumers.commands.plan.traffic import PLANS, SIGN_IN_KINDS, Traffic, TrafficPlan
from schemas.durations import DAY_SECONDS
from schemas.events.addresses import Networks
from tests.support.html_page import HOSTILE, Page
from tests.unit.consumers.commands.plan.test_traffic import NOW, WEEK, coverage

if TYPE_CHECKING:
    import pytest


def planned(*shares: tuple[float, float], of: int = 100) -> TrafficPlan:
    """Return plans that answer such shares of the risky and of the new sign-ins."""
    traffic = Traffic(Networks([]), WEEK)
    traffic.signins = [2 * of, of, of, of, of]
    traffic.began, traffic.ended = NOW, NOW + 30 * DAY_SECONDS
    coverages = []
    for quota, (risky, new) in zip(PLANS, shares, strict=False):
        one = coverage(quota)
        for counted, share in zip(one.kinds, (risky, risky, new, risky, risky), strict=True):
            counted.of = of
            counted.waited[0] = round(share * of)
        coverages.append(one)
    return TrafficPlan(traffic, coverages)


def test_the_smallest_plan_that_is_enough_is_recommended() -> None:
    """By both kinds of sign-in, in one sentence."""
    told = planned((0.79, 0.9), (0.9, 0.49), (0.8, 0.5), (1, 1), (1, 1))
    best = recommended(told)
    assert best is not None
    assert best.lookups_a_month == 5_000
    assert sentence(told) == (
        "Use the plan of 5,000 lookups per month, the smallest that is enough for this traffic: it "
        "covers 80.0% of the risky sign-ins with valid credentials and 50.0% of the successful "
        "sign-ins from new locations."
    )
    assert [line.recommended for line in rows(told)] == [False, False, True, False, False]
    assert [line.note for line in rows(told)][3:] == [
        "",
        "no better than 25,000: all without waiting",
    ]


def test_that_the_free_plan_is_enough_or_none_is_told_plainly() -> None:
    """Each in its own words."""
    assert sentence(planned((1, 1))).startswith("The free plan of 120 lookups per month is enough")
    told = planned((0.1, 0.1), (0.2, 0.3))
    assert recommended(told) is None
    assert sentence(told) == (
        "No plan is enough for this traffic: even 1,500 lookups per month cover only 20.0% of the "
        "risky sign-ins with valid credentials and 30.0% of the successful sign-ins from new "
        "locations (target: 80% of the risky sign-ins with valid credentials, 50% of the "
        "successful sign-ins from new locations)."
    )


def test_a_tenant_without_risk_is_planned_by_new_places_alone() -> None:
    """And that is said."""
    told = planned((0, 0.4), (0, 0.5))
    told.traffic.signins[SIGN_IN_KINDS.index("risky_let_in")] = 0
    for one in told.coverages:
        one.kinds[SIGN_IN_KINDS.index("risky_let_in")].of = 0
    best = recommended(told)
    assert best is not None
    assert best.lookups_a_month == 1_500
    assert "risky" not in sentence(told)
    assert "Entra ID P2" in plan_report.assumptions(told)[-1]


def test_nothing_is_recommended_for_nothing() -> None:
    """An empty recording is no reason to take the free plan."""
    told = planned((0, 0), of=0)
    assert recommended(told) is None
    assert as_json(told)["recommendation"] == "There are no sign-ins to plan for."


def test_shares_are_never_rounded_up() -> None:
    """A hundred per cent means all."""
    assert [percent(share) for share in (None, 0, 0.9999, 1)] == ["-", "0.0%", "99.9%", "100.0%"]


def test_a_short_recording_says_that_a_month_is_an_upper_bound() -> None:
    """Its addresses may be the same ones next week; of hours nothing is said at all."""
    told = planned((1, 1))
    texts = []
    for days in (0.5, 2, 30):
        told.traffic.ended = NOW + days * DAY_SECONDS
        texts.append("upper bound" in " ".join(plan_report.assumptions(told)))
    assert texts == [False, True, False]
    told.traffic.ended = NOW + 3_600
    assert "Less than a day" in " ".join(plan_report.assumptions(told))


# --- what is shown ---


def hostile(monkeypatch: pytest.MonkeyPatch) -> TrafficPlan:
    """Return a plan whose texts are hostile wherever one may come from outside."""
    told = planned((0.5, 0.5), (1, 1))
    told.notes = [HOSTILE]
    bad = Candidate(HOSTILE, 1_000, 3, 10, 10, 0.0, 1.0, 5)
    monkeypatch.setattr(plan_egress.Egress, "candidates", lambda self: [bad])
    return told


def test_the_page_is_whole_and_holds_everything_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Well-formed, nothing loaded, nothing run, and hostile text is text."""
    page = plan_page(hostile(monkeypatch))
    read = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "a"} & set(read.seen)
    assert {"table", "svg", "style"} <= set(read.seen)
    names = {name for name, _ in read.attributes}
    assert not {"src", "href", "srcset", "style"} & names
    assert not any(name.startswith("on") for name in names)
    assert not any(word in page for word in ("http://", "https://", "url(", "@import", "//"))
    assert "prefers-color-scheme: dark" in page
    assert HOSTILE.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd") in read.texts
    assert all(one.isprintable() or one == "\n" for one in page)
    assert sentence(planned((0.5, 0.5), (1, 1))) in read.texts
    bars = [value for name, value in read.attributes if name == "width"]
    assert "300.0" in bars  # half of the rail


def test_a_terminal_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters and markup are shown, at any width."""
    for width in (60, 80, 200):
        out = io.StringIO()
        told = hostile(monkeypatch)
        told.notes.append("[bold]not markup[/bold]")
        Console(file=out, width=width, force_terminal=False).print(plan_screen(told, width))
        text = out.getvalue()
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[bold]not markup[/bold]" in text
        assert max(map(len, text.splitlines())) <= width


def test_a_terminal_of_80_columns_is_wide_enough() -> None:
    """Nothing of the table or the chart is cut off."""
    out = io.StringIO()
    told = planned(*[(0, 0)] * 2, *[(1, 1)] * 3)
    told.coverages[-1]._until = dict.fromkeys(map(str, range(98_765)), NOW)
    told.traffic._until = dict.fromkeys(map(str, range(98_765)), NOW)
    told.coverages[0].kinds[1].waited.update({0: 60, 1_439: 40})
    Console(file=out, width=80).print(plan_screen(told, 80))
    assert "…" not in out.getvalue()
    assert "98,765 (100.0%)" in out.getvalue()
    assert "0 / 24 h" in out.getvalue()


def test_the_object_is_complete() -> None:
    """It holds what the page and the screen show, as figures."""
    told = orjson.loads(orjson.dumps(as_json(planned((0.5, 0.25), (1, 1)))))
    first = told["plans"][0]
    assert (first["lookups_a_month"], first["recommended"]) == (120, False)
    assert first["signins"]["new"] == {
        "of": 100,
        "answered": 25,
        "at_once": 25,
        "still_waiting": 0,
        "share": 0.25,
        "wait_median_minutes": 0,
        "wait_95_minutes": 0,
    }
    began = datetime.fromtimestamp(NOW, UTC)
    assert (told["recommended"], told["days"]) == (1_500, 30)
    assert datetime.fromisoformat(told["to"]) - began == timedelta(days=30)
