"""The page of ``plan --html``: one file that loads no resources and runs no scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.commands.plan.report import assumptions, overview, rows, sentence
from consumers.html import BASE_STYLE, definitions, document, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.commands.plan.egress import Candidate
    from consumers.commands.plan.report import PlanRow
    from consumers.commands.plan.traffic import TrafficPlan

BARS = {
    "risky": "Risky",
    "risky_let_in": "Risky, valid credentials",
    "new": "New location",
    "successful": "Successful",
}
"""Kinds of sign-in in the chart, with label."""
_HEADS = (
    *("Lookups per month", "Lookups used", "IP addresses", "Successful", "Risky"),
    *("Risky with valid credentials", "New location", "Wait, successful", "Wait, risky", ""),
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = (
    BASE_STYLE
    + """
:root { --risky: #8a4fbf; --new: #c77700; }
@media (prefers-color-scheme: dark) { :root { --risky: #c39aee; --new: #ffb347; } }
.recommendation { background: var(--mark); border-left: 4px solid var(--good);
  padding: .8rem 1rem; font-size: 1.1rem; }
th { white-space: nowrap; }
tr.recommended { background: var(--mark); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--faint); } dd { margin: 0; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .rail { fill: var(--line); opacity: .5; }
svg .risky { fill: var(--risky); } svg .risky_let_in { fill: var(--bad); }
svg .new { fill: var(--new); }
svg .successful { fill: var(--good); }
li { color: var(--faint); }
"""
)
_WIDTH, _LEFT, _BAR, _STEP, _GAP = 900, 190, 600, 20, 16


def plan_page(planned: TrafficPlan) -> str:
    """Return the HTML page."""
    lines = rows(planned)
    body = [
        "<h1>CrowdSec plan for these sign-ins</h1>",
        f'<p class="recommendation">{text(sentence(planned))}</p>',
        *(f"<p><strong>{text(note)}</strong></p>" for note in planned.notes),
        "<h2>Traffic</h2>",
        definitions(overview(planned)),
    ]
    if planned.traffic.signins[0]:
        body += [
            "<h2>Coverage by plan</h2>",
            _table(lines),
            '<p class="faint">Share of sign-ins answered, by kind; wait of answered sign-ins: '
            "median / 95th percentile.</p>",
            _chart(lines),
            "<h2>Possible corporate egress IPs</h2>",
            _egress(planned.traffic.egress.candidates()),
        ]
    body += ["<h2>Assumptions</h2>", "<ul>"]
    body += [f"<li>{text(line)}</li>" for line in assumptions(planned)]
    body += ["</ul>"]
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return document("signinwatch plan", _STYLE, body, head=[policy])


def _table(lines: Sequence[PlanRow]) -> str:
    cells = [
        (
            line.plan,
            line.lookups,
            line.addresses,
            *(line.percents[kind] for kind in ("successful", "risky", "risky_let_in", "new")),
            line.waits["successful"],
            line.waits["risky"],
            line.note,
        )
        for line in lines
    ]
    marked = [number for number, line in enumerate(lines) if line.recommended]
    return table("Coverage by plan", _HEADS, cells, words=(len(_HEADS) - 1,), marked=marked)


def _chart(lines: Sequence[PlanRow]) -> str:
    height = len(lines) * (len(BARS) * _STEP + _GAP)
    found = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="Share of sign-ins answered, by plan">'
    ]
    top = 0
    for line in lines:
        found.append(f'<text x="0" y="{top + 14}" font-weight="600">{text(line.plan)}</text>')
        for kind, name in BARS.items():
            length = (line.shares[kind] or 0.0) * _BAR
            found += [
                f'<text x="{_LEFT - 10}" y="{top + 14}" text-anchor="end">{text(name)}</text>',
                f'<rect class="rail" x="{_LEFT}" y="{top + 3}" width="{_BAR}" height="14"></rect>',
                f'<rect class="{kind}" x="{_LEFT}" y="{top + 3}" width="{length:.1f}" '
                'height="14"></rect>',
                f'<text x="{_LEFT + _BAR + 10}" y="{top + 14}">{text(line.percents[kind])}</text>',
            ]
            top += _STEP
        top += _GAP
    return "\n".join((*found, "</svg>"))


def _egress(candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return (
            "<p>No IP address looks like corporate egress; nothing to suggest for "
            "TRUSTED_NETWORKS.</p>"
        )
    cells = [(candidate.network, candidate.why) for candidate in candidates]
    return "\n".join(
        (
            "<p>Confirm that each network is yours, then set SIGNINWATCH_TRUSTED_NETWORKS: its IP "
            "addresses then need no lookups.</p>",
            table("Possible corporate egress IPs", ("Network", "Reason"), cells, words=(0, 1)),
        )
    )
