"""The status page: what a person wants to see first. Values in, HTML out.

It runs no script and loads nothing, and has no IP address, account or address of a source.
"""

from __future__ import annotations

import base64
import hashlib
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consumers.html import BASE_STYLE, Markup, definitions, document, table, text
from schemas import metrics as m
from schemas.durations import DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS
from schemas.health import Problem
from schemas.intel.verdicts import REPLICA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.enrichment.budget import QuotaStatus
    from consumers.service.figures import Activity, Figures
    from consumers.service.status import ServiceView

REFRESH_SECONDS = 30
"""Seconds after which the page is loaded again, for who has asked for it."""
PAGE_STYLE = (
    BASE_STYLE
    + """
:root { --link: #0b5cad; --soon: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --link: #7cb8f0; --soon: #ffb347; } }
p, li, dd, th[scope="row"] { overflow-wrap: anywhere; }
a { color: var(--link); }
.state { background: var(--mark); border-left: 4px solid var(--good); padding: .8rem 1rem;
  font-size: 1.1rem; }
.state.degraded { border-color: var(--soon); } .state.blocked { border-color: var(--bad); }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .3rem 1.2rem; }
dt { color: var(--faint); } dd { margin: 0; }
@media (max-width: 40rem) { dl { display: block; } dd { margin-bottom: .5rem; } }
li { margin-bottom: .6rem; }
li p { margin: .2rem 0 0; }
"""
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every page with :data:`PAGE_STYLE`."""


def status_page(view: ServiceView, *, details: bool, refresh: bool) -> str:
    """Return the page.

    Without *details* it has no names of hubs, sources and instances, and no texts of problems:
    only codes and figures. With *refresh* the browser loads it again every half minute.
    """
    kind, sentence = _state(view)
    body = [
        "<main>",
        "<h1>signinwatch status</h1>",
        f'<p class="state {kind}" role="status">{text(sentence)}</p>',
        *_problems(view, details),
        "<h2>Figures</h2>",
        definitions(_figures(view)),
        "<h2>Sources</h2>",
        *_sources(view, details),
    ]
    if details:
        body += [*_partitions(view.figures), *_service(view)]
    body += [*_foot(view, details, refresh), "</main>"]
    again = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
    title = f"signinwatch: {kind}"
    return document(title, PAGE_STYLE, body, head=[again] if refresh else [])


def _state(view: ServiceView) -> tuple[str, str]:
    """Return a word and a sentence."""
    codes = {problem["code"] for problem in view.problems}
    if Problem.DRAINING in codes:
        return "draining", "Shutting down: what was read is being settled."
    if Problem.STARTING in codes or not view.ready:
        return "starting", "Starting: not everything is connected yet."
    if not view.healthy:
        return "blocked", "Blocked: a problem keeps sign-ins from being judged."
    if codes:
        return "degraded", "Degraded: sign-ins are judged, but something is wrong."
    return "healthy", "Healthy: sign-ins are judged."


def _problems(view: ServiceView, details: bool) -> Iterator[str]:
    yield f"<h2>Problems: {len(view.problems)}</h2>"
    if not view.problems:
        yield "<p>None.</p>"
        return
    yield "<ul>"
    for problem in view.problems:
        yield f"<li>{_problem(problem, details)}</li>"
    yield "</ul>"


def _problem(problem: dict[str, Any], details: bool) -> str:
    code = text(problem["code"])
    since = text(str(problem["since"])[:19].replace("T", " "))
    effect = (
        "keeps sign-ins from being judged" if problem["blocking"] else "sign-ins are still judged"
    )
    line = f'<a href="runbook#{code}">{code}</a>: since {since} UTC; {effect}'
    if not details:
        return line
    part = f" ({text(problem['part'])})" if problem["part"] else ""
    return f"{line}{part}<p>{text(problem['detail'])}</p>"


def _figures(view: ServiceView) -> Iterator[tuple[str, str]]:
    figures = view.figures
    yield "Lag", _lag(figures)
    yield "Throughput", _throughput(view.activity)
    yield "Latency", _latency(view.activity)
    severities = figures.by_labels(m.FINDINGS)
    parts = ", ".join(f"{_number(count)} {labels[0]}" for labels, count in severities.items())
    total = _number(figures.total(m.FINDINGS))
    yield "Findings since the start", f"{total}: {parts}" if parts else total
    queued = figures.total(m.FINDINGS_QUEUED)
    if queued:
        yield "Findings to be sent", _number(queued)
    yield "Answered without a lookup", f"{figures.total(m.CACHE_HIT_SHARE):.0%} of sign-ins"
    yield "Quota", _quota(view.quota, view.now)
    waiting, addresses = figures.total(m.WAITING), figures.total(m.WAITING_ADDRESSES)
    yield (
        "Waiting",
        f"{_number(waiting)} sign-ins for the lookup of {_number(addresses)} IP addresses",
    )
    yield "Dropped", f"{_number(figures.total(m.DROPPED))} sign-ins that waited too long"
    yield "Quarantined", f"{_number(figures.total(m.QUARANTINED))} records and findings"


def _lag(figures: Figures) -> str:
    owned = len(figures.by_labels(m.STANDING))
    if not owned:
        return "no partition is read yet"
    partitions = f"{owned} partition{'s' if owned > 1 else ''} of this instance"
    if not figures.by_labels(m.LAG):
        return f"not known yet, in {partitions}"
    return f"{_number(figures.total(m.LAG))} messages in {partitions}"


def _throughput(activity: Activity | None) -> str:
    if activity is None:
        return "not known yet"
    totals = activity.totals
    return (
        f"{activity.signins_per_second:,.1f} sign-ins a second over the last "
        f"{duration(activity.seconds)}: {_number(totals.signins)} sign-ins, "
        f"{_number(totals.findings)} findings, {_number(totals.lookups)} lookups"
    )


def _latency(activity: Activity | None) -> str:
    half = activity.latency(0.5) if activity is not None else None
    most = activity.latency(0.95) if activity is not None else None
    if activity is None or half is None or most is None:
        return "no findings in the last minutes"
    return (
        f"from arrival in the hub to the finding: half {_bound(half)}, 95% {_bound(most)} "
        f"(last {duration(activity.seconds)})"
    )


def _bound(seconds: float) -> str:
    return "longer than a day" if math.isinf(seconds) else f"within {duration(seconds)}"


def _quota(quota: QuotaStatus | None, now: float) -> str:
    if quota is None:
        return "no paid lookups, or not read yet"
    ends = f"{datetime.fromtimestamp(quota.ends, UTC):%Y-%m-%d}"
    used = f"{_number(quota.spent)} of {_number(quota.quota)} lookups used"
    left = f"{_number(quota.left)} left until {ends} (in {duration(quota.ends - now)})"
    if quota.allowed is None:
        return f"{used}; {left}"
    return f"{used}, the pace allows {_number(quota.allowed)} by now; {left}"


def _sources(view: ServiceView, details: bool) -> Iterator[str]:
    ages = {labels[0]: age for labels, age in view.figures.by_labels(m.FEED_AGE).items()}
    counts = {labels[0]: n for labels, n in view.figures.by_labels(m.FEED_INDICATORS).items()}
    if () in (replica := view.figures.by_labels(m.REPLICA_AGE)):
        ages[REPLICA] = replica[()]
    if not details:
        oldest = f"; the oldest data is {duration(max(ages.values()))} old" if ages else ""
        unread = sum(name not in ages for name in counts)
        never = f"; {unread} not read yet" if unread else ""
        yield f"<p>{len(view.facts.sources)} configured{oldest}{never}.</p>"
        return
    rows = [
        (
            name,
            duration(ages[name]) if name in ages else "never read" if name in counts else "",
            _number(counts[name]) if name in counts else "",
        )
        for name in dict.fromkeys((*view.facts.sources, *counts, *ages))
    ]
    yield table("Sources", ("Source", "Age", "Indicators"), rows)


def _partitions(figures: Figures) -> Iterator[str]:
    yield "<h2>Partitions of this instance</h2>"
    lags = figures.by_labels(m.LAG)
    checkpoints = figures.by_labels(m.CHECKPOINT_AGE)
    rows = [
        (
            labels[0],
            _number(lags[labels]) if labels in lags else "",
            f"{duration(standing)} ago",
            f"{duration(checkpoints.get(labels, 0.0))} ago",
        )
        for labels, standing in sorted(figures.by_labels(m.STANDING).items())
    ]
    heads = ("Partition", "Lag", "Last progress", "Last checkpoint")
    yield table("Partitions", heads, rows) if rows else "<p>None is read yet.</p>"


def _service(view: ServiceView) -> Iterator[str]:
    facts = view.facts
    yield "<h2>Service</h2>"
    counts = view.figures.by_labels(m.PARTITIONS)
    hubs = (f"{hub} ({_number(counts.get((hub,), 0))} partitions)" for hub in facts.hubs)
    yield definitions(
        (
            ("Version", facts.version),
            ("Instance", facts.instance),
            ("Event hubs", ", ".join(hubs)),
            ("Findings go to", facts.sink),
            ("Running for", duration(view.running)),
        )
    )


def _foot(view: ServiceView, details: bool, refresh: bool) -> Iterator[str]:
    if not details:
        yield (
            '<p class="faint">Names and texts are shown to a browser on the same machine, or with '
            "SIGNINWATCH_HTTP__DETAILS=true.</p>"
        )
    when = f"{datetime.fromtimestamp(view.now, UTC):%Y-%m-%d %H:%M:%S}"
    link = Markup(f'<a href="?refresh">Refresh every {REFRESH_SECONDS} seconds</a>')
    if refresh:
        link = Markup('<a href="?">Stop refreshing</a>')
    yield f'<p class="faint">As of {when} UTC. {link}</p>'


def _number(value: float) -> str:
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time span with its unit, for people."""
    for unit, size in (("days", DAY_SECONDS), ("h", HOUR_SECONDS), ("min", MINUTE_SECONDS)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.3g} s" if seconds < MINUTE_SECONDS else f"{seconds:,.0f} s"
