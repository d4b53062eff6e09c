"""The runbook as a page, so that a link from the status page works without internet access.

``runbook.md`` beside this file is a copy of ``docs/runbook.md``; ``make docs`` renews it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from consumers.html import Markup, document, text
from consumers.service.status_page import PAGE_STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*(.+?)\*\*")


@cache
def runbook_page() -> str:
    """Return the page; each section has the code of its problem as id."""
    file = resources.files("consumers.service").joinpath("runbook.md")
    body = [
        "<main>",
        *_blocks(file.read_text("utf-8")),
        '<p><a href="./">Status</a></p>',
        "</main>",
    ]
    return document("signinwatch runbook", PAGE_STYLE, body)


def _blocks(markdown: str) -> Iterator[str]:
    """Yield headings, paragraphs and lists: all that the runbook uses."""
    for block in re.split(r"\n\n|(?<=\n)(?=\*\*)", markdown.strip()):
        lines = block.strip()
        if lines.startswith("## "):
            head, _, rest = lines.partition("\n")
            code = text(head.removeprefix("## "))
            yield f'<h2 id="{code}">{code}</h2>'
            yield from _blocks(rest) if rest else ()
        elif lines.startswith("# "):
            yield f"<h1>{text(lines.removeprefix('# '))}</h1>"
        elif lines.startswith("- "):
            items = re.split(r"\n(?=- )", lines)
            yield "<ul>"
            yield from (f"<li>{_inline(item.removeprefix('- '))}</li>" for item in items)
            yield "</ul>"
        elif lines:
            yield f"<p>{_inline(lines)}</p>"


def _inline(markdown: str) -> Markup:
    joined = text(" ".join(markdown.split()), longest=10_000)
    linked = _LINK.sub(_link, joined)
    coded = _CODE.sub(r"<code>\1</code>", linked)
    return Markup(_BOLD.sub(r"<strong>\1</strong>", coded))


def _link(match: re.Match[str]) -> str:
    """Links within the page stay; other documents are not served."""
    name, target = match.groups()
    return f'<a href="{target}">{name}</a>' if target.startswith("#") else name
