"""Builds the clients of local sources: feeds, lists, and the download of the replica."""

from __future__ import annotations

import base64
from importlib.metadata import version
from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.settings.urls import is_loopback
from consumers.sources.crowdsec.lapi import MAX_LAPI_BYTES, LapiPlan
from consumers.sources.crowdsec.replica_download import ReplicaDownload
from consumers.sources.feeds.presets import USER, feed_plans
from consumers.sources.http import HttpClient, Trust
from consumers.sources.lists.content import MAX_LIST_BYTES, FileContent, WebContent
from consumers.sources.lists.presets import list_plans
from consumers.sources.taxii.client import TaxiiClient
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import SecretStr

    from consumers.settings import Settings
    from consumers.sources.feeds.indicator_store import IndicatorStore
    from consumers.sources.feeds.matcher import FeedMatcher
    from consumers.sources.feeds.presets import FeedPlan
    from consumers.sources.lists.content import ListContent
    from consumers.sources.lists.presets import ListPlan

MAX_PAGE_BYTES = 64 * 1024 * 1024
"""Bytes of a feed page: 2,000 reports with long descriptions."""
MAX_LISTING_BYTES = 1024 * 1024
PAGE_TIMEOUT_SECONDS = 120.0
IDLE_TIMEOUT_SECONDS = 20.0
"""Seconds for which a server may send no data."""
MAX_SOURCE_RETRY_AFTER_SECONDS = 3_600.0
"""Maximum ``Retry-After`` of a feed or replica server, in seconds; nothing sleeps for it."""
DOWNLOAD_TIMEOUT_SECONDS = 3 * 3_600.0
"""Seconds for downloading the replica, which has gigabytes."""


def _client(
    settings: Settings,
    url: str,
    headers: Mapping[str, str],
    *,
    timeout: float = PAGE_TIMEOUT_SECONDS,
    largest: int = MAX_PAGE_BYTES,
    client_certificate: Path | None = None,
) -> HttpClient:
    return HttpClient(
        headers={"User-Agent": f"signinwatch/{version('signinwatch')}", **headers},
        timeout=timeout,
        connections=2,
        largest_body=largest,
        proxies=not is_loopback(url),
        now=WallClock(),
        trust=Trust(settings.ca_bundle, client_certificate),
        idle=IDLE_TIMEOUT_SECONDS,
        longest_wait=MAX_SOURCE_RETRY_AFTER_SECONDS,
    )


def authorization(plan: FeedPlan) -> dict[str, str]:
    """Return the header that authenticates: Basic (RFC 7617), Bearer (RFC 6750) or the feed's own.

    Some servers take a user name alone as the key, and some any user name.
    """
    password = "" if plan.password is None else plan.password.get_secret_value()
    kind, _, name = plan.auth.partition(":")
    if kind == "header":
        return {name: password}
    if kind == "bearer":
        return {"Authorization": f"Bearer {password}"}
    return _basic(plan.username, plan.password)


def _basic(username: str | None, password: SecretStr | None) -> dict[str, str]:
    """Return the header of Basic authentication; nothing without a user name or password."""
    if password is None and username is None:
        return {}
    pair = f"{username or USER}:{'' if password is None else password.get_secret_value()}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def make_taxii(settings: Settings, plan: FeedPlan) -> tuple[TaxiiClient, HttpClient]:
    """Return the client of a feed, and the HTTP client with its password."""
    http = _client(
        settings, plan.url, authorization(plan), client_certificate=plan.client_certificate
    )
    client = TaxiiClient(
        http, plan.url, plan.collection, filters=plan.filters, page_size=plan.page_size
    )
    return client, http


def make_download(settings: Settings, folder: Path) -> tuple[ReplicaDownload, HttpClient]:
    """Return the downloader of the replica, and the HTTP client with its key.

    Raise ConfigurationError without a key.
    """
    crowdsec = settings.crowdsec
    if crowdsec.api_key is None:
        raise ConfigurationError(
            "SIGNINWATCH_CROWDSEC__API_KEY is not set; set a key that may download the replica"
        )
    key = crowdsec.api_key.get_secret_value()
    listing = _client(settings, crowdsec.url, {"x-api-key": key}, largest=MAX_LISTING_BYTES)
    plain = _client(settings, crowdsec.url, {}, timeout=DOWNLOAD_TIMEOUT_SECONDS)
    dataset = crowdsec.replica_dataset
    return ReplicaDownload(listing, plain, crowdsec.url, folder, dataset=dataset), listing


def make_content(settings: Settings, plan: ListPlan) -> tuple[ListContent, HttpClient | None]:
    """Return where the text of a list comes from, and the HTTP client with its password."""
    if plan.file is not None:
        return FileContent(plan.file), None
    url = plan.url or ""
    http = _client(settings, url, _basic(plan.username, plan.password), largest=MAX_LIST_BYTES)
    return WebContent(http, url, plan.paged), http


def lapi_plan(settings: Settings) -> LapiPlan | None:
    """Return where the CrowdSec engine is; None without one. ConfigurationError without a key."""
    lapi = settings.crowdsec.lapi
    if lapi.url is None:
        return None
    if lapi.api_key is None:
        raise ConfigurationError(
            "SIGNINWATCH_CROWDSEC__LAPI__API_KEY is not set; make one with 'cscli bouncers add'"
        )
    return LapiPlan(lapi.url, lapi.api_key, lapi.interval)


def lapi_client(settings: Settings, plan: LapiPlan) -> HttpClient:
    """Return the HTTP client with the engine's key."""
    return _client(settings, plan.url, _lapi_key(plan), largest=MAX_LAPI_BYTES)


def _lapi_key(plan: LapiPlan) -> dict[str, str]:
    return {"X-Api-Key": plan.api_key.get_secret_value()}


def passwords_of(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the headers that authenticate by the source's name. ConfigurationError."""
    found = {plan.name: authorization(plan) for plan in feed_plans(settings.feeds)}
    for listed in list_plans(settings.lists, settings.feeds):
        found[listed.name] = _basic(listed.username, listed.password)
    lapi = lapi_plan(settings)
    return found if lapi is None else {**found, lapi.name: _lapi_key(lapi)}


def store_of(
    name: str, feeds: FeedMatcher | None, classes: FeedMatcher | None
) -> IndicatorStore | None:
    """Return the store of a feed or list."""
    matcher = classes if classes is not None and name in classes.rules else feeds
    return None if matcher is None else matcher.store
