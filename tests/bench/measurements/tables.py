"""Tables in memory, for what Azurite is too slow for.

Azurite searches a partition from its beginning to find a row, so that with 50,000 rows in one it
takes some milliseconds for each write, all of its core. This answers the requests that the ledger
sends, in the words of the table service, in the same time however many rows there are. Whether the
ledger gets along with the real words is for the contract tests, which run against Azurite.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Entity = dict[str, Any]

MAX_PAGE = 1_000
_CONDITION = re.compile(r"(\w+) (eq|ge|lt) (?:'((?:[^']|'')*)'|([-+.\de]+))")
_KEYS = re.compile(r"\(PartitionKey='(.*?)',RowKey='(.*)'\)$")
_IF_MATCH = re.compile(rb"^If-Match: (.*)\r$", re.MULTILINE)
_BODY = re.compile(rb"^\{.*\}\r?$", re.MULTILINE)
_WORDS = {
    "EntityAlreadyExists": 409,
    "TableAlreadyExists": 409,
    "UpdateConditionNotSatisfied": 412,
    "ResourceNotFound": 404,
    "TableNotFound": 404,
}


class NotDone(Exception):
    """The service answers with this error code."""


class _Partition:
    """The rows of a partition, by key and in order."""

    def __init__(self) -> None:
        self.rows: dict[str, Entity] = {}
        self.order: list[str] = []

    def put(self, row: str, entity: Entity) -> None:
        if row not in self.rows:
            insort(self.order, row)
        self.rows[row] = entity

    def drop(self, row: str) -> None:
        del self.rows[row]
        del self.order[bisect_left(self.order, row)]


class MemoryTables:
    """Answers requests of the table service."""

    def __init__(self) -> None:
        self._tables: dict[str, defaultdict[str, _Partition]] = {}
        self._versions = count(1)

    def answer(
        self, request: web.Request, body: bytes, operations: Sequence[tuple[bytes, bytes, bytes]]
    ) -> web.StreamResponse:
        """Answer one request; *operations* are a transaction's methods, paths and texts."""
        try:
            if request.path.endswith("$batch"):
                return self._batch(operations)
            resource = unquote(request.raw_path.partition("?")[0]).rpartition("/")[2]
            if resource == "Tables":
                return self._create(orjson.loads(body)["TableName"])
            table, bracket, _ = resource.partition("(")
            if bracket and resource.endswith("()"):
                return self._query(table, request)
            partition, row = _keys(resource)
            found = self._table(table)[partition].rows.get(row)
            if found is None:
                raise NotDone("ResourceNotFound")
            return web.json_response(found, dumps=lambda it: orjson.dumps(it).decode())
        except NotDone as error:
            return _refused(str(error))

    def _table(self, name: str) -> defaultdict[str, _Partition]:
        if name not in self._tables:
            raise NotDone("TableNotFound")
        return self._tables[name]

    def _create(self, name: str) -> web.Response:
        if name in self._tables:
            raise NotDone("TableAlreadyExists")
        self._tables[name] = defaultdict(_Partition)
        return web.json_response({"TableName": name}, status=201)

    def _query(self, table: str, request: web.Request) -> web.Response:
        bounds = {"PartitionKey": "", "ge": "", "lt": ""}
        others: list[tuple[str, str, float]] = []
        for name, relation, text, number in _CONDITION.findall(request.query["$filter"]):
            if name == "PartitionKey":
                bounds[name] = text.replace("''", "'")
            elif name == "RowKey":
                bounds[relation] = text.replace("''", "'")
            else:
                others.append((name, relation, float(number)))
        partition = self._table(table)[bounds["PartitionKey"]]
        start = request.query.get("NextRowKey", bounds["ge"])
        at, end = bisect_left(partition.order, start), bisect_left(partition.order, bounds["lt"])
        size = min(int(request.query.get("$top", MAX_PAGE)), MAX_PAGE)
        found: list[Entity] = []
        while at < end and len(found) < size:
            entity = partition.rows[partition.order[at]]
            if all(_holds(entity.get(name), relation, value) for name, relation, value in others):
                found.append(entity)
            at += 1
        headers = {}
        if at < end:
            headers = {
                "x-ms-continuation-NextPartitionKey": bounds["PartitionKey"],
                "x-ms-continuation-NextRowKey": partition.order[at],
            }
        if "$select" in request.query:
            wanted = {"odata.etag", *request.query["$select"].split(",")}
            found = [{k: v for k, v in e.items() if k.split("@")[0] in wanted} for e in found]
        return web.Response(
            body=orjson.dumps({"value": found}), headers=headers, content_type="application/json"
        )

    def _batch(self, operations: Sequence[tuple[bytes, bytes, bytes]]) -> web.Response:
        changes: list[tuple[_Partition, str, Entity | None]] = []
        for number, operation in enumerate(operations):
            try:
                changes.append(self._checked(*operation))
            except NotDone as error:
                return _batch_response([_failed(str(error), number)])
        for partition, row, entity in changes:
            if entity is None:
                partition.drop(row)
            else:
                partition.put(row, entity)
        return _batch_response(
            "HTTP/1.1 204 No Content\r\n"
            + ("" if entity is None else f"ETag: {entity['odata.etag']}\r\n")
            for _, _, entity in changes
        )

    def _checked(
        self, method: bytes, path: bytes, text: bytes
    ) -> tuple[_Partition, str, Entity | None]:
        resource = unquote(path.decode()).rpartition("/")[2]
        condition = _IF_MATCH.search(text)
        etag = condition[1].decode() if condition else None
        entity = None
        if method == b"DELETE":
            name, (key, row) = resource.partition("(")[0], _keys(resource)
        else:
            found = _BODY.search(text)
            assert found is not None
            entity = orjson.loads(found[0])
            name, key, row = resource.partition("(")[0], entity["PartitionKey"], entity["RowKey"]
            entity = {"odata.etag": f"W/\"datetime'{next(self._versions)}'\"", **entity}
        partition = self._table(name)[key]
        before = partition.rows.get(row)
        if method == b"POST" and before is not None:
            raise NotDone("EntityAlreadyExists")
        if etag is not None and before is None:
            raise NotDone("ResourceNotFound")
        if etag not in (None, "*") and before is not None and before["odata.etag"] != etag:
            raise NotDone("UpdateConditionNotSatisfied")
        return partition, row, entity


def _keys(resource: str) -> tuple[str, str]:
    keys = _KEYS.search(resource)
    assert keys is not None, resource
    return keys[1].replace("''", "'"), keys[2].replace("''", "'")


def _holds(value: float | None, relation: str, bound: float) -> bool:
    if value is None:
        return False
    return value >= bound if relation == "ge" else value < bound


def _error_body(code: str, message: str) -> str:
    return orjson.dumps(
        {"odata.error": {"code": code, "message": {"lang": "en-US", "value": message}}}
    ).decode()


def _refused(code: str) -> web.Response:
    return web.Response(
        status=_WORDS[code],
        text=_error_body(code, code),
        headers={"x-ms-error-code": code},
        content_type="application/json",
    )


def _failed(code: str, number: int) -> str:
    return f"HTTP/1.1 {_WORDS[code]} Refused\r\n\r\n{_error_body(code, f'{number}:{code}')}\r\n"


def _batch_response(parts: Sequence[str] | Iterator[str]) -> web.Response:
    text = "".join(
        f"--changes\r\nContent-Type: application/http\r\n\r\n{part}\r\n" for part in parts
    )
    return web.Response(status=202, text=f"{text}--changes--\r\n", content_type="multipart/mixed")
