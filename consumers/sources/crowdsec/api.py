"""The CrowdSec CTI enrichment API, version 2: ``/smoke/{ip}`` and ``/smoke?ips=``.

Sources: CrowdSec's documentation (docs.crowdsec.net, CTI API) and its Go client. The key is sent in
``x-api-key``. A request may contain up to 100 addresses if the plan allows it, otherwise the status
is 403. 404 means that nothing is known. 429 is "Limit Exceeded" (quota) or "Too Many Requests"
(rate); a 429 from a gateway has neither text and counts as rate. Every field except ``ip`` may be
missing, null or of a wider type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
from typing_extensions import override

from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceUnavailable,
    TooFast,
)
from schemas.events.addresses import usable_address
from schemas.intel.address_class import class_of_intel
from schemas.intel.verdicts import CROWDSEC, Intel, Reputation
from schemas.ports import Source, SourceVerdict
from schemas.values import clean_text, number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.sources.http import HttpClient, HttpResponse

MAX_LOOKUP_RESPONSE_BYTES = 16 * 1024 * 1024
"""Bytes. A documented item has 7 KB, mostly text, so a hundred items have about 1 MB."""
MAX_BATCH_SIZE = 100
NOT_FOUND = "ip address information not found"
"""CrowdSec's sentence for an address that it knows nothing about."""
_MAX_LISTED_NAMES = 50
_NAME_LENGTH = 120

_REPUTATIONS = {
    "malicious": Reputation.MALICIOUS,
    "suspicious": Reputation.SUSPICIOUS,
    "benign": Reputation.BENIGN,
    "safe": Reputation.BENIGN,
}
"""CrowdSec's reputations. "known" (seen, too little data), "unknown", null and future values map to
UNKNOWN: looked up, no action."""

UNKNOWN_VERDICT = SourceVerdict(Reputation.UNKNOWN, Intel(), class_of_intel(Intel()))


class CrowdSecApi(Source):
    """The CrowdSec CTI API as a source."""

    name = CROWDSEC
    settings = "CROWDSEC"

    def __init__(self, http: HttpClient, url: str, batch_size: int) -> None:
        self._http = http
        self._url = url
        self.batch_size = min(batch_size, MAX_BATCH_SIZE)

    @override
    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Look up *addresses* with one request. Addresses missing in the response are unknown."""
        if len(addresses) == 1:
            reply = await self._http.get(f"{self._url}/smoke/{quote(addresses[0])}")
            if reply.status == 404 and _is_not_found(reply):
                return {addresses[0]: UNKNOWN_VERDICT}
            self._raise_for(reply, batch=False)
            item = _object(reply)
            if usable_address(item.get("ip")) != addresses[0]:
                raise SourceUnavailable("a response about another address")
            return {addresses[0]: verdict_of_item(item)}
        reply = await self._http.get(f"{self._url}/smoke", {"ips": ",".join(addresses)})
        self._raise_for(reply, batch=True)
        return self._verdicts_of_batch(_object(reply), addresses)

    @override
    def use_key(self, key: str) -> None:
        self._http.headers["x-api-key"] = key

    @override
    async def close(self) -> None:
        await self._http.close()

    @staticmethod
    def _verdicts_of_batch(
        envelope: dict[str, Any], addresses: Sequence[str]
    ) -> dict[str, SourceVerdict]:
        """Return the verdicts of a batch. A missing address is unknown only if all else agrees."""
        items = envelope.get("items")
        if not isinstance(items, list):
            raise SourceUnavailable("a response without items")
        verdicts: dict[str, SourceVerdict] = {}
        for item in items:
            address = usable_address(item.get("ip")) if isinstance(item, dict) else None
            if not isinstance(address, str) or address not in addresses:
                raise SourceUnavailable("a response about another address")
            verdict = verdict_of_item(item)
            known = verdicts.get(address, verdict)
            verdicts[address] = max(known, verdict, key=_severity)
        total, not_found = _number(envelope.get("total")), _number(envelope.get("not_found"))
        missing = len(addresses) - len(verdicts)
        if total not in (None, len(items)) or not_found not in (None, missing):
            raise SourceUnavailable("a response whose counts contradict its items")
        return {address: verdicts.get(address, UNKNOWN_VERDICT) for address in addresses}

    def _raise_for(self, reply: HttpResponse, *, batch: bool) -> None:
        status = reply.status
        if status == 200:
            return
        if status in (401, 403):
            if batch:
                raise BatchRefused("the key does not allow batch lookups", counted=False)
            raise KeyRefused(
                f"CROWDSEC__API_KEY: CrowdSec refuses the key ({status}); "
                "create a key in the Console under Settings, CTI API Keys"
            )
        if status == 429:
            self._raise_for_limit(reply)
        elif status >= 500:
            raise SourceUnavailable(f"status {status}", retry_after=reply.retry_after)
        elif status == 404:
            raise SourceUnavailable("no API at this URL; CROWDSEC__URL should end in /v2")
        else:
            raise SourceUnavailable(f"unexpected status {status}")

    @staticmethod
    def _raise_for_limit(reply: HttpResponse) -> None:
        """Distinguish the two kinds of 429. Only CrowdSec's own text means an exhausted quota."""
        if b"limit exceeded" in reply.body[:1_000].lower():
            raise QuotaSpent("CrowdSec reports that the key's quota is exhausted", counted=False)
        raise TooFast(
            "CrowdSec reports too many requests", counted=False, retry_after=reply.retry_after
        )


