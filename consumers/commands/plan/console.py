"""The terminal output of ``plan``. Text from events is never interpreted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from consumers.commands.console import plain
from consumers.commands.plan.report import assumptions, overview, rows, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from consumers.commands.plan.egress import Candidate
    from consumers.commands.plan.report import PlanRow
    from consumers.commands.plan.traffic import TrafficPlan

BARS = {
    "risky": ("risky", "magenta"),
    "risky_let_in": ("valid credentials", "red"),
    "new": ("new location", "yellow"),
    "successful": ("successful", "cyan"),
}
"""Kinds of sign-in in the chart, with label and colour."""
WIDEST_BAR = 50
_BESIDE_BAR = 36


def plan_screen(planned: TrafficPlan, width: int) -> RenderableType:
    """Return the output of ``plan`` for a terminal of *width* columns."""
    lines = rows(planned)
    parts: list[RenderableType] = [_overview(planned)]
    if planned.traffic.signins[0]:
        parts += [_table(lines), _chart(lines, width)]
        parts += [Text(), _egress(planned.traffic.egress.candidates()), Text()]
    parts.append(Text(sentence(planned), style="bold"))
    parts += [Text.assemble(("! ", "yellow"), plain(note, 1_000)) for note in planned.notes]
    parts += [Text(), Text("Assumptions", style="bold")]
    parts += [Text(f"- {line}", style="dim") for line in assumptions(planned)]
    return Group(*parts)


def _overview(planned: TrafficPlan) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in overview(planned):
        table.add_row(Text(name, style="bold"), plain(value, 200))
    return table


def _table(lines: Sequence[PlanRow]) -> Table:
    title = "Sign-ins answered, by plan (wait of successful ones: p50 / p95)"
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    names = ("Lookups\nper month", "IP addresses", "Successful", "Risky", "Valid cre-\ndentials")
    for name in (*names, "New lo-\ncation", "Wait"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.plan,
            line.addresses,
            *(line.percents[kind] for kind in ("successful", "risky", "risky_let_in", "new")),
            line.waits["successful"],
            style="bold" if line.recommended else "",
        )
    return table


def _chart(lines: Sequence[PlanRow], width: int) -> Table:
    longest = max(10, min(WIDEST_BAR, width - _BESIDE_BAR))
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    for line in lines:
        for number, (kind, (name, colour)) in enumerate(BARS.items()):
            filled = round((line.shares[kind] or 0.0) * longest)
            bar = Text("█" * filled, style=colour)
            bar.append("░" * (longest - filled), style="dim")
            first = Text(line.plan, style="bold") if number == 0 else Text()
            table.add_row(first, Text(name, style=colour), bar, line.percents[kind])
        if line.note:
            table.add_row("", "", Text(line.note, style="italic"), "")
    return table


def _egress(candidates: Sequence[Candidate]) -> RenderableType:
    if not candidates:
        return Text(
            "No IP address looks like corporate egress; nothing to suggest for TRUSTED_NETWORKS."
        )
    title = "Possible corporate egress IPs: confirm each, then set TRUSTED_NETWORKS"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("Network", overflow="fold")
    table.add_column("Reason")
    for candidate in candidates:
        table.add_row(plain(candidate.network), plain(candidate.why, 300))
    return table
