"""Tables that fit: columns are sized by what they hold, and the least important ones give way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from consumers.commands.console import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

_BESIDE = 3
"""Columns of a terminal that a column of a table takes beside its content."""


@dataclass(frozen=True, slots=True)
class FittedColumn:
    """A column: its cells are kept on one line, unless it is *flexible*."""

    name: str
    cells: Sequence[Text | str]
    flexible: int = 0
    """The least width at which a text may be folded; 0 if it is never folded."""
    right: bool = False


class FittedTable:
    """A table that leaves out its last columns where the terminal is too narrow.

    Where nothing is left out, nothing is cut either. Columns are given by importance, and shown in
    the order of their names in *order*.
    """

    def __init__(self, title: str, columns: Sequence[FittedColumn], order: Sequence[str]) -> None:
        self.title = title
        self._columns = columns
        self._order = order

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render with the columns that fit."""
        widths = _fitting(self._columns, options.max_width)
        shown = sorted(widths, key=lambda number: self._order.index(self._columns[number].name))
        table = Table(
            title=self.title or None, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD
        )
        for number in shown:
            column = self._columns[number]
            table.add_column(
                column.name,
                width=widths[number],
                no_wrap=not column.flexible,
                overflow="fold",
                justify="right" if column.right else "left",
            )
        for cells in zip(*(self._columns[number].cells for number in shown), strict=True):
            table.add_row(*(it if isinstance(it, Text) else plain(it, 2_000) for it in cells))
        yield table


def _fitting(columns: Sequence[FittedColumn], width: int) -> dict[int, int]:
    """Return the widths of the columns that fit, by number; the first two are always shown.

    What is left goes to the flexible columns, the most important first.
    """
    full = [_width(column) for column in columns]
    widths: dict[int, int] = {}
    left = width - 1
    for number, column in enumerate(columns):
        least = min(full[number], column.flexible or full[number])
        if len(widths) < 2 or least + _BESIDE <= left:
            widths[number] = least
            left -= least + _BESIDE
    for number in widths:
        more = max(0, min(left, full[number] - widths[number]))
        widths[number] += more
        left -= more
    return widths


def _width(column: FittedColumn) -> int:
    texts = (it.plain if isinstance(it, Text) else str(plain(it, 2_000)) for it in column.cells)
    return max([cell_len(column.name), *map(cell_len, texts)])
