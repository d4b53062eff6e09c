"""The CrowdSec CTI enrichment API, version 2: ``/smoke/{ip}`` and ``/smoke?ips=``.

Facts from CrowdSec's documentation (docs.crowdsec.net, CTI API) and its own Go client: the key
goes into ``x-api-key``; one request may ask of 100 addresses where the plan allows it, else 403;
404 says that nothing is known; 429 is "Limit Exceeded" (quota) or "Too Many Requests" (speed);
a gateway's own 429 says neither and is taken for speed.
Every field but ``ip`` may be missing, null or of a wider type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceUnavailable,
    TooFast,
)
from schemas.events.addresses import usable_address
from schemas.events.outcomes import number_of
from schemas.events.sign_in import clean_text
from schemas.intel.address_class import class_of_intel
from schemas.intel.verdicts import Intel, Reputation
from schemas.ports import SourceVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.sources.http import HttpClient, HttpResponse

MAX_LOOKUP_RESPONSE_BYTES = 16 * 1024 * 1024
"""Bytes. A documented item has 7 KB, most of it prose, so a hundred have about 1 MB."""
MAX_BATCH_SIZE = 100
_MAX_LISTED_NAMES = 50
_NAME_LENGTH = 120

_REPUTATIONS = {
    "malicious": Reputation.MALICIOUS,
    "suspicious": Reputation.SUSPICIOUS,
    "benign": Reputation.BENIGN,
    "safe": Reputation.BENIGN,
}
"""CrowdSec's words. "known" (seen, too little data), "unknown", null and words to come are
unknown: asked, and nothing to act on."""

UNKNOWN_VERDICT = SourceVerdict(Reputation.UNKNOWN, Intel(), class_of_intel(Intel()))


class CrowdSecApi:
    """See :class:`schemas.ports.Source`."""

    name = "crowdsec"

    def __init__(self, http: HttpClient, url: str, batch_size: int) -> None:
        self._http = http
        self._url = url
        self.batch_size = min(batch_size, MAX_BATCH_SIZE)

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Ask once about *addresses*; see the port. Addresses that are not told are unknown."""
        if len(addresses) == 1:
            reply = await self._http.get(f"{self._url}/smoke/{quote(addresses[0])}")
            if reply.status == 404 and _says_not_found(reply):
                return {addresses[0]: UNKNOWN_VERDICT}
            self._raise_for(reply, batch=False)
            item = _object(reply)
            if usable_address(item.get("ip")) != addresses[0]:
                raise SourceUnavailable("an answer about another address")
            return {addresses[0]: verdict_of_item(item)}
        reply = await self._http.get(f"{self._url}/smoke", {"ips": ",".join(addresses)})
        self._raise_for(reply, batch=True)
        return self._said_of_batch(_object(reply), addresses)

    def use_key(self, key: str) -> None:
        """Send another key from now on."""
        self._http.headers["x-api-key"] = key

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    @staticmethod
    def _said_of_batch(
        envelope: dict[str, Any], addresses: Sequence[str]
    ) -> dict[str, SourceVerdict]:
        items = envelope.get("items")
        if not isinstance(items, list):
            raise SourceUnavailable("an answer without items")
        told: dict[object, SourceVerdict] = {}
        for item in items:
            if isinstance(item, dict):
                told[usable_address(item.get("ip"))] = verdict_of_item(item)
        return {address: told.get(address, UNKNOWN_VERDICT) for address in addresses}

    def _raise_for(self, reply: HttpResponse, *, batch: bool) -> None:
        status = reply.status
        if status == 200:
            return
        if status in (401, 403):
            if batch:
                raise BatchRefused("the key may not ask in batches", counted=False)
            raise KeyRefused(
                f"CROWDSEC__API_KEY: CrowdSec refuses the key ({status}); "
                "make one in the Console under Settings, CTI API Keys"
            )
        if status == 429:
            self._raise_for_limit(reply)
        elif status >= 500:
            raise SourceUnavailable(f"status {status}", retry_after=reply.retry_after)
        elif status == 404:
            raise SourceUnavailable("nobody answers there; CROWDSEC__URL should end in /v2")
        else:
            raise SourceUnavailable(f"unexpected status {status}")

    @staticmethod
    def _raise_for_limit(reply: HttpResponse) -> None:
        """Part the two kinds of 429; only CrowdSec's own words say that the quota is spent."""
        if b"limit exceeded" in reply.body[:1_000].lower():
            raise QuotaSpent("CrowdSec says that the key's lookups are used up", counted=False)
        raise TooFast("CrowdSec asks to slow down", counted=False, retry_after=reply.retry_after)


def _says_not_found(reply: HttpResponse) -> bool:
    """Tell CrowdSec's own 404, which is an answer, from that of a wrong URL, which is none."""
    try:
        told = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return False
    message = told.get("message") if isinstance(told, dict) else None
    return isinstance(message, str) and "not found" in message.lower()


def _object(reply: HttpResponse) -> dict[str, Any]:
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise SourceUnavailable("an answer that is not JSON") from None
    if not isinstance(value, dict):
        raise SourceUnavailable("an answer that is no object")
    return value


def verdict_of_item(item: dict[str, Any]) -> SourceVerdict:
    """Return what one item of CrowdSec's says. Tolerates whatever is missing, null or odd."""
    intel = _intel(item)
    word = (intel.raw_reputation or "").lower()
    return SourceVerdict(_REPUTATIONS.get(word, Reputation.UNKNOWN), intel, class_of_intel(intel))


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
    """Return a number that the rows have room for, else None."""
    number = number_of(value)
    return number if number is not None and abs(number) < 2**31 else None


def _part(item: dict[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def _names(value: object) -> tuple[str, ...]:
    """Return the names of a list of objects or texts, within bounds."""
    if not isinstance(value, list):
        return ()
    told = (one.get("name") if isinstance(one, dict) else one for one in value[:_MAX_LISTED_NAMES])
    return tuple(name for name in (clean_text(one, longest=_NAME_LENGTH) for one in told) if name)


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
            found[period] = {name: one for name, one in numbers.items() if one is not None}
    return found


_SCORE_PARTS = ("aggressiveness", "threat", "trust", "anomaly", "total")
