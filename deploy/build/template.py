"""Writes ``deploy/azuredeploy.json``, so that template, columns and rules cannot differ.

Made from ``deploy/template`` (hand-written), ``schemas/rows/columns.py`` (tables, streams) and
``deploy/sentinel`` (rules, queries, workbook). Run ``python -m deploy.build.template``
after a change of one of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.build.content import content_resources
from deploy.build.fragments import expanded, literal, merged
from schemas.rows.columns import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.rows.columns import Column

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
FILE = DEPLOY / "azuredeploy.json"
TABLE_KINDS = {"datetime": "dateTime"}
"""Where the tables API calls a kind of column another name than data collection rules do."""


def build(sentinel: Path = DEPLOY / "sentinel") -> str:
    """Return the template as text, with what the folder *sentinel* holds for analysts."""
    folder = DEPLOY / "template"
    made = {
        "tables": [_table(name, columns) for name, columns in TABLES.items()],
        "streams": {stream_of(name): {"columns": _stream(cols)} for name, cols in TABLES.items()},
        "flows": [_flow(name) for name in TABLES],
        "content": content_resources(sentinel),
        "behind": literal((folder / "behind.kql").read_text("utf-8").strip()),
    }
    return json.dumps(expanded(merged(folder), made), indent=2, ensure_ascii=False) + "\n"


def stream_of(table: str) -> str:
    """Return the stream by which rows of *table* are uploaded."""
    return f"Custom-{table}"


def _table(name: str, columns: Iterable[Column]) -> dict[str, Any]:
    return {
        "type": "Microsoft.OperationalInsights/workspaces/tables",
        "apiVersion": "2023-09-01",
        "name": f"[concat(parameters('workspaceName'), '/{name}')]",
        "properties": {
            "plan": "Analytics",
            "retentionInDays": "[parameters('retentionDays')]",
            "totalRetentionInDays": "[parameters('totalRetentionDays')]",
            "schema": {
                "name": name,
                "columns": [
                    {
                        "name": one.name,
                        "type": TABLE_KINDS.get(one.kind, one.kind),
                        "description": one.origin,
                    }
                    for one in columns
                ],
            },
        },
    }


def _stream(columns: Iterable[Column]) -> list[dict[str, str]]:
    return [{"name": one.name, "type": one.kind} for one in columns]


def _flow(table: str) -> dict[str, Any]:
    return {
        "streams": [stream_of(table)],
        "destinations": ["workspace"],
        "transformKql": "source",
        "outputStream": stream_of(table),
    }


def main() -> None:
    """Write the template."""
    FILE.write_text(build(), "utf-8")


if __name__ == "__main__":
    main()
