"""Malformed records as real exports have them: the broken piece alone is rejected."""

from __future__ import annotations

import pytest

from schemas.events.decode import Decoder
from schemas.events.record_recovery import recovered
from schemas.events.tables import load_tables


def record(number: int, more: bytes = b"") -> bytes:
    """Return a record, with more text before its end."""
    return (
        b'{"TimeGenerated":"2026-03-02T08:00:0%dZ","Id":"a%d","IPAddress":"81.2.69.16%d",'
        b'"Type":"SigninLogs","ResultType":"0","Policies":[{"id":"p"},{"id":"q"}]%s}'
        % (number, number, number, more)
    )


BROKEN = {
    "control characters": record(1, b',"x":"a\tb\nc"'),
    "a lone backslash": record(1, rb',"x":"C:\users\q"'),
    "a single-quoted value": record(1, b",\"x\":'abc'"),
    "a quote within single quotes": record(1, b',"x":\'abc, "d\''),
    "an unquoted value": record(1, b',"x":abc def'),
    "a trailing comma": record(1, b","),
    "no value": record(1, b',"x":,"y":1'),
    "quotes within a text": record(1, b',"x":"say "hi" now"'),
    "a quote within a text": record(1, b',"x":"say " now"'),
    "a bracket too few": record(1)[:-1],
    "single-quoted names": b"{'Type':'SigninLogs','IPAddress':'81.2.69.161','Id':'a1'}",
}


@pytest.mark.parametrize(
    "form", [b'{"records":[%s]}', b"[%s]", b'{"time":"x","records": [%s], "y": 1}']
)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_costs_no_neighbour(kind: str, form: bytes) -> None:
    """Wherever it stands; what is rejected holds it, and no whole record."""
    for order in ((0, 1, 2), (1, 0, 2), (0, 2, 1)):
        parts = {0: record(0), 1: BROKEN[kind], 2: record(2)}
        body = form % b",".join(parts[number] for number in order)
        decoded = Decoder(load_tables(["all"])).decode(body)
        found = sorted(signin.addresses[0] for signin in decoded.signins)
        assert found == ["81.2.69.160", "81.2.69.162"], order
        assert decoded.rejects
        kept = b"".join(reject.body for reject in decoded.rejects)
        assert b"81.2.69.161" in kept
        assert b"81.2.69.160" not in kept
        assert b"81.2.69.162" not in kept


def test_a_bracket_too_many_loses_nothing() -> None:
    """It closes the array early; what follows is read."""
    body = b'{"records":[' + b",".join([record(0), record(1) + b"}", record(2)]) + b"]}"
    decoded = Decoder(load_tables(["all"])).decode(body)
    assert [signin.addresses[0][-1] for signin in decoded.signins] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "outer", [b"{'records':[%s]}", b'{"records":[%s]', b"%s]}", b'x{"records":[%s']
)
def test_a_broken_wrapper_costs_no_record(outer: bytes) -> None:
    """It is cut, or quoted otherwise."""
    decoded = Decoder(load_tables(["all"])).decode(outer % (record(0) + b"," + record(1)))
    assert [signin.addresses[0][-1] for signin in decoded.signins] == ["0", "1"]


def test_objects_within_a_record_are_none() -> None:
    """They name no table, so that one broken record is one reject."""
    body = b'{"records":[' + record(1, b',"x":abc def') + b"]}"
    decoded = Decoder(load_tables(["all"])).decode(body)
    assert (decoded.records, decoded.rejected) == (1, 1)


def test_the_work_is_bounded() -> None:
    """Whatever the text: it is total, and gives back all that is no bracket."""
    for text in (
        b"{" * 100_000,
        b'{"a":' * 50_000,
        b"},{" * 50_000,
        b'"{' * 50_000,
        b"x" + b"[{" * 9,
    ):
        parts = list(recovered(text, lambda _: False))
        assert [whole for whole, _ in parts] == [False]
