"""HTML pages that load nothing and run no script.

All inserted text goes through :func:`text`, which removes markup and control characters.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from schemas.values import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

MAX_TEXT_LENGTH = 1_000
BASE_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --faint: #5d6670; --line: #d6dbe0;
  --mark: #eef4ff; --good: #1f77b4; --bad: #c2334d; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e6e9ec; --faint: #9aa4af;
  --line: #343b44; --mark: #1d2a3f; --good: #5fb0ea; --bad: #ff6b81; } }
body { background: var(--page); color: var(--ink); margin: 2rem auto; max-width: 66rem;
  padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th { font-weight: 600; }
td.words, th.words { text-align: left; }
.faint { color: var(--faint); }
"""


class Markup(str):
    """Text that is HTML already. Any other text is escaped where it is inserted."""

    __slots__ = ()


def text(value: object, longest: int = MAX_TEXT_LENGTH) -> Markup:
    """Return *value* as escaped text without control characters; markup as it is."""
    return value if isinstance(value, Markup) else Markup(escape(printable(value, longest)))


def document(title: str, style: str, body: Iterable[str], *, head: Sequence[str] = ()) -> str:
    """Return a page; *body* and *head* are lines of HTML."""
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        *head,
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{text(title)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        *body,
        "</body>",
        "</html>",
        "",
    )
    return "\n".join(lines)


def table(
    label: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    words: Collection[int] = (0,),
    marked: Collection[int] = (),
) -> Markup:
    """Return a table that scrolls sideways if it must; the first cell of a row is its head.

    *label* names it for screen readers. *words* are the columns that are aligned to the left,
    *marked* the numbers of the rows of class ``recommended``.
    """
    kinds = [' class="words"' if number in words else "" for number in range(len(heads))]
    top = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(heads, kinds, strict=True)
    )
    found = [
        f'<div class="wide" role="region" aria-label="{text(label)}" tabindex="0">',
        "<table>",
        f"<thead><tr>{top}</tr></thead>",
        "<tbody>",
    ]
    for number, row in enumerate(rows):
        first = f'<th scope="row"{kinds[0]}>{text(row[0])}</th>'
        rest = (
            f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True)
        )
        mark = ' class="recommended"' if number in marked else ""
        found.append(f"<tr{mark}>{first}{''.join(rest)}</tr>")
    return Markup("\n".join((*found, "</tbody>", "</table>", "</div>")))


def definitions(figures: Iterable[tuple[str, object]]) -> Markup:
    """Return a list of names with their values."""
    inner = "\n".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in figures)
    return Markup(f"<dl>\n{inner}\n</dl>")
