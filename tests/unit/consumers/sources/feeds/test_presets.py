"""Feeds by their settings: what is filled in, what is missing, and what makes another feed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from consumers.settings import FeedSettings
from consumers.sources.feeds.matcher import FeedRules
from consumers.sources.feeds.presets import PRESETS, FeedPlan, feed_plans
from schemas.durations import DAY_SECONDS
from schemas.errors import ConfigurationError

OWN = {"url": "https://taxii.example/root", "collection": "c"}


def plan(name: str = "acme", **settings: Any) -> FeedPlan:
    """Return the one plan of settings."""
    (one,) = feed_plans({name: FeedSettings(**settings)})
    return one


@pytest.mark.parametrize("name", ["sekoia", "crowdsec", "SEKOIA"])
def test_a_feed_called_like_a_preset_needs_a_password_alone(name: str) -> None:
    """All else is known; any user name will do."""
    one = plan(name, password="k")
    preset = PRESETS[name.lower()]
    assert (one.name, one.url, one.collection) == (name.lower(), preset.url, preset.collection)
    assert (one.username, one.password, one.filters) == (None, SecretStr("k"), preset.filters)
    assert (one.interval, one.page_size, one.to_sentinel) == (3_600.0, 2_000, False)
    assert one.rules == FeedRules(longest=365 * DAY_SECONDS, from_created=name == "crowdsec")


def test_a_preset_may_be_named() -> None:
    """And what it fills in may be told otherwise."""
    one = plan(preset="sekoia", password="k", collection="mine")
    assert (one.name, one.url, one.collection) == ("acme", PRESETS["sekoia"].url, "mine")
    assert one.filters == PRESETS["sekoia"].filters


def test_a_feed_of_ones_own() -> None:
    """It may be open to all; all settings arrive."""
    one = plan(
        **OWN,
        username="me",
        interval=60,
        min_confidence=30,
        max_age=86_400,
        page_size=10,
        to_sentinel=True,
    )
    assert (one.url, one.collection, one.username, one.password) == (
        OWN["url"],
        "c",
        "me",
        None,
    )
    assert (one.interval, one.page_size, one.to_sentinel) == (60.0, 10, True)
    assert (one.rules, dict(one.filters)) == (FeedRules(30, 86_400.0), {})


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("acme", {}, "FEEDS__ACME__URL"),
        ("acme", {"collection": "c", "password": "k"}, "FEEDS__ACME__URL"),
        ("acme", {"url": OWN["url"]}, "FEEDS__ACME__COLLECTION"),
        ("sekoia", {}, "FEEDS__SEKOIA__PASSWORD"),
        ("acme", {"preset": "crowdsec"}, "FEEDS__ACME__PASSWORD"),
        ("sekoia", {"preset": "none", "password": "k"}, "FEEDS__SEKOIA__URL"),
        ("sekoia", {"preset": "none", "url": OWN["url"]}, "FEEDS__SEKOIA__COLLECTION"),
        ("crowdsec-replica", OWN, "FEEDS__CROWDSEC-REPLICA"),
        ("a b", OWN, "FEEDS__A B"),
        ("", OWN, "FEEDS__"),
        ("_a", OWN, "FEEDS___A"),
        ("a" * 41, OWN, "FEEDS__AAAA"),
        ("é", OWN, "FEEDS__É"),
    ],
)
def test_what_is_missing_or_wrong_is_named(name: str, settings: dict[str, Any], named: str) -> None:
    """By its setting, in one short line without a password."""
    with pytest.raises(ConfigurationError, match=named) as raised:
        plan(name, **settings)
    assert len(str(raised.value)) < 250
    assert "\n" not in str(raised.value)


def test_names_that_are_good() -> None:
    """Up to forty letters, digits, - and _; in the order of their names."""
    names = ["b_1", "a-2", "0", "x" * 40]
    assert [one.name for one in feed_plans(dict.fromkeys(names, FeedSettings(**OWN)))] == sorted(
        names
    )


def test_two_feeds_of_one_name_are_refused() -> None:
    """A file of settings may spell them in two ways."""
    with pytest.raises(ConfigurationError):
        feed_plans({"Acme": FeedSettings(**OWN), "acme": FeedSettings(**OWN)})


def test_a_preset_that_is_switched_off() -> None:
    """The name alone says nothing then."""
    one = plan("sekoia", preset="none", **OWN)
    assert (one.url, dict(one.filters)) == (OWN["url"], {})


def test_what_makes_another_feed() -> None:
    """Where it is and what is asked of it; not who asks, how often, or what is believed."""
    identity = plan(**OWN).identity
    assert plan(**{**OWN, "url": "https://taxii.example/other"}).identity != identity
    assert plan(**{**OWN, "collection": "d"}).identity != identity
    assert plan(preset="sekoia", **OWN).identity != identity
    same = plan("b", **OWN, username="me", password="k", interval=5, min_confidence=9)
    assert same.identity == identity


def test_a_password_is_in_no_text() -> None:
    """Plans may get into a log."""
    assert "hidden-key" not in repr(plan(**OWN, password="hidden-key"))
