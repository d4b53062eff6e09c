"""Stories that the detector may be tuned on: stolen sessions and sprays."""

from __future__ import annotations

from typing import Any

from tests.bench.stories.actors import (
    BROKER,
    HOME_PAGE,
    OFFICE_APPS,
    OUTLOOK_MOBILE,
    OUTLOOK_WEB,
    SHAREPOINT,
    TEAMS,
)
from tests.bench.stories.company import (
    CHROME_AGENT,
    LEEDS,
    PEOPLE,
    PLANBOARD,
    SHARED_MAILBOX,
    VPN_NL,
    WORKSPACES,
    who,
)
from tests.bench.stories.habits import DESKTOP_USERS, redeemed, virtual_desktop
from tests.bench.stories.model import (
    Client,
    Place,
    Record,
    Story,
    at,
    ids,
    in_order,
    later,
    made,
)

PLAIN_CHROME = Client(CHROME_AGENT.replace("147", "146"), "Windows10", "Chrome 146.0.0")
OLD_CHROME = Client(CHROME_AGENT.replace("147", "122"), "Windows10", "Chrome 122.0.0")
FIREFOX = Client(
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:149.0) Gecko/20100101 Firefox/149.0",
    "Windows10",
    "Firefox 149.0",
)
TEAM_FILTRATION = Client(
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Teams/1.3.00.30866 Chrome/80.0.3987.165 Electron/8.5.1 Safari/537.36",
    "Windows10",
    "Chrome 80.0.3987",
    used="Mobile Apps and Desktop clients",
)


def _kit_and_buyer() -> Story:
    victim = who("jansen")
    kit = Place("161.97.101.55", 51167, "Düsseldorf", "DE", 51.2277, 6.7735)
    buyer = Place("146.70.123.20", 9009, "Amsterdam", "NL", 52.3676, 4.9041)
    stolen = victim.session("kit")
    login = victim.prompted(at(18, 9, 42), kit, client=PLAIN_CHROME, app=HOME_PAGE, session=stolen)
    replay = [
        victim.refresh(at(18, 10, minute), buyer, client=FIREFOX, app=app, session=stolen)
        for minute, app in ((1, HOME_PAGE), (2, OUTLOOK_WEB), (19, SHAREPOINT))
    ]
    mail = [
        victim.office_365(at(18, 10, 4), buyer, "MailItemsAccessed", session=stolen),
        victim.office_365(at(18, 10, 9), buyer, "New-InboxRule", session=stolen),
    ]
    colleague = who("whitaker")
    return Story(
        "kit-and-buyer",
        "session-moved",
        frozenset(),
        "Kits like Tycoon2FA relay the login from a rented server and pass the cookie to an "
        "operator, who opens the mailbox from a VPN minutes later and hides mail with a rule.",
        "A web service's servers redeem the OAuth code of a colleague's sign-in within seconds, as "
        "they did for others: same flow, no other use of the session.",
        in_order(login, replay, mail),
        in_order(redeemed(colleague, at(18, 10, 17), LEEDS, PLANBOARD.at("18.194.61.160"))),
        ids(login[1], *replay, *mail),
    )


def _stealer_log() -> Story:
    victim = who("hargreaves")
    proxy = Place("90.220.71.133", 5607, "Birmingham", "GB", 52.4862, -1.8904)
    here = victim.sign_in(at(18, 7, 20), LEEDS, app=HOME_PAGE)
    used = [
        victim.refresh(
            at(18, 15, minute), proxy, client=PLAIN_CHROME, app=app, session=victim.session(18)
        )
        for minute, app in ((40, OUTLOOK_WEB), (44, SHAREPOINT), (58, OFFICE_APPS))
    ]
    mover = who("haigh")
    new_home = Place("90.216.48.77", 5607, "Halifax", "GB", 53.7248, -1.8658)
    evening = [
        mover.refresh(at(18, 17, 35), new_home, app=OUTLOOK_WEB),
        mover.refresh(at(18, 18, 20), new_home, app=OFFICE_APPS),
        mover.refresh(at(18, 18, 42), new_home, client=mover.mobile, app=OUTLOOK_MOBILE),
    ]
    return Story(
        "stealer-log-from-the-same-country",
        "session-moved",
        frozenset(),
        "Infostealers such as Lumma sell browser cookies; buyers replay them through residential "
        "proxies of the victim's country to look like somebody at home.",
        "An employee moved house: the managed laptop and phone continue their sessions on the new "
        "provider's line in the evening.",
        in_order(here, used),
        in_order(
            mover.sign_in(at(18, 6, 58), LEEDS, app=HOME_PAGE),
            mover.refresh(at(18, 11, 5), LEEDS, app=TEAMS),
            evening,
        ),
        ids(*used),
    )


