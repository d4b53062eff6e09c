"""A sign-in in question, and what is known about it: what the stories are told of. Pure.

A value is new if the account has not succeeded with it on an earlier day. By days, because the
records of one sign-in come in any order, and an attacker's first hour must not make the second one
familiar.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING

from consumers.enrichment.stories.entries import AccountTraces, Crowd
from consumers.enrichment.stories.keys import device_key, program_key, session_key
from schemas.durations import DAY_SECONDS
from schemas.events.outcomes import Outcome
from schemas.events.traits import PROGRAMS, way_of
from schemas.events.user_agents import user_agent_of
from schemas.intel.address_class import HOSTING_NETWORKS, MOBILE_NETWORKS

if TYPE_CHECKING:
    from consumers.enrichment.stories.entries import Period, SessionStart, Trace
    from schemas.events.sign_in import Details

MIN_KNOWN_DAYS = 3
"""Earlier active days from which on it is known what is usual for an account."""
MIN_COLLEAGUES = 3
"""Other accounts on an earlier day, from which on a place is shared by the company."""
MICROSOFT = "AS8075"
_MICROSOFT_NAMES = (
    "microsoft", "office", "outlook", "azure", "windows", "teams", "onedrive", "sharepoint",
    "exchange", "graph", "entra", "intune", "power", "dynamics", "yammer", "viva", "visual studio",
    "my apps", "my profile", "my sign", "copilot", "skype", "onenote", "authentication broker",
)  # fmt: skip
"""Parts of the names of Microsoft's applications, whose ids attackers use."""
EARTH_RADIUS_KM = 6_371.0


@dataclass(frozen=True)
class Subject:
    """A sign-in in question. The crowds are those of its place, network and program."""

    who: str
    trace: Trace
    account: AccountTraces
    network: str
    place_crowd: Crowd = field(default_factory=Crowd)
    network_crowd: Crowd = field(default_factory=Crowd)
    agent_crowd: Crowd = field(default_factory=Crowd)

    @property
    def details(self) -> Details:
        """The sign-in."""
        return self.trace.details

    @cached_property
    def time(self) -> float:
        """When it happened, in seconds since the epoch."""
        return self.trace.time

    @cached_property
    def day(self) -> int:
        """The day on which it happened."""
        return int(self.time // DAY_SECONDS)

    @property
    def succeeded(self) -> bool:
        """Whether it was a success."""
        return self.details.outcome is Outcome.SUCCESS

    @property
    def person(self) -> bool:
        """Whether a person signed in, and not a program."""
        return (self.details.account_type or "").lower() not in PROGRAMS

    @cached_property
    def established(self) -> bool:
        """Whether the account is known well enough to say what is new."""
        return sum(day < self.day for day in self.account.days) >= MIN_KNOWN_DAYS

    @cached_property
    def new_network(self) -> bool:
        """Whether the account never succeeded from the network before."""
        return self.is_new_network(self.network)

    @cached_property
    def new_country(self) -> bool:
        """Whether the country is recorded, and new."""
        country = self.details.sign_in_country
        return bool(country) and self._is_new(self.account.countries, country or "")

    @cached_property
    def new_agent(self) -> bool:
        """Whether the program is recorded, and new."""
        agent = program_key(self.details.user_agent or "", self.details.device_id or "")
        return bool(agent) and self._is_new(self.account.agents, agent)

    @cached_property
    def known_device(self) -> bool:
        """Whether the sign-in shows a device that the account used before, or a managed one."""
        device = self.details.device_id
        if not device:
            return False
        return bool(self.details.device_compliant) or not self._is_new(
            self.account.devices, device_key(device)
        )

    @cached_property
    def new_device(self) -> bool:
        """Whether the account has devices and this is none of them, or the program is new."""
        if self.known_device:
            return False
        has_devices = any(first < self.day for first, _ in self.account.devices.values())
        return self.new_agent or (has_devices and bool(self.details.device_id))

    @cached_property
    def calm(self) -> bool:
        """Whether a known device, with a program that it had, speaks for the account's owner."""
        return self.known_device and not self.new_agent

    @cached_property
    def script(self) -> bool:
        """Whether the user agent is that of an HTTP library or a tool."""
        return user_agent_of(self.details.user_agent or "").script

    @cached_property
    def way(self) -> str:
        """The protocol, if it is one that needs no second factor or no browser."""
        details = self.details
        return way_of(details.authentication_protocol or "", details.client_app_used or "")

    @cached_property
    def new_way(self) -> bool:
        """Whether that protocol is new to the account."""
        return bool(self.way) and self._is_new(self.account.ways, self.way)

    @property
    def mobile(self) -> bool:
        """Whether the network is a mobile carrier's."""
        return self.details.sign_in_as_number in MOBILE_NETWORKS

    @property
    def hosting(self) -> bool:
        """Whether the network is a hosting provider's."""
        return self.details.sign_in_as_number in HOSTING_NETWORKS

    @cached_property
    def failed_here(self) -> bool:
        """Whether the account itself failed at the place within a day before."""
        first = self.place_crowd.wrong.get(self.who, (self.time, 0.0))[0]
        return 0 < self.time - first <= DAY_SECONDS

    @cached_property
    def shared(self) -> bool:
        """Whether other accounts have used the place on earlier days, as an office's."""
        return colleagues_with(self.place_crowd, self.who, self.time) >= MIN_COLLEAGUES

    @cached_property
    def common(self) -> bool:
        """Whether colleagues have used the same program from the network on earlier days."""
        return all(
            colleagues_with(crowd, self.who, self.time) >= MIN_COLLEAGUES
            for crowd in (self.agent_crowd, self.network_crowd)
        )

    @cached_property
    def serves_application(self) -> bool:
        """Whether the servers of an application of somebody else act for a session of the account.

        They redeem the code of a sign-in that began on a network that the account uses.
        """
        start = self.session
        return (
            self.script
            and start is not None
            and start.network != self.network
            and not self.is_new_network(start.network)
            and not is_of_microsoft(self.details.application or "")
        )

    @cached_property
    def session(self) -> SessionStart | None:
        """Where the session was seen first, if it has an id."""
        session = self.details.session_id
        return self.account.sessions.get(session_key(session)) if session else None

    def is_new_network(self, network: str) -> bool:
        """Return True if the account never succeeded from a network before."""
        return self._is_new(self.account.networks, network)

    def _is_new(self, values: dict[str, Period], value: str) -> bool:
        period = values.get(value)
        return period is None or period[0] >= self.day


def colleagues_with(crowd: Crowd, who: str, time: float) -> int:
    """Return how many other accounts had what *crowd* is of more than a day before."""
    others = (times for other, times in crowd.right.items() if other != who)
    return sum(first < time - DAY_SECONDS for first, _ in others)


def is_of_microsoft(application: str) -> bool:
    """Return True if an application has a name that Microsoft's own have, or none."""
    low = application.lower()
    return not low or any(name in low for name in _MICROSOFT_NAMES)


def kilometres(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Return the distance of two positions in degrees, on a sphere."""
    north = radians(end[0] - start[0])
    east = radians(end[1] - start[1])
    chord = sin(north / 2) ** 2 + cos(radians(start[0])) * cos(radians(end[0])) * sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(chord)))
