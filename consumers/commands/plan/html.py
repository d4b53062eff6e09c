"""The page of ``plan --html``: one file that loads no resources and runs no scripts.

All inserted text goes through :func:`_text`, which removes markup and control characters.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from consumers.commands.console import plain
from consumers.commands.plan.report import assumptions, overview, rows, sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
MAX_CELL_LENGTH = 1_000
_HEADS = (
    *("Lookups per month", "Lookups used", "IP addresses", "Successful", "Risky"),
    *("Risky with valid credentials", "New location", "Wait, successful", "Wait, risky", ""),
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --faint: #5d6670; --line: #d6dbe0;
  --mark: #eef4ff; --risky: #8a4fbf; --let: #c2334d; --new: #c77700; --successful: #1f77b4; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e6e9ec; --faint: #9aa4af;
  --line: #343b44; --mark: #1d2a3f; --risky: #c39aee; --let: #ff6b81; --new: #ffb347;
  --successful: #5fb0ea; } }
body { background: var(--page); color: var(--ink); margin: 2rem auto; max-width: 66rem;
  padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.recommendation { background: var(--mark); border-left: 4px solid var(--successful);
  padding: .8rem 1rem; font-size: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th { font-weight: 600; white-space: nowrap; }
td.words, th.words { text-align: left; }
tr.recommended { background: var(--mark); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--faint); } dd { margin: 0; }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 13px; }
svg .rail { fill: var(--line); opacity: .5; }
svg .risky { fill: var(--risky); } svg .risky_let_in { fill: var(--let); }
svg .new { fill: var(--new); }
svg .successful { fill: var(--successful); }
li, .faint { color: var(--faint); }
"""
_WIDTH, _LEFT, _BAR, _STEP, _GAP = 900, 190, 600, 20, 16


def plan_page(planned: TrafficPlan) -> str:
    """Return the HTML page."""
    lines = rows(planned)
    body = [
        "<h1>CrowdSec plan for these sign-ins</h1>",
        f'<p class="recommendation">{_text(sentence(planned))}</p>',
        *(f"<p><strong>{_text(note)}</strong></p>" for note in planned.notes),
        "<h2>Traffic</h2>",
        _overview(overview(planned)),
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
    body += [f"<li>{_text(line)}</li>" for line in assumptions(planned)]
    body += ["</ul>"]
    return "\n".join((_HEAD, *body, "</body>", "</html>", ""))


_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>signinwatch plan</title>
<style>{_STYLE}</style>
</head>
<body>"""


def _text(value: object) -> str:
    """Return *value* as escaped text without control characters."""
    return escape(str(plain(value, MAX_CELL_LENGTH)))


def _overview(figures: Iterable[tuple[str, str]]) -> str:
    inner = "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in figures)
    return f"<dl>\n{inner}\n</dl>"


def _table(lines: Sequence[PlanRow]) -> str:
    heads = "".join(f'<th scope="col">{_text(name)}</th>' for name in _HEADS)
    found = ['<div class="wide">', "<table>", f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    for line in lines:
        cells = (
            line.plan,
            line.lookups,
            line.addresses,
            *(line.percents[kind] for kind in ("successful", "risky", "risky_let_in", "new")),
            line.waits["successful"],
            line.waits["risky"],
        )
        marked = ' class="recommended"' if line.recommended else ""
        inner = "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        found.append(f'<tr{marked}>{inner}<td class="words">{_text(line.note)}</td></tr>')
    return "\n".join((*found, "</tbody>", "</table>", "</div>"))


def _chart(lines: Sequence[PlanRow]) -> str:
    height = len(lines) * (len(BARS) * _STEP + _GAP)
    found = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-label="Share of sign-ins answered, by plan">'
    ]
    top = 0
    for line in lines:
        found.append(f'<text x="0" y="{top + 14}" font-weight="600">{_text(line.plan)}</text>')
        for kind, name in BARS.items():
            length = (line.shares[kind] or 0.0) * _BAR
            found += [
                f'<text x="{_LEFT - 10}" y="{top + 14}" text-anchor="end">{_text(name)}</text>',
                f'<rect class="rail" x="{_LEFT}" y="{top + 3}" width="{_BAR}" height="14"></rect>',
                f'<rect class="{kind}" x="{_LEFT}" y="{top + 3}" width="{length:.1f}" '
                'height="14"></rect>',
                f'<text x="{_LEFT + _BAR + 10}" y="{top + 14}">{_text(line.percents[kind])}</text>',
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
    found = [
        "<p>Confirm that each network is yours, then set SIGNINWATCH_TRUSTED_NETWORKS: its IP "
        "addresses then need no lookups.</p>",
        '<div class="wide">',
        "<table>",
        '<thead><tr><th scope="col" class="words">Network</th>'
        '<th scope="col" class="words">Reason</th></tr></thead>',
        "<tbody>",
    ]
    for candidate in candidates:
        texts = (candidate.network, candidate.why)
        cells = (f'<td class="words">{_text(text)}</td>' for text in texts)
        found.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join((*found, "</tbody>", "</table>", "</div>"))
