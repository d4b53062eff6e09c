"""The pages that commands write: one file each, closed by a policy, fit for paper as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumers.commands.formats import cell_text, columns_of
from consumers.html import BASE_STYLE, Markup, document, table, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
CLOSED = (
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
    '<meta name="referrer" content="no-referrer">',
)
"""Lines of a page's head: nothing is loaded, and links do not say where they are."""
_STYLE = """
:root { --faint: #57606a; --high: #b3203c; --medium: #8a5000; --low: #1765a3;
  --informational: #5d6670; }
@media (prefers-color-scheme: dark) { :root { --faint: #a3adb8; --high: #ff7b8f; --medium: #ffb347;
  --low: #6cb6f0; --informational: #a3adb8; } }
body { max-width: 76rem; } a { color: var(--low); }
table { font-size: .9rem; } th, td { vertical-align: top; } thead th { white-space: nowrap; }
.fixed { white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.High { color: var(--high); font-weight: 600; } .Medium { color: var(--medium); font-weight: 600; }
.Low { color: var(--low); } .Informational { color: var(--informational); }
@media print { body { max-width: none; margin: 0; font-size: 8pt; } .wide { overflow: visible; }
  table { font-size: 7pt; } th, td { overflow-wrap: anywhere; padding: .2rem; }
  .fixed { white-space: normal; } h2 { break-after: avoid; } tr, svg { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str], style: str = "") -> str:
    """Return a complete page; *style* is added to the common one."""
    return document(
        title, f"{BASE_STYLE}{_STYLE}{style}", ("<main>", *body, "</main>"), head=CLOSED
    )


def spanned(value: object, name: str) -> Markup:
    """Return a text with the class *name*."""
    return Markup(f'<span class="{name}">{text(value)}</span>')


def table_page(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a page with one table of rows."""
    names = columns_of(rows)
    lines = [[cell_text(row.get(name)) for name in names] for row in rows]
    shown = table(title, names, lines, words=range(len(names))) if rows else "<p>Nothing.</p>"
    return page(f"signinwatch: {title}", (f"<h1>{text(title)}</h1>", shown))
