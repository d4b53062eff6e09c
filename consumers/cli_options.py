"""What several commands take."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)
state_option = click.option(
    "--state", type=PATH, help="Directory of the ledger and quarantine; kept between runs."
)
quota_option = click.option(
    "--quota", type=click.IntRange(min=0), help="Lookups a month; 0 asks nothing."
)
spend_option = click.option(
    "--spend", is_flag=True, help="Allow real lookups under the event clock."
)
