"""One session on a second network: what a stolen token or cookie looks like.

Benign causes that are left out: a device that the account used before, with a program that it had
(split tunnel, trip, VPN); a phone that leaves Wi-Fi for its carrier; Microsoft's own networks,
where its services act for a session; places that colleagues share; and servers of an application
that act for those who sign in to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.enrichment.stories.subject import MICROSOFT

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject


def session_moved(it: Subject) -> str | None:
    """Return what was seen, or None."""
    start = it.session
    if start is None or not it.succeeded or not it.new_network or start.network == it.network:
        return None
    if start.time > it.time or it.network == MICROSOFT or it.calm or it.shared:
        return None
    if it.mobile and not it.new_country and not it.new_agent:
        return None
    if it.serves_application or (it.script and it.common):
        return None
    minutes = max(1, round((it.time - start.time) / 60))
    return (
        f"the session began in {start.network} and was used in {it.network}, which is new to the "
        f"account, {minutes:,} minutes later"
    )
