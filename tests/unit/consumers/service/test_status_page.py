"""The status page: whole, closed, readable, and silent about names unless details are wanted."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html import unescape
from typing import Any

import pytest

from consumers.enrichment.budget import QuotaStatus
from consumers.service.figures import Activity, ActivityTotals, Figures
from consumers.service.log_lines import ServiceFacts
from consumers.service.runbook import runbook_page
from consumers.service.status import ServiceView
from consumers.service.status_page import PAGE_HEADERS, PAGE_STYLE, duration, status_page
from docs.build_reference import DOCS, RUNBOOK_COPY
from schemas import metrics as m
from schemas.durations import DAY_SECONDS
from schemas.health import Problem
from tests.support.html_page import HOSTILE, Page

NOW = 1_780_000_000.0
SHOWN = HOSTILE.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
LEAST_CONTRAST = 4.5
"""WCAG 2.2, 1.4.3."""


def problem(code: str, *, blocking: bool = False, text: str = HOSTILE) -> dict[str, Any]:
    """Return a problem as health reports it."""
    since = "2026-05-28T20:26:40.000000Z"
    return {"code": code, "part": text, "since": since, "detail": text, "blocking": blocking}


def figures(name: str = HOSTILE) -> Figures:
    """Return figures of a service with one partition, a feed and the replica."""
    return Figures(
        [
            m.Sample(m.LAG, 1_234, (name,)),
            m.Sample(m.STANDING, 30, (name,)),
            m.Sample(m.CHECKPOINT_AGE, 5, (name,)),
            m.Sample(m.PARTITIONS, 4, (name,)),
            m.Sample(m.FINDINGS, 7, ("High",)),
            m.Sample(m.FEED_AGE, 7_200, (name,)),
            m.Sample(m.FEED_INDICATORS, 98_765, (name,)),
            m.Sample(m.FEED_INDICATORS, 0, ("unread",)),
            m.Sample(m.REPLICA_AGE, 36_000),
            m.Sample(m.CACHE_HIT_SHARE, 0.875),
            m.Sample(m.WAITING, 321),
            m.Sample(m.WAITING_ADDRESSES, 45),
        ]
    )


def view(**changes: Any) -> ServiceView:
    """Return everything that can be shown, with hostile names and texts."""
    values: dict[str, Any] = {
        "facts": ServiceFacts(HOSTILE, HOSTILE, [HOSTILE], [HOSTILE, "crowdsec"], HOSTILE, 8_080),
        "ready": True,
        "healthy": True,
        "problems": [problem("feed-down")],
        "now": NOW,
        "running": 86_400.0,
        "figures": figures(),
        "activity": Activity(
            600.0, ActivityTotals(3_000, 8, 12, [(0.5, 4), (2.0, 8), (math.inf, 8)])
        ),
        "quota": QuotaStatus("2026-05-01", 1_500, 400, 450, NOW + 4 * DAY_SECONDS),
        **changes,
    }
    return ServiceView(**values)


@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize("refresh", [True, False])
def test_the_page_is_whole_and_closed(details: bool, refresh: bool) -> None:
    """Nothing is loaded or run; hostile text is text."""
    page = status_page(view(), details=details, refresh=refresh)
    read = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(read.seen)
    names = {name for name, _ in read.attributes}
    assert not {"src", "srcset", "style"} & names
    assert not any(name.startswith("on") for name in names)
    assert all(char.isprintable() or char == "\n" for char in page)
    links = {str(value) for name, value in read.attributes if name == "href"}
    assert all(re.fullmatch(r"\?(refresh)?|runbook#[a-z-]+", link) for link in links)
    assert (("http-equiv", "refresh") in read.attributes) == refresh
    assert any(SHOWN in text for text in read.texts) == details


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    """By its hash; the pages may not be framed, sniffed, cached or referred from."""
    for page in (status_page(view(), details=True, refresh=False), runbook_page()):
        (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = PAGE_HEADERS["Content-Security-Policy"]
        assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert PAGE_HEADERS["Cache-Control"] == "no-store"
    assert PAGE_HEADERS["X-Content-Type-Options"] == "nosniff"
    assert PAGE_HEADERS["Referrer-Policy"] == "no-referrer"


def test_without_details_there_are_codes_and_figures_only() -> None:
    """No name of a hub, feed, source or instance, no version, no text of a problem."""
    secret = "Zebra"
    shown = view(
        facts=ServiceFacts(secret, secret, [secret], [secret, "crowdsec"], secret),
        figures=figures(secret),
        problems=[problem("feed-down", text=secret), problem("key-refused", text=secret)],
    )
    page = status_page(shown, details=False, refresh=False)
    assert secret not in page
    text = unescape(" ".join(Page(page).texts))
    for expected in (
        "Problems: 2", "feed-down", "key-refused", "1,234 messages in 1 partition of",
        "5.0 sign-ins a second", "half within 0.5 s, 95% within 2 s",
        "400 of 1,500 lookups used, the pace allows 450 by now; 1,100 left until",
        "321 sign-ins for the lookup of 45 IP addresses", "88% of sign-ins",
        "2 configured; the oldest data is 10 h old; 1 not read yet",
    ):  # fmt: skip
        assert expected in text
    assert secret in status_page(shown, details=True, refresh=False)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"problems": []}, "Healthy"),
        ({}, "Degraded"),
        ({"healthy": False, "problems": [problem("key-refused", blocking=True)]}, "Blocked"),
        ({"healthy": False, "problems": [problem("starting")]}, "Starting"),
        ({"ready": False, "problems": []}, "Starting"),
        ({"ready": False, "problems": [problem("draining")]}, "Shutting down"),
    ],
)
def test_the_state_is_a_sentence(changes: dict[str, Any], word: str) -> None:
    """Not a colour alone."""
    text = Page(status_page(view(**changes), details=False, refresh=False)).texts
    assert any(line.startswith(f"{word}:") for line in text)


def test_a_service_that_has_just_started_has_a_page() -> None:
    """Where nothing is known yet, the page says so."""
    empty = view(figures=Figures([]), activity=None, quota=None, problems=[])
    text = " ".join(Page(status_page(empty, details=True, refresh=False)).texts)
    for expected in ("no partition is read yet", "not known yet", "not read yet", "None."):
        assert expected in text


@pytest.mark.parametrize("details", [True, False])
def test_screen_readers_find_their_way(details: bool) -> None:
    """A language, a heading of each level in turn, a name for each region, a head for each cell."""
    page = status_page(view(), details=details, refresh=False)
    assert '<html lang="en">' in page
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert set(levels[1:]) == {2}
    assert page.count("<table>") == page.count('role="region" aria-label="') == 2 * details
    assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", page))
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    assert all(row.startswith("<th") for row in rows)
    assert page.count("<main>") == 1


def _luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_stands_out_by_day_and_by_night() -> None:
    """Each colour of text on each colour behind it."""
    dark = "".join(re.findall(r"@media[^{]*dark\) \{(.*?)\} \}", PAGE_STYLE, re.DOTALL))
    light = re.sub(r"@media[^{]*\{.*?\} \}", "", PAGE_STYLE, flags=re.DOTALL)
    for style in (light, dark):
        colours = dict(re.findall(r"--([a-z]+): #([0-9a-f]+)", style))
        for ink in ("ink", "faint", "link"):
            for behind in ("page", "mark"):
                pair = sorted(_luminance(colours[name]) for name in (ink, behind))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= LEAST_CONTRAST, (ink, behind)


def test_every_problem_links_to_its_section_of_the_runbook() -> None:
    """The runbook is the page of the documentation, and works without internet access."""
    page = runbook_page()
    read = Page(page)
    ids = {value for name, value in read.attributes if name == "id"}
    assert ids == {what.value for what in Problem}
    targets = {str(value) for name, value in read.attributes if name == "href"}
    assert all(target == "./" or target.removeprefix("#") in ids for target in targets)
    text = " ".join(read.texts)
    assert not {"**", "`", "](", "## "} & set(re.findall(r"\*\*|`|\]\(|## ", text))
    for what in Problem:
        page = status_page(view(problems=[problem(what)]), details=False, refresh=False)
        assert f'href="runbook#{what.value}"' in page


def test_the_service_has_the_runbook_of_the_documentation() -> None:
    """``make docs`` copies it."""
    assert RUNBOOK_COPY.read_bytes() == (DOCS / "runbook.md").read_bytes()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (59, "59 s"), (90, "90 s"), (600, "10 min"), (7_200, "2 h"),
     (5 * DAY_SECONDS, "5 days")],
)  # fmt: skip
def test_time_spans_have_units(seconds: float, text: str) -> None:
    """As a person would write them."""
    assert duration(seconds) == text
