"""Reads an export record by record for its figures."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from consumers.commands.inspect.figures import RecordPlace
from consumers.inputs.csv_export import ENTRA, LOGS, OTHER_CSV, PURVIEW
from consumers.inputs.recording import CAPTURE, JSON_ARRAY, JSON_DOCUMENT, read_recording
from schemas.errors import RecordingRefused, RecordingUnreadable
from schemas.events.decode import MAX_BODY_BYTES, TABLE_OFF
from schemas.events.framing import records_of
from schemas.events.ranking_signals import signals_of
from schemas.events.times import is_plausible

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.commands.inspect.figures import ExportFigures
    from schemas.events.decode import Decoded, Decoder
    from schemas.ports import Message, Position

_SHOWN_EVERY = 256
"""Messages between two steps of the progress bar."""
_CSV = (ENTRA, LOGS, PURVIEW, OTHER_CSV)


class ExportReader:
    """Reads files into figures."""

    def __init__(self, decoder: Decoder, figures: ExportFigures, table: str | None) -> None:
        """*table* is that of records that do not name theirs."""
        self._decoder = decoder
        self._figures = figures
        self._table = table
        self._position: Position | None = None
        self._before = 0
        """Records of earlier messages at the same position."""

    def read(self, name: str, progress: Callable[[int, str], None]) -> None:
        """Count the content of a file. Raises ConfigurationError if it cannot be opened."""
        self._position = None
        try:
            messages = read_recording(
                name, lambda read: progress(read, ""), self._table, self._recognised
            )
            for number, message in enumerate(messages):
                self._take(message)
                if number % _SHOWN_EVERY == 0:
                    progress(0, f"{self._figures.signins:,} sign-ins")
        except (RecordingRefused, RecordingUnreadable) as error:
            last = self._position
            where = "the start" if last is None else f"after {self._words(last, 0, several=False)}"
            source = name if last is None else last.source
            problem = str(error).removeprefix(f"{source}: ").removeprefix(f"{name}: ")
            self._figures.take_broken_file(problem, RecordPlace(source, where))

    def _recognised(self, name: str, kind: str) -> None:
        file = self._figures.file(name)
        file.kinds.append(kind)

    def _take(self, message: Message) -> None:
        body = message.body.removeprefix(codecs.BOM_UTF8)
        whole = len(body) > MAX_BODY_BYTES or self._decoder.tells_its_table(body)
        records = [body] if whole else records_of(body)
        if message.position != self._position:
            self._position, self._before = message.position, 0
        several = len(records) > 1 or self._before > 0
        for index, raw in enumerate(records, self._before):
            words = self._words(message.position, index, several=several)
            self._take_record(message, raw, RecordPlace(message.position.source, words))
        self._before += len(records)

    def _take_record(self, message: Message, raw: bytes, place: RecordPlace) -> None:
        decoded = self._decoder.decode(raw)
        size = len(raw) // max(1, decoded.records)
        for signin in decoded.signins:
            try:
                signals = signals_of(signin)
                time = signin.event_time() or message.enqueued
                if time is not None and not is_plausible(time):
                    time = None
            except Exception as error:  # noqa: BLE001 - the service quarantines such a record
                self._figures.take_unreadable(f"its fields: {error}", place)
            else:
                self._figures.take_signin(signin, signals, time, size, place)
        self._take_skips(decoded, raw, size, place)
        for number in range(decoded.rejected):
            reject = decoded.rejects[min(number, len(decoded.rejects) - 1)]
            self._figures.take_unreadable(reject.reason, place)

    def _take_skips(self, decoded: Decoded, raw: bytes, size: int, place: RecordPlace) -> None:
        for table in decoded.off.elements():
            self._figures.take_skip(f"{TABLE_OFF}: {table}", table, size, place)
        for reason in decoded.skips.elements():
            if reason != TABLE_OFF:
                self._figures.take_skip(reason, self._decoder.table_of(raw), size, place)

    def _words(self, position: Position, index: int, *, several: bool) -> str:
        """Return the place of a record in words, as exactly as its file permits."""
        number = position.number
        kinds = self._figures.file(position.source).kinds[-1:]
        if kinds and kinds[0] in (JSON_ARRAY, JSON_DOCUMENT):
            return f"record {number + index}"
        if kinds and kinds[0] in _CSV:  # a row may have several lines
            return f"record {index + 1} from line {number} on" if index else f"line {number}"
        unit = "event" if kinds == [CAPTURE] else "line"
        return f"{unit} {number}, record {index + 1}" if several else f"{unit} {number}"
