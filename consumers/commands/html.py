"""What all HTML pages share: self-contained, closed by a policy, dark where the reader is.

All inserted text goes through :func:`text`, which removes markup and control characters.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from consumers.commands.console import plain
from consumers.commands.formats import cell_text, columns_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_CELL_LENGTH = 1_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --faint: #57606a; --line: #d6dbe0;
  --mark: #eef4ff; --high: #b3203c; --medium: #9a5b00; --low: #1765a3; --informational: #5d6670; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e6e9ec; --faint: #a3adb8;
  --line: #343b44; --mark: #1d2a3f; --high: #ff7b8f; --medium: #ffb347; --low: #6cb6f0;
  --informational: #a3adb8; } }
body { background: var(--page); color: var(--ink); margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
a { color: var(--low); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; } th, td.fixed { white-space: nowrap; overflow-wrap: normal; }
td.number, th.number { text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt, .faint { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.High { color: var(--high); font-weight: 600; } .Medium { color: var(--medium); font-weight: 600; }
.Low { color: var(--low); } .Informational { color: var(--informational); }
@media print { body { max-width: none; margin: 0; font-size: 9pt; } .wide { overflow: visible; }
  h2 { break-after: avoid; } tr, svg, details { break-inside: avoid; } }
"""


def text(value: object) -> str:
    """Return a value as escaped text without control characters."""
    return escape(str(plain(value, MAX_CELL_LENGTH)))


def page(title: str, body: Iterable[str], style: str = "") -> str:
    """Return a complete page; *style* is added to the common one."""
    head = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{text(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
<main>"""
    return "\n".join((head, *body, "</main>", "</body>", "</html>", ""))


def table(names: Sequence[str], lines: Iterable[Sequence[str]], *, label: str) -> str:
    """Return a table of cells that are HTML already, in a region that scrolls."""
    heads = "".join(f'<th scope="col">{text(name)}</th>' for name in names)
    rows = ["".join(lines_of(cells)) for cells in lines]
    inner = "\n".join(f"<tr>{cells}</tr>" for cells in rows)
    return (
        f'<div class="wide" role="region" aria-label="{text(label)}" tabindex="0">\n<table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{inner}\n</tbody>\n</table>\n</div>"
    )


def lines_of(cells: Sequence[str]) -> Iterable[str]:
    """Return the cells of a row; a cell that begins with ``<td`` is taken as it stands."""
    return (cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)


def table_page(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a page with one table of rows."""
    names = columns_of(rows)
    lines = [[text(cell_text(row.get(name))) for name in names] for row in rows]
    body = [f"<h1>{text(title)}</h1>"]
    body.append(table(names, lines, label=title) if rows else "<p>Nothing.</p>")
    return page(f"signinwatch: {title}", body)