_SEVERITIES = (
    Reputation.UNKNOWN,
    Reputation.BENIGN,
    Reputation.SUSPICIOUS,
    Reputation.MALICIOUS,
)


def _severity(verdict: SourceVerdict) -> int:
    return _SEVERITIES.index(verdict.reputation)


def _is_not_found(reply: HttpResponse) -> bool:
    """Return True for CrowdSec's own 404, which is a result; False for that of anything else."""
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return False
    message = body.get("message") if isinstance(body, dict) else None
    return isinstance(message, str) and message.strip().rstrip(".").lower() == NOT_FOUND


def _object(reply: HttpResponse) -> dict[str, Any]:
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise SourceUnavailable("a response that is not JSON") from None
    if not isinstance(value, dict):
        raise SourceUnavailable("a response that is not a JSON object")
    return value


def verdict_of_item(item: dict[str, Any]) -> SourceVerdict:
    """Return the verdict of a CrowdSec item. Fields may be missing, null or malformed."""
    intel = _intel(item)
    reputation = (intel.raw_reputation or "").lower()
    return SourceVerdict(
        _REPUTATIONS.get(reputation, Reputation.UNKNOWN), intel, class_of_intel(intel)
    )


def _intel(item: dict[str, Any]) -> Intel:
    location = _part(item, "location")
    history = _part(item, "history")
    classes = _part(item, "classifications")
    scores = _scores(item.get("scores"))
    return Intel(
        raw_reputation=_text(item.get("reputation")),
        confidence=_text(item.get("confidence")),
        score=scores.get("overall", {}).get("total"),
        background_noise=_number(item.get("background_noise_score")),
        behaviors=_names(item.get("behaviors")),
        classifications=_names(classes.get("classifications")),
        false_positives=_names(classes.get("false_positives")),
        attack_details=_names(item.get("attack_details")),
        mitre_techniques=_names(item.get("mitre_techniques")),
        cves=_names(item.get("cves")),
        references=_names(item.get("references")),
        target_countries=_percentages(item.get("target_countries")),
        scores=scores,
        proxy_or_vpn=item.get("proxy_or_vpn") is True,
        country=_text(location.get("country")),
        city=_text(location.get("city")),
        as_number=_number(item.get("as_num")),
        as_name=_text(item.get("as_name")),
        ip_range=_text(item.get("ip_range")),
        ip_range_score=_number(item.get("ip_range_score")),
        ip_range_24=_text(item.get("ip_range_24")),
        ip_range_24_reputation=_text(item.get("ip_range_24_reputation")),
        ip_range_24_score=_number(item.get("ip_range_24_score")),
        reverse_dns=_text(item.get("reverse_dns")),
        first_seen=_text(history.get("first_seen")),
        last_seen=_text(history.get("last_seen")),
    )


def _text(value: object) -> str | None:
    return clean_text(value, longest=256)


def _number(value: object) -> int | None:
    """Return a number that fits a column of type int, else None."""
    number = number_of(value)
    return number if number is not None and abs(number) < 2**31 else None


def _part(item: dict[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def _names(value: object) -> tuple[str, ...]:
    """Return the names in a list of objects or texts, limited in number and length."""
    if not isinstance(value, list):
        return ()
    texts = (
        item.get("name") if isinstance(item, dict) else item for item in value[:_MAX_LISTED_NAMES]
    )
    names = (clean_text(text, longest=_NAME_LENGTH) for text in texts)
    return tuple(name for name in names if name)


def _percentages(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        return {}
    return {
        clean_text(country, longest=8) or "?": float(share)
        for country, share in list(value.items())[:_MAX_LISTED_NAMES]
        if isinstance(share, int | float) and not isinstance(share, bool)
    }


def _scores(value: object) -> dict[str, dict[str, int]]:
    if not isinstance(value, dict):
        return {}
    found: dict[str, dict[str, int]] = {}
    for period in ("overall", "last_day", "last_week", "last_month"):
        parts = value.get(period)
        if isinstance(parts, dict):
            numbers = {name: _number(parts.get(name)) for name in _SCORE_PARTS}
            found[period] = {name: number for name, number in numbers.items() if number is not None}
    return found


_SCORE_PARTS = ("aggressiveness", "threat", "trust", "anomaly", "total")