def _graph_reader() -> Story:
    victim = who("schouten")
    server = Place("138.199.6.211", 212238, "London", "GB", 51.5074, -0.1278)
    script = Client("python-requests/2.32.3", used="Mobile Apps and Desktop clients")
    session = victim.session(18)
    login = victim.sign_in(at(18, 7, 5), victim.home, app=OFFICE_APPS)
    swap = victim.refresh(at(18, 8, 31), server, client=script, app=OFFICE_APPS, session=session)
    calls = [
        victim.graph(
            later(at(18, 8, 33), minute),
            server,
            uri,
            UserAgent=script.agent,
            SignInActivityId=swap["UniqueTokenIdentifier"],
        )
        for minute, uri in enumerate(
            ("users?$top=999", "groups", "me/messages?$search=payment", "me/drive/root/children")
        )
    ]
    traveller = who("brouwer")
    evening = [traveller.refresh(at(18, 17, m), VPN_NL, app=OFFICE_APPS) for m in (40, 55)]
    direct = [
        traveller.graph(at(18, 17, 42 + m), traveller.home, uri)
        for m, uri in enumerate(("me/messages?$top=25", "me/drive/recent", "me/calendarView"))
    ]
    return Story(
        "graph-reader",
        "session-moved",
        frozenset({"script-agent"}),
        "With a stolen refresh token, tools in the manner of GraphRunner exchange it for Graph "
        "tokens and list users, files and mail from a rented server.",
        "Split tunnel: sign-ins leave through the company's VPN, calls to Graph from the same "
        "laptop directly from home, as on every day of home office.",
        in_order(login, swap, calls),
        in_order(evening, direct),
        ids(swap, *calls),
    )


def _one_provider() -> Story:
    provider = Place("45.134.26.10", 200373, "Berlin", "DE", 52.52, 13.405)
    start = at(17, 20, 6)
    targets = list(PEOPLE.values())[2:34:2]
    tries = [
        person.sign_in(
            later(start, 29 * number),
            provider.at(f"45.134.26.{11 + 7 * number}"),
            client=OLD_CHROME,
            result="50126",
        )
        for number, person in enumerate(targets)
    ]
    inside = SHARED_MAILBOX.sign_in(
        at(18, 4, 48), provider.at("45.134.26.151"), client=OLD_CHROME, app=OUTLOOK_WEB
    )
    after = SHARED_MAILBOX.refresh(
        at(18, 4, 52), provider.at("45.134.26.151"), client=OLD_CHROME, app=OFFICE_APPS
    )
    return Story(
        "low-and-slow-through-one-provider",
        "spray-success",
        frozenset(),
        "Midnight Blizzard tried one password an account, slowly and from ever new proxy "
        "addresses, until an account without a second factor opened.",
        "An office's line failed over to a mobile router on a Monday: several colleagues mistype "
        "or have expired passwords behind its one address, then work on their own managed laptops.",
        in_order(tries, inside, after),
        _failover(),
        ids(inside, after),
    )


def _failover() -> tuple[Record, ...]:
    router = Place("31.94.62.140", 12576, "Leeds", "GB", 53.8008, -1.5491)
    slips = {"hargreaves": "50126", "ellison": "50055", "okafor": "50126", "nair": "50055"}
    records: list[Record] = []
    for number, surname in enumerate(
        ("hargreaves", "ellison", "whitaker", "okafor", "nair", "booth", "firth", "haigh")
    ):
        person = who(surname)
        when = later(at(18, 6, 52), 3.3 * number)
        if surname in slips:
            records.append(person.sign_in(when, router, app=HOME_PAGE, result=slips[surname]))
        records += person.prompted(later(when, 1.2), router, app=HOME_PAGE)
    return in_order(records)


