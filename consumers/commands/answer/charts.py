"""Charts of the report, as SVG: findings over time, and by country. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from math import sqrt
from typing import TYPE_CHECKING

from consumers.commands.answer.world import OUTLINES, POSITIONS, outline
from consumers.html import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STYLE = """
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg .axis { stroke: var(--line); } svg .land { fill: var(--line); opacity: .6; }
svg rect.High, svg circle.High { fill: var(--high); }
svg rect.Medium, svg circle.Medium { fill: var(--medium); }
svg rect.Low, svg circle.Low { fill: var(--low); }
svg rect.Informational, svg circle.Informational { fill: var(--informational); }
svg circle { fill-opacity: .65; stroke: var(--page); }
"""
SEVERITIES = ("High", "Medium", "Low", "Informational")
MAX_BARS = 60
_STEPS = (3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)
"""Seconds that a bar may stand for."""
_WIDTH, _HEIGHT, _LEFT, _FOOT = 900, 180, 40, 24


def timeline(times: Sequence[tuple[datetime, str]]) -> str:
    """Return bars of findings over time by severity; nothing without times."""
    if not times:
        return ""
    start, end = min(times)[0], max(times)[0]
    seconds = next(
        (it for it in _STEPS if (end - start).total_seconds() / it < MAX_BARS), _STEPS[-1]
    )
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    bars = Counter((int((time - midnight).total_seconds() // seconds), it) for time, it in times)
    numbers = [number for number, _ in bars]
    first, count = min(numbers), max(numbers) - min(numbers) + 1
    most = max(sum(bars[number, it] for it in SEVERITIES) for number in set(numbers))
    step = (_WIDTH - _LEFT) / max(count, 12)
    label = f"Findings over time, at most {most:,} in {_duration(seconds)}"
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" role="img" aria-label="{text(label)}">'
    ]
    parts.append(f'<text x="0" y="12">{most:,}</text><text x="0" y="{_HEIGHT}">0</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>')
    for number in sorted(set(numbers)):
        begin, top = midnight + timedelta(seconds=number * seconds), float(_HEIGHT)
        for severity in reversed(SEVERITIES):
            found = bars[number, severity]
            height = found / most * (_HEIGHT - 4)
            top -= height
            if found:
                parts.append(
                    f'<rect class="{severity}" x="{_LEFT + (number - first) * step:.1f}" '
                    f'y="{top:.1f}" width="{max(1.0, step - 1):.1f}" height="{height:.1f}">'
                    f"<title>{begin:%Y-%m-%d %H:%M}: {found:,} {severity}</title></rect>"
                )
    foot = _HEIGHT + _FOOT - 6
    parts.append(f'<text x="{_LEFT}" y="{foot}">{start:%Y-%m-%d %H:%M}</text>')
    if end > start:
        parts.append(f'<text x="{_WIDTH}" y="{foot}" text-anchor="end">{end:%Y-%m-%d %H:%M}</text>')
    return "\n".join((*parts, "</svg>"))


def _duration(seconds: int) -> str:
    hours = seconds // 3_600
    return f"{hours} h" if hours < 24 else f"{hours // 24} d"


def country_map(counts: Mapping[str, tuple[int, str]]) -> str:
    """Return a map with a circle for each country, by its findings and worst severity.

    Countries without a known position are left out; the table has them.
    """
    known = {code: it for code, it in counts.items() if code.upper() in POSITIONS}
    if not known:
        return ""
    most = max(count for count, _ in known.values())
    parts = [
        '<svg viewBox="0 0 900 400" role="img" aria-label="Map of findings by country; the table '
        'has the figures">'
    ]
    for shape in OUTLINES:
        points = " ".join("{:.0f},{:.0f}".format(*_place(*it)) for it in outline(shape))
        parts.append(f'<polygon class="land" points="{points}"/>')
    for code, (count, severity) in sorted(known.items(), key=lambda it: -it[1][0]):
        x, y = _place(*POSITIONS[code.upper()])
        radius = 5 + 17 * sqrt(count / most)
        parts.append(
            f'<circle class="{severity}" cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}">'
            f"<title>{text(code)}: {count:,}</title></circle>"
            f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle">{text(code)}</text>'
        )
    return "\n".join((*parts, "</svg>"))


def _place(latitude: float, longitude: float) -> tuple[float, float]:
    """Return where a position is on the map, which leaves out the polar regions."""
    return (longitude + 180) * 2.5, (84 - latitude) * 400 / 144
