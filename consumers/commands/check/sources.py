"""Tests of ``signinwatch check`` for feeds, the CrowdSec replica and the Sentinel upload."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from consumers.commands.console import counted
from consumers.sources.crowdsec.lapi import probe_engine
from consumers.sources.feeds.conversion import converted
from consumers.sources.feeds.presets import feed_plans
from consumers.sources.lists.parsing import read_list
from consumers.sources.lists.presets import list_plans
from consumers.sources.mmdb import describe_mmdb
from consumers.wiring.sentinel import make_upload
from consumers.wiring.service_sources import scratch_folder
from consumers.wiring.source_clients import (
    lapi_client,
    lapi_plan,
    make_content,
    make_download,
    make_taxii,
)
from schemas.errors import ConfigurationError, FeedFailed
from schemas.intel.stix_export import malicious_indicator
from schemas.intel.verdicts import Intel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.settings import MmdbSettings, Settings
    from consumers.sources.crowdsec.lapi import LapiPlan
    from consumers.sources.feeds.presets import FeedPlan
    from consumers.sources.lists.presets import ListPlan
    from consumers.wiring.credentials import Credentials

TEST_INDICATOR_ADDRESS = "192.0.2.1"
"""The IP address of the test indicator (RFC 5737: documentation only)."""
UPLOAD_RETRY_SECONDS = 3.0
ENDED_SECONDS_AGO = 3_600.0
"""Age of the test indicator's ``valid_until``, in seconds."""


def feeds_to_check(settings: Settings) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
    """Return the name and test of each feed. Raise ConfigurationError for invalid settings."""
    return [(plan.name, _feed(settings, plan)) for plan in feed_plans(settings.feeds)]


def lists_to_check(settings: Settings) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
    """Return the name and test of each list, MMDB and engine. ConfigurationError if invalid."""
    tests: list[tuple[str, Callable[[], Awaitable[str]]]] = [
        (f"list {plan.name}", _list(settings, plan))
        for plan in list_plans(settings.lists, settings.feeds)
    ]
    lapi = lapi_plan(settings)
    if lapi is not None:
        tests.append(("CrowdSec engine", _engine(settings, lapi)))
    return [
        *tests,
        *((f"MMDB {name.lower()}", _mmdb(file)) for name, file in sorted(settings.mmdb.items())),
    ]


def _list(settings: Settings, plan: ListPlan) -> Callable[[], Awaitable[str]]:
    async def action() -> str:
        if plan.paged:
            return "not read: one pull a day may be all that the plan allows; see `feeds status`"
        content, _ = make_content(settings, plan)
        try:
            body = await content.read()
        finally:
            await content.close()
        keys = await asyncio.to_thread(read_list, body or b"")
        return f"readable, with {counted(len(keys), 'entry')}"

    return action


def _engine(settings: Settings, plan: LapiPlan) -> Callable[[], Awaitable[str]]:
    async def action() -> str:
        http = lapi_client(settings, plan)
        try:
            await probe_engine(http, plan.url)
        finally:
            await http.close()
        return "answers, and accepts the key"

    return action


def _mmdb(settings: MmdbSettings) -> Callable[[], Awaitable[str]]:
    async def action() -> str:
        return await asyncio.to_thread(describe_mmdb, settings.file, settings.class_fields)

    return action


def _feed(settings: Settings, plan: FeedPlan) -> Callable[[], Awaitable[str]]:
    async def action() -> str:
        client, _ = make_taxii(settings, plan)
        try:
            found = await client.probe()
            if not found.can_read:
                raise FeedFailed("the server denies this user read access", refused=True)
            page = await client.first_page()
        finally:
            await client.close()
        indicators = converted(page.objects, date=page.date)[0]
        return (
            f"collection {found.title or plan.collection} is readable; of the first "
            f"{counted(len(page.objects), 'object')}, {len(indicators):,} name addresses"
        )

    return action


async def try_replica(settings: Settings) -> str:
    """Query which dataset the key may download, without downloading it. Raise FeedFailed."""
    async with scratch_folder(settings) as folder:
        download, _ = make_download(settings, folder)
        try:
            dataset = await download.probe()
        finally:
            await download.close()
    return f"the key permits it; dataset {dataset}"


async def try_sentinel(settings: Settings, credentials: Credentials) -> str:
    """Upload an expired indicator on a documentation address. Raise SinkHeldBack."""
    upload = make_upload(settings, credentials, patience=UPLOAD_RETRY_SECONDS)
    if upload is None:
        raise ConfigurationError("SIGNINWATCH_SENTINEL__WORKSPACE_ID is not set; set it")
    now = time.time()
    ended, began = now - ENDED_SECONDS_AGO, now - 2 * ENDED_SECONDS_AGO
    source, address = settings.sentinel.source, TEST_INDICATOR_ADDRESS
    indicator = malicious_indicator(
        address, Intel(), source=source, now=now, valid_until=ended, first=began
    )
    try:
        refused = await upload.send([indicator])
    finally:
        await upload.close()
    if refused:
        raise ConfigurationError(f"SENTINEL__WORKSPACE_ID: {refused[0][1]}")
    return "one expired test indicator was accepted"
