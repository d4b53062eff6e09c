"""Help and usage errors come at once: what is slow to load is not imported for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from consumers.cli import cli

HEAVY = ("aiohttp", "azure", "duckdb", "fastavro", "pydantic")
SLOW = tuple(
    f"consumers.{name}"
    for name in "settings ledger sources enrichment pipeline inputs service wiring".split()
)
SCRIPT = """
import sys
from consumers.cli import main
sys.argv = ["signinwatch", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    status = end.code
ours = [name for name in sys.modules if name.startswith({packages})]
print(status or 0, *sorted(set(sys.modules) & set({heavy})), *sorted(ours), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["nothing"], 2),
        (["replay"], 2),
        (["lookup", "--nope"], 2),
        *(([name, "--help"], 0) for name in sorted(cli.commands)),
    ],
)
def test_nothing_heavy_is_imported_for_help(arguments: list[str], status: int) -> None:
    """Goal: at most 0.4 s of CPU time; measured by ``time signinwatch --help``."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            SCRIPT.replace("{heavy}", repr(HEAVY)).replace("{packages}", repr(SLOW)),
            *arguments,
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    last = told.stderr.splitlines()[-1].split()
    assert last[0] == str(status), told.stderr
    assert last[1:] == []
