"""``signinwatch demo``: the whole pipeline on bundled data and mock services."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import PATH
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from consumers.commands.replay import Progress, ReplayResult
    from consumers.wiring.replay import ReplayPipeline, StateFolder
    from producers.demo import Demo
    from schemas.rows.findings import FindingRow


MONTHLY_QUOTA = 25_000
"""Lookups per month of the demo's CrowdSec key."""
MAX_ROWS_SHOWN = 12
"""Findings that the demo shows; the file holds all."""


@click.command("demo")
@click.option(
    "--findings",
    type=PATH,
    default=Path("signinwatch-demo-findings.jsonl"),
    show_default=True,
    help="File for the findings.",
)
def demo_command(findings: Path) -> None:
    """Run the whole pipeline offline on bundled data. No account needed."""
    if str(findings) == "-" or findings.is_dir() or not findings.resolve().parent.is_dir():
        raise ConfigurationError(f"--findings {findings}: must be a file in an existing folder")
    raise SystemExit(run_demo(findings, Console(stderr=True), Console()))


def run_demo(findings: Path, errors: Console, out: Console) -> int:
    """Replay the bundled recording, show the findings, and compare them with the seeded attacks.

    Returns the exit status: 0 if exactly the seeded addresses were found and the shipped rule
    alerts. ConfigurationError, before any work, if the extra ``demo`` is not installed.
    """
    from consumers.wiring.replay import StateFolder
    from producers.demo import load_demo
    from producers.demo.rule import require_parts

    require_parts()
    demo = load_demo()
    out.print(
        "[bold]Three and a half days of a fictional company[/bold] run through the real pipeline: "
        "recorded Event Hubs messages in, a mock CrowdSec on loopback, findings out.\n"
    )
    with (
        resources.as_file(demo.recording) as recording,
        StateFolder(None) as folder,
        screens.progress_bar(errors, recording.stat().st_size) as advance,
    ):

        def progress(read: int, chain: ReplayPipeline | None) -> None:
            advance(read, f"{chain.pipeline.counts.signins:,} sign-ins" if chain else "")

        told = asyncio.run(_replay(demo, recording, folder, findings, progress))
    rows: list[FindingRow] = [orjson.loads(line) for line in findings.read_bytes().splitlines()]
    _show(demo, rows, told, findings, out)
    alerted = _show_alerts(rows, out)
    return 0 if alerted and {row["IPAddress"] for row in rows} == set(demo.planted) else 1


async def _replay(
    demo: Demo, recording: Path, folder: StateFolder, findings: Path, progress: Progress
) -> ReplayResult:
    from pydantic import SecretStr

    from consumers.commands.replay import ReplayOptions, replay
    from consumers.settings import CrowdSecSettings, Settings
    from consumers.wiring.replay import make_sink
    from producers.demo.stand_in import CrowdSecStandIn

    async with CrowdSecStandIn(demo.crowdsec) as url:
        crowdsec = CrowdSecSettings(api_key=SecretStr("demo"), url=url, monthly_quota=MONTHLY_QUOTA)
        settings = Settings.model_construct(crowdsec=crowdsec)
        plan = ReplayOptions([str(recording)])
        sink = lambda: make_sink(settings, str(findings))  # noqa: E731
        return await replay(settings, plan, folder, sink, progress)


def _show(
    demo: Demo, rows: list[FindingRow], told: ReplayResult, findings: Path, out: Console
) -> None:
    from producers.findings_file import worst_first

    worst = sorted(rows, key=worst_first)[:MAX_ROWS_SHOWN]
    out.print(screens.findings_table(worst, len(rows), out.width))
    out.print(screens.addresses_table(rows, demo.planted))
    out.print(screens.summary_panel(told.summary, told.notes))
    found = {row["IPAddress"] for row in rows}
    planted = set(demo.planted)
    if found == planted:
        out.print(
            f"[bold green]All {len(planted)} seeded malicious IPs were found, and no others.[/] "
            f"The findings are in {findings}."
        )
    else:
        out.print(
            f"[bold red]Missed: {sorted(planted - found)}; unexpected: {sorted(found - planted)}"
        )


def _show_alerts(rows: list[FindingRow], out: Console) -> int:
    from producers.demo.rule import alerts

    told = alerts(rows, datetime.now(UTC))
    out.print(
        "\n[bold]Alerts in Microsoft Sentinel[/bold]: the shipped rule for successful sign-ins, "
        "its KQL evaluated here over these findings. The rule ignores replayed findings; for this "
        "view they count as live, within one run."
    )
    out.print(screens.alerts_table(told))
    return len(told)
