"""Remembers what stories need, in the ledger that instances share.

What an instance writes is merged with what others have written, and stories of the accounts that
this changes are told again: so the records of one session give the same stories on whichever
partition they come. A crash loses what was learned since the last write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from consumers.enrichment.entry_cache import EntryCache
from consumers.enrichment.history_entries import MAX_NAMES, pseudonym
from consumers.enrichment.stories.entries import (
    MAX_KEPT_DAYS,
    AccountTraces,
    Crowd,
    Trace,
    Used,
)
from consumers.enrichment.stories.keys import (
    agent_entry,
    device_key,
    network_entry,
    network_of,
    place_entry,
    program_key,
    session_key,
)
from consumers.enrichment.stories.spray_success import (
    MIN_FOR_NEW_ACCOUNT,
    spraying,
)
from consumers.enrichment.stories.subject import MIN_KNOWN_DAYS, Subject
from consumers.enrichment.stories.telling import context_of, tell
from schemas.durations import DAY_SECONDS
from schemas.events.outcomes import Outcome
from schemas.events.times import parse_time
from schemas.events.traits import Traits, traits_of_details
from schemas.rows.context import NO_CONTEXT, SignInContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumers.enrichment.stories.entries import CrowdKind
    from schemas.events.addresses import Networks
    from schemas.events.sign_in import Details
    from schemas.ledger_ports import Entries
    from schemas.ports import Clock

_TELLING: dict[CrowdKind, range] = {"wrong": range(4, 10), "strange": range(2, 5)}
"""Sizes of a crowd at which stories begin to speak of those who were right in it."""
MAX_FIRST_SIGHTS = 50_000
MAX_REPORTED = 20_000
HABIT_DAYS = 7
"""Days after which a habit is learned again, so that the ledger keeps it."""
_RIGHT = (Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED)


class Habit(NamedTuple):
    """A sign-in of which more of the same says nothing new for some days."""

    who: str
    network: str
    day: int
    days: int
    used: Used | None
    """What is learned again after these days; None for a failure, which is read again."""


class StoryMemory:
    """Learns from sign-ins, keeps those in question, and says which accounts to tell of."""

    def __init__(self, ledger: Entries, clock: Clock, own_networks: Networks) -> None:
        """Sign-ins from *own_networks* are usual for everybody."""
        self._entries = EntryCache(ledger)
        self._clock = clock
        self._own = own_networks
        self._due: set[str] = set()
        self._urgent: set[str] = set()
        self._flushed: float | None = None
        self._seen: set[str] = set()
        """Accounts that were seen once."""
        self._reported: dict[tuple[str, str, str, int], frozenset[str]] = {}
        """The signs of which each sign-in was reported. Not stored: after a restart it is reported
        again, because its finding may not have been accepted."""

    @property
    def urgent(self) -> bool:
        """Whether something waits that other instances should see at once."""
        return bool(self._urgent)

    # --- reading ---

    async def fetch(self, signins: Iterable[tuple[str, Traits]]) -> None:
        """Load what :meth:`learn` needs for sign-ins from their addresses."""
        items = list(signins)
        await self._fetch_accounts([traits for _, traits in items])
        keys: set[str] = set()
        for address, traits in items:
            network = network_of(address, traits.as_number)
            if self._is_new(self._account(self._who(traits)), network, traits.time):
                keys.update(_crowd_keys(address, traits, network))
        await self._entries.fetch(keys)

    async def fetch_accounts(self, names: Iterable[str]) -> None:
        """Load what is known of accounts by their names."""
        await self._entries.fetch([f"s|{pseudonym(name)}" for name in dict.fromkeys(names)])

    def is_first_sight(self, name: str) -> bool:
        """Return True once for an account of which nothing is known.

        What happens once says nothing of habits, so nothing is stored before the second time.
        """
        key = f"s|{pseudonym(name)}"
        if key in self._seen or not self._account(key[2:]).is_empty:
            return False
        if len(self._seen) >= MAX_FIRST_SIGHTS:
            self._seen.clear()
        self._seen.add(key)
        return True

    async def fetch_context(self, signins: Iterable[tuple[str, Details]]) -> None:
        """Load what :meth:`context` needs."""
        items = [(address, traits_of_details(details)) for address, details in signins]
        await self.fetch(items)

    async def _fetch_accounts(self, traits: Sequence[Traits]) -> None:
        first = dict.fromkeys(pseudonym(it.object_id or it.account) for it in traits)
        await self._entries.fetch([f"s|{who}" for who in first])
        others = dict.fromkeys(self._who(it) for it in traits)
        await self._entries.fetch([f"s|{who}" for who in others])

    def _account(self, who: str) -> AccountTraces:
        return cast("AccountTraces", self._entries.entry(f"s|{who}"))

    def _crowd(self, key: str) -> Crowd:
        return cast("Crowd", self._entries.entry(key))

    def _who(self, traits: Traits) -> str:
        """Return the pseudonym of an account: of its object id, if that is known."""
        name = pseudonym(traits.object_id or traits.account)
        return name if traits.object_id else self._account(name).same_as or name

    @staticmethod
    def _is_new(account: AccountTraces, network: str, time: float) -> bool:
        period = account.networks.get(network)
        return period is None or period[0] >= int(time // DAY_SECONDS)

    # --- learning ---

    def learn(self, address: str, traits: Traits) -> bool:
        """Record a sign-in; return True if it is in question, so that :meth:`keep` is due."""
        who = self._who(traits)
        account = self._account(who)
        network = network_of(address, traits.as_number)
        changed = self._learn_name(who, account, traits)
        is_new = self._is_new(account, network, traits.time)
        device = device_key(traits.device) if traits.device else ""
        known_device = device in account.devices and not _is_today(
            account.devices[device][0], traits.time
        )
        if traits.outcome is Outcome.SUCCESS:
            changed |= account.add_success(traits.time, _used(traits, network))
        elif traits.outcome is Outcome.PASSWORD_ACCEPTED:
            changed |= account.add_prompt(pseudonym(traits.event), traits.time, network)
        if changed:
            prompted = traits.outcome is Outcome.PASSWORD_ACCEPTED
            self._changed(who, account, traits.time, None if prompted else _used(traits, network))
        if not is_new or address in self._own:
            return False
        known = sum(day < int(traits.time // DAY_SECONDS) for day in account.days)
        established = known >= MIN_KNOWN_DAYS
        keys = _crowd_keys(address, traits, network)
        if traits.outcome is Outcome.FAILURE and not known_device:
            self._join(keys, who, traits.time, "wrong")
        if traits.outcome not in _RIGHT:
            return False
        self._join(keys, who, traits.time, "right")
        if established and not known_device:
            self._join(keys[:1], who, traits.time, "strange")
        if established:
            return True
        return spraying(self._crowd(keys[0]), who, traits.time) >= MIN_FOR_NEW_ACCOUNT

    def _changed(self, who: str, account: AccountTraces, time: float, used: Used | None) -> None:
        """Have an account written, and told of if what is new may concern its stories."""
        self._entries.changed(f"s|{who}", account)
        account.drop_traces_before(time)
        if _concerns(account, time, used):
            self._due.add(who)
            self._urgent.add(f"s|{who}")

    def habit(self, address: str, traits: Traits) -> Habit:
        """Return what was learned from a sign-in.

        It holds for the day while the account is new, so that its days are counted, and for
        failures, which are counted by the day.
        """
        who, day = self._who(traits), int(traits.time // DAY_SECONDS)
        network = network_of(address, traits.as_number)
        if traits.outcome is not Outcome.SUCCESS:
            return Habit(who, network, day, 1, None)
        days = self._habit_days(self._account(who))
        return Habit(who, network, day, days, _used(traits, network))

    @staticmethod
    def _habit_days(account: AccountTraces) -> int:
        return HABIT_DAYS if len(account.days) >= MAX_KEPT_DAYS else 1

    def repeat(self, habit: Habit, written: str) -> Habit | None:
        """Note the time of a sign-in that repeats a habit; None if it is to be read again."""
        parsed = parse_time(written)
        account = self._entries.cached(f"s|{habit.who}")
        if parsed is None or not isinstance(account, AccountTraces):
            return None
        time = parsed.timestamp()
        day = int(time // DAY_SECONDS)
        if not 0 <= day - habit.day < habit.days:
            if habit.used is None or day < habit.day or self._is_new(account, habit.network, time):
                return None
            if account.add_success(time, habit.used):
                self._changed(habit.who, account, time, habit.used)
            return habit._replace(day=day, days=self._habit_days(account))
        if habit.used is not None and habit.used.position is not None:
            account.add_position(habit.used.at(time, habit.used.position))
        return habit

    def _learn_name(self, who: str, account: AccountTraces, traits: Traits) -> bool:
        name = pseudonym(traits.account)
        if not traits.object_id or name == who or name in account.names:
            return False
        account.names = [*account.names, name][-MAX_NAMES:]
        alias = self._account(name)
        alias.same_as = who
        self._entries.changed(f"s|{name}", alias)
        return True

    def _join(self, keys: Iterable[str], who: str, time: float, kind: CrowdKind) -> None:
        """Add an account to crowds; tell again of the accounts that this may concern."""
        for key in keys:
            crowd = self._crowd(key)
            if not crowd.add(who, time, kind):
                continue
            self._entries.changed(key, crowd)
            if kind == "right":
                continue
            self._urgent.add(key)
            if len(getattr(crowd, kind)) in _TELLING[kind]:
                self._concern(crowd, time)

    def _concern(self, crowd: Crowd, time: float) -> None:
        recent = (who for who, (_, last) in crowd.right.items() if abs(last - time) <= DAY_SECONDS)
        self._due.update(recent)

    def keep(self, address: str, details: Details) -> None:
        """Keep a sign-in in question."""
        who = self._who(traits_of_details(details))
        account = self._account(who)
        self._due.add(who)  # a redelivered one as well: its finding may not have been accepted
        if account.add_trace(Trace(address, details)):
            self._entries.changed(f"s|{who}", account)
            self._urgent.add(f"s|{who}")

    # --- telling ---

    async def tell(self) -> list[tuple[str, Details, SignInContext]]:
        """Return the sign-ins, with their addresses, of which there is something new to tell."""
        due, self._due = self._due, set()
        if not due:
            return []
        await self._entries.fetch([f"s|{who}" for who in due])
        accounts = {who: self._account(who) for who in due}
        await self._entries.fetch(
            {
                key
                for account in accounts.values()
                for trace in account.traces
                for key in _keys_of(trace.address, trace.details)
            }
        )
        reported: list[tuple[str, Details, SignInContext]] = []
        for who, account in accounts.items():
            for trace in account.traces:
                context = tell(self._subject(who, account, trace))
                if context.signs <= self._reported.get(trace.key, frozenset()):
                    continue
                if len(self._reported) >= MAX_REPORTED:
                    self._reported.clear()
                self._reported[trace.key] = context.signs
                reported.append((trace.address, trace.details, context))
        return reported

    def context(self, address: str, details: Details) -> SignInContext:
        """Return what is known about a sign-in; call :meth:`fetch_context` first."""
        who = self._who(traits_of_details(details))
        account = self._account(who)
        trace = Trace(address, details)
        subject = self._subject(who, account, trace)
        kept = any(trace.key == other.key for other in account.traces)
        context = tell(subject) if kept else NO_CONTEXT
        return context if context.stories else context_of(subject)

    def _subject(self, who: str, account: AccountTraces, trace: Trace) -> Subject:
        network = network_of(trace.address, trace.details.sign_in_as_number or 0)
        crowds = [self._crowd(key) for key in _keys_of(trace.address, trace.details)]
        return Subject(who, trace, account, network, *crowds)

    # --- writing ---

    async def flush_if_due(self) -> None:
        """Write the changes from time to time, by the clock of a recording."""
        now = self._clock.now()
        if self._flushed is None:
            self._flushed = now
        if self._clock.mode.by_events and not (
            0 <= now - self._flushed < self._clock.mode.history_interval
        ):
            self._flushed = now
            await self.flush()

    async def flush(self, *, urgent_only: bool = False) -> None:
        """Write the changes; stories of accounts that another instance changed are told again."""
        urgent, self._urgent = self._urgent, set()
        for key in await self._entries.flush(urgent if urgent_only else None):
            if key.startswith("s|"):
                self._due.add(key[2:])
            else:
                self._concern(self._crowd(key), self._clock.now())


def _used(traits: Traits, network: str) -> Used:
    return Used(
        network,
        traits.country,
        device_key(traits.device) if traits.device else "",
        program_key(traits.agent, traits.device),
        traits.way,
        session_key(traits.session) if traits.session else "",
        traits.position,
    )


def _concerns(account: AccountTraces, time: float, used: Used | None) -> bool:
    """Return True if a success, or a prompt (None), may add to stories of those in question."""
    for trace in account.traces:
        if abs(trace.time - time) > DAY_SECONDS:
            continue
        if used is None:
            return True
        details = trace.details
        same_session = used.session and used.session == session_key(details.session_id or "")
        elsewhere = used.position and used.network != network_of(
            trace.address, details.sign_in_as_number or 0
        )
        if same_session or elsewhere:
            return True
    return False


def _is_today(day: int, time: float) -> bool:
    return day >= int(time // DAY_SECONDS)


def _keys_of(address: str, details: Details) -> tuple[str, str, str]:
    as_number = details.sign_in_as_number or 0
    return (
        place_entry(address, as_number),
        network_entry(network_of(address, as_number)),
        agent_entry(details.user_agent or ""),
    )


def _crowd_keys(address: str, traits: Traits, network: str) -> tuple[str, str, str]:
    return (
        place_entry(address, traits.as_number),
        network_entry(network),
        agent_entry(traits.agent),
    )
