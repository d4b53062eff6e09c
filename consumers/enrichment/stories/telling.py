"""All stories, and what supports them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.enrichment.stories.impossible_travel import impossible_travel
from consumers.enrichment.stories.many_accounts import many_accounts
from consumers.enrichment.stories.mfa_fatigue import mfa_fatigue, prompts_before
from consumers.enrichment.stories.new_protocol import new_protocol
from consumers.enrichment.stories.reasons import reasons_of
from consumers.enrichment.stories.script_agent import script_agent
from consumers.enrichment.stories.session_moved import session_moved
from consumers.enrichment.stories.spray_success import spray_success
from consumers.enrichment.stories.workload_new_network import workload_new_network
from schemas.events.sign_in import is_risky
from schemas.intel.address_class import HOSTING_NETWORKS
from schemas.rows.context import NO_CONTEXT, SignInContext, Story

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from consumers.enrichment.stories.subject import Subject

STORIES: dict[str, Callable[[Subject], str | None]] = {
    "session-moved": session_moved,
    "spray-success": spray_success,
    "new-protocol": new_protocol,
    "script-agent": script_agent,
    "many-accounts": many_accounts,
    "impossible-travel": impossible_travel,
    "workload-new-network": workload_new_network,
    "mfa-fatigue": mfa_fatigue,
}
"""The stories by the name that policy lines and findings use."""
MANY_PROMPTS = 6
"""Right passwords without a success that support a story of repeated interruptions."""
_HOSTING = frozenset(f"AS{number}" for number in HOSTING_NETWORKS)
_EXPLAINS_DEVICE = {"script-agent", "new-protocol"}
"""Stories that say themselves that the program is new."""


def tell(it: Subject) -> SignInContext:
    """Return the stories that speak of a sign-in with what is new about it; nothing without one."""
    found = ((name, story(it)) for name, story in STORIES.items())
    stories = [Story(name, sentence) for name, sentence in found if sentence is not None]
    names = {story.name for story in stories}
    if not names:
        return NO_CONTEXT
    return context_of(it, stories, frozenset((*names, *_support(it, names))))


def context_of(
    it: Subject, stories: Sequence[Story] = (), signs: frozenset[str] = frozenset()
) -> SignInContext:
    """Return what is new about a sign-in, beside its stories."""
    known = it.established
    return SignInContext(
        stories=tuple(stories),
        signs=signs,
        new_country=it.new_country if known and it.details.sign_in_country else None,
        new_network=it.new_network if known else None,
        new_device=it.new_device if known else None,
        session_first_network=it.session.network if it.session else None,
        reasons=reasons_of(it) if it.account.days else (),
    )


def _support(it: Subject, names: set[str]) -> Iterator[str]:
    """Yield what supports stories, but is none."""
    if it.established and it.new_country:
        yield "new country"
    if it.established and it.new_device and names.isdisjoint(_EXPLAINS_DEVICE):
        yield "new device"
    if "mfa-fatigue" in names and prompts_before(it) >= MANY_PROMPTS:
        yield "many prompts"
    if "script-agent" in names and not _knows_scripts(it):
        yield "first script"
    if not it.person and it.failed_here:
        yield "failed here before"
    if is_risky(it.details.risk_level):
        yield "risk"
    if not it.person and it.hosting and not _knows_hosting(it):
        yield "hosting"


def _knows_scripts(it: Subject) -> bool:
    """Return True if the account has used a script on an earlier day."""
    return any(
        name.startswith("script ") and first < it.day
        for name, (first, _) in it.account.agents.items()
    )


def _knows_hosting(it: Subject) -> bool:
    """Return True if a program has been in a hosting network on an earlier day."""
    return any(
        name in _HOSTING and first < it.day for name, (first, _) in it.account.networks.items()
    )