def _api_gateways() -> Story:
    regions = (
        Place("18.185.40.10", 16509, "Frankfurt am Main", "DE", 50.1109, 8.6821),
        Place("35.160.20.10", 16509, "Boardman", "US", 45.8399, -119.7006),
        Place("13.53.90.10", 16509, "Stockholm", "SE", 59.3293, 18.0686),
    )
    ropc = {"client": TEAM_FILTRATION, "app": TEAMS, "AuthenticationProtocol": "ropc"}
    tries = []
    for number, person in enumerate(list(PEOPLE.values())[:30]):
        place = regions[number % 3]
        place = place.at(f"{place.address.rsplit('.', 1)[0]}.{10 + number * 7}")
        result = "50053" if number % 11 == 7 else "50126"
        when = later(at(17, 22, 3), 4.4 * number)
        tries.append(person.sign_in(when, place, result=result, **ropc))
    victim = who("crowther")
    right = victim.sign_in(at(18, 0, 21), regions[0].at("18.185.40.233"), result="50076", **ropc)
    return Story(
        "spray-through-api-gateways",
        "spray-success",
        frozenset({"new-protocol"}),
        "TeamFiltration with FireProx sprays through API gateways, so every try has another "
        "address of Amazon; it keeps accounts whose error says that only the second factor was "
        "missing.",
        "Monday morning at virtual desktops in Amazon's cloud, which these colleagues have used "
        "for weeks: one mistypes, one has an expired password, and one address is new.",
        in_order(tries, right),
        _desktops_on_monday(),
        ids(right),
    )


def _desktops_on_monday() -> tuple[Record, ...]:
    slips = {"hendriks": "50126", "malik": "50055", "bairstow": "50126"}
    records: list[Record] = []
    for number, surname in enumerate(DESKTOP_USERS):
        person = who(surname)
        place = WORKSPACES.at("52.208.13.77" if number % 2 else "52.30.140.9")
        when = later(at(18, 7, 11), 6.5 * number)
        used: dict[str, Any] = {"client": virtual_desktop(person), "app": HOME_PAGE}
        if surname in slips:
            records.append(person.sign_in(when, place, result=slips[surname], **used))
        records += person.prompted(later(when, 0.9), place, **used)
    return in_order(records)


def _code_by_mail() -> Story:
    victim, organiser = who("willems"), who("prins")
    platform = Place("162.220.232.57", 400940, "San Jose", "US", 37.3382, -121.8863)
    flow = {
        "AuthenticationProtocol": "deviceCode",
        "CorrelationId": made("invitation", victim.upn),
        "session": victim.session("invitation"),
        "app": BROKER,
    }
    typed = victim.sign_in(at(18, 8, 52), victim.home, result="50199", **flow)
    agreed = victim.sign_in(at(18, 8, 52, 40), victim.home, second=True, **flow)
    moved = {"OriginalTransferMethod": "deviceCodeFlow", "client": PLAIN_CHROME}
    taken = victim.refresh(at(18, 8, 52, 47), platform, **moved, **flow)
    more = [
        victim.refresh(
            at(18, 9, minute),
            platform,
            **moved,
            **{**flow, "CorrelationId": made(minute), "app": app},
        )
        for minute, app in ((5, OUTLOOK_WEB), (6, OFFICE_APPS))
    ]
    panel = Client("Dalvik/2.1.0 (Linux; U; Android 12; CTP18 Build/SQ3A)", "Android 12")
    setup = {**flow, "session": organiser.session("panel"), "CorrelationId": made("panel")}
    twin = in_order(
        organiser.prompted(at(18, 11, 31), LEEDS, app=HOME_PAGE),
        organiser.sign_in(at(18, 12, 10), LEEDS, result="50199", **setup),
        organiser.sign_in(at(18, 12, 10, 30), LEEDS, second=True, **setup),
        organiser.refresh(at(18, 12, 10, 36), LEEDS, **{**moved, **setup, "client": panel}),
    )
    return Story(
        "code-by-mail",
        "new-protocol",
        frozenset({"session-moved", "impossible-travel"}),
        "Device-code phishing in the manner of Storm-2372, in 2026 from a hosting platform: the "
        "victim types the code of a false meeting, the token goes to the attacker's server.",
        "A colleague of the other office sets up a meeting-room panel with a device code while "
        "visiting: browser and panel leave through the company's own address.",
        in_order(typed, agreed, taken, more),
        twin,
        ids(taken, *more),
    )


STORIES = (
    _kit_and_buyer(),
    _stealer_log(),
    _graph_reader(),
    _one_provider(),
    _api_gateways(),
    _code_by_mail(),
)
