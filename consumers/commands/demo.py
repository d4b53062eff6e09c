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
    from consumers.commands.replay.job import Progress, ReplayResult
    from consumers.wiring.replay import ReplayPipeline, StateFolder
    from producers.demo import Demo
    from schemas.rows.findings import FindingRow


MONTHLY_QUOTA = 25_000
"""Lookups per month of the demo's CrowdSec key."""
MAX_ROWS_SHOWN = 12
"""Accounts that the demo lists."""


@click.command("demo")
@click.option(
    "--findings",
    type=PATH,
    default=Path("signinwatch-demo-findings.jsonl"),
    show_default=True,
    help="File for the findings.",
)
def demo_command(findings: Path) -> None:
    """Run the pipeline offline on bundled data and mock services."""
    if str(findings) == "-" or findings.is_dir() or not findings.resolve().parent.is_dir():
        raise ConfigurationError(f"--findings {findings}: must be a file in an existing directory")
    raise SystemExit(run_demo(findings, Console(stderr=True), Console()))


def run_demo(findings: Path, errors: Console, out: Console) -> int:
    """Replay the bundled recording, show the findings and compare them with the seeded IPs.

    Return the exit status: 0 if all seeded malicious IPs were found and no others, and the
    bundled rule raised an alert. Raise ConfigurationError first if the extra ``demo`` is not
    installed.
    """
    from consumers.wiring.replay import StateFolder
    from producers.demo import load_demo
    from producers.demo.rule import require_parts

    require_parts()
    demo = load_demo()
    out.print(
        "[bold]Three and a half days of sign-ins of a fictional company[/bold] run through the "
        "real pipeline: recorded event hub messages in, lookups in a bundled CrowdSec mock, "
        "findings out.\n"
    )
    with (
        resources.as_file(demo.recording) as recording,
        StateFolder(None) as folder,
        screens.progress_bar(errors, recording.stat().st_size) as advance,
    ):

        def progress(read: int, replayed: ReplayPipeline | None) -> None:
            signins = replayed.pipeline.counts.signins if replayed else None
            advance(read, "" if signins is None else f"{signins:,} sign-ins")

        result = asyncio.run(_replay(demo, recording, folder, findings, progress))
    rows: list[FindingRow] = [orjson.loads(line) for line in findings.read_bytes().splitlines()]
    _show(demo, rows, result, findings, out)
    alerted = _show_alerts(rows, out)
    return 0 if alerted and {row["IPAddress"] for row in rows} == set(demo.planted) else 1


async def _replay(
    demo: Demo, recording: Path, folder: StateFolder, findings: Path, progress: Progress
) -> ReplayResult:
    from pydantic import SecretStr

    from consumers.commands.replay.job import ReplayOptions, replay
    from consumers.settings import CrowdSecSettings, Settings
    from consumers.wiring.replay import make_sink
    from producers.demo.stand_in import CrowdSecStandIn

    async with CrowdSecStandIn(demo.crowdsec) as url:
        crowdsec = CrowdSecSettings(api_key=SecretStr("demo"), url=url, monthly_quota=MONTHLY_QUOTA)
        settings = Settings.model_construct(crowdsec=crowdsec)
        options = ReplayOptions([str(recording)])
        sink = lambda: make_sink(settings, str(findings))  # noqa: E731
        return await replay(settings, options, folder, sink, progress)


def _show(
    demo: Demo, rows: list[FindingRow], result: ReplayResult, findings: Path, out: Console
) -> None:
    from consumers.commands.answer.groups import grouped
    from consumers.commands.answer.screen import groups_table
    from consumers.commands.answer.times import Times

    accounts = grouped(rows).accounts
    out.print(groups_table(accounts, Times(), by="Account", most=MAX_ROWS_SHOWN))
    out.print(screens.addresses_table(rows, demo.planted))
    out.print(screens.summary_panel(result.summary, result.notes))
    found = {row["IPAddress"] for row in rows}
    seeded = set(demo.planted)
    if found == seeded:
        out.print(
            f"[bold green]All {len(seeded)} seeded malicious IPs were found, with no false "
            f"positives.[/] The findings are in {findings}."
        )
    else:
        out.print(
            f"[bold red]Missed: {sorted(seeded - found)}; false positives: {sorted(found - seeded)}"
        )


def _show_alerts(rows: list[FindingRow], out: Console) -> int:
    from consumers.commands.answer.screen import alerts_table
    from producers.demo.rule import alerts

    raised = alerts(rows, datetime.now(UTC))
    out.print(
        "\n[bold]Alerts in Microsoft Sentinel[/bold]: the KQL of the bundled rules, evaluated "
        "locally over these findings. The rules skip replayed findings; here they are treated as "
        "live findings of one rule run."
    )
    out.print(alerts_table(raised))
    return len(raised)
