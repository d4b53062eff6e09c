"""Stories held back from tuning: stolen sessions, sprays and protocols."""

from __future__ import annotations

from typing import Any

from tests.bench.stories.actors import (
    AZURE_CLI,
    BROKER,
    EXCHANGE,
    HOME_PAGE,
    OFFICE_APPS,
    OUTLOOK_MOBILE,
    OUTLOOK_WEB,
    SHAREPOINT,
    TEAMS,
)
from tests.bench.stories.company import (
    CHROME_AGENT,
    CLOUD_VM,
    EDGE_AGENT,
    IPHONE_AGENT,
    LEEDS,
    PEOPLE,
    SHARED_MAILBOX,
    ZSCALER,
    home_on,
    on_the_move,
    who,
)
from tests.bench.stories.habits import ACTIVE_SYNC, IMAP, PYTHON, device_code
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

LINUX_CHROME = Client(
    CHROME_AGENT.replace("Windows NT 10.0; Win64; x64", "X11; Linux x86_64"),
    "Linux",
    "Chrome 147.0.0",
)
RELAYED_EDGE = Client(EDGE_AGENT, "Windows10", "Edge 147.0.0")
UNDICI = Client("undici", used="Mobile Apps and Desktop clients")
FASTHTTP = Client("fasthttp", used="Other clients")
OTHER_IPHONE = Client(
    IPHONE_AGENT.replace("26.4", "26.1"),
    "iOS 26.1",
    "Mobile Safari 26.1",
    used="Mobile Apps and Desktop clients",
)


def _relay_and_rule() -> Story:
    victim, owner = who("dekker"), who("okafor")
    relay = Place("95.179.213.88", 20473, "Paris", "FR", 48.8566, 2.3522)
    vpn = Place("89.187.170.41", 60068, "Copenhagen", "DK", 55.6761, 12.5683)
    stolen = victim.session("relayed")
    login = victim.prompted(
        at(18, 7, 33), relay, "50076", client=RELAYED_EDGE, app=HOME_PAGE, session=stolen
    )
    replay = [
        victim.refresh(at(18, 7, minute), vpn, client=LINUX_CHROME, app=app, session=stolen)
        for minute, app in ((42, OUTLOOK_WEB), (43, OUTLOOK_WEB), (57, TEAMS))
    ]
    rule = victim.office_365(at(18, 7, 48), vpn, "New-InboxRule", session=stolen)
    wifi, sim = owner.home, Place("148.252.128.71", 25135, "London", "GB", 51.5074, -0.1278)
    walk = ((6, 40, wifi), (7, 2, sim), (7, 25, sim.at("2a02:8012:c38f:1c00:8c61:77ff:fe12:9a4")))
    twin = [
        owner.refresh(at(18, hour, minute), place, client=owner.mobile, app=OUTLOOK_MOBILE)
        for hour, minute, place in (*walk, (7, 41, sim.at("148.252.132.16")))
    ]
    return Story(
        "relay-and-rule",
        "session-moved",
        frozenset({"impossible-travel"}),
        "An Evilginx server carried the victim's own browser name and second factor; the cookie "
        "was used nine minutes later from a VPN, which made a rule that hides answers.",
        "A phone leaves the Wi-Fi at home for a mobile network with a new SIM, over IPv4 and IPv6: "
        "the registered device continues its session within the country.",
        in_order(login, replay, rule),
        in_order(twin),
        ids(login[1], *replay, rule),
    )


def _copied_phone_token() -> Story:
    victim, guest = who("bairstow"), who("ellison")
    mobile = Place("148.252.129.200", 25135, "London", "GB", 51.5074, -0.1278)
    own = victim.refresh(at(18, 6, 10), victim.home, client=victim.mobile, app=OUTLOOK_MOBILE)
    used = [
        victim.refresh(
            at(18, hour, minute),
            mobile,
            client=OTHER_IPHONE,
            app=app,
            session=victim.session("phone"),
        )
        for hour, minute, app in (
            (9, 14, OUTLOOK_MOBILE),
            (9, 20, OFFICE_APPS),
            (13, 2, SHAREPOINT),
        )
    ]
    back = victim.refresh(
        at(18, 12, 20), on_the_move("bairstow", "lunch"), client=victim.mobile, app=OUTLOOK_MOBILE
    )
    hotel = Place("185.103.216.44", 42689, "Edinburgh", "GB", 55.9533, -3.1883)
    twin = in_order(
        guest.prompted(at(18, 7, 2), home_on(guest, 18), app=HOME_PAGE),
        guest.refresh(at(18, 9, 30), home_on(guest, 18), app=OUTLOOK_WEB),
        guest.refresh(at(18, 17, 25), hotel, app=OUTLOOK_WEB),
        guest.refresh(at(18, 17, 26), hotel, app=TEAMS),
        guest.refresh(at(18, 18, 3), hotel, client=guest.mobile, app=OUTLOOK_MOBILE),
    )
    return Story(
        "copied-phone-token",
        "session-moved",
        frozenset(),
        "Refresh tokens copied from a phone live for weeks; reports describe their use through "
        "mobile proxies of the victim's country, in between the owner's own use.",
        "The managed laptop goes on with the morning's session on the Wi-Fi of a hotel, half a day "
        "and a train ride later.",
        in_order(own, used, back),
        twin,
        ids(*used),
    )


def _session_in_undici() -> Story:
    victim, pilot = who("hendriks"), who("yildiz")
    server = Place("95.179.150.12", 20473, "Amsterdam", "NL", 52.3676, 4.9041)
    session = victim.session(18)
    own = victim.refresh(at(18, 8, 40), victim.home, app=OUTLOOK_WEB)
    used = [
        victim.refresh(at(18, 8, minute), server, client=UNDICI, app=app, session=session)
        for minute, app in ((47, BROKER), (48, OFFICE_APPS), (59, OUTLOOK_WEB))
    ]
    read = victim.office_365(at(18, 8, 52), server, "MailItemsAccessed", session=session)
    proxy = ZSCALER.at("165.225.240.57")
    twin = in_order(
        pilot.prompted(at(18, 6, 31), pilot.home, app=HOME_PAGE),
        pilot.refresh(at(18, 8, 50), pilot.home, app=OUTLOOK_WEB),
        [
            pilot.refresh(at(18, 9, minute), proxy, app=app)
            for minute, app in ((2, OFFICE_APPS), (3, TEAMS), (44, OUTLOOK_WEB))
        ],
    )
    return Story(
        "session-in-undici",
        "session-moved",
        frozenset({"script-agent"}),
        "Kits written for Node.js take the session and at once ask for tokens of the broker and of "
        "Office with the runtime's own HTTP client, from a server near the victim.",
        "Another employee joins the pilot of the cloud proxy that colleagues have used for a week: "
        "the managed laptop's session goes on behind it.",
        in_order(own, used, read),
        twin,
        ids(*used, read),
    )


def _right_but_blocked() -> Story:
    vpn = Place("185.107.56.203", 43350, "Roosendaal", "NL", 51.5308, 4.4653)
    used: dict[str, Any] = {"client": LINUX_CHROME, "app": AZURE_CLI}
    tries = []
    for number, person in enumerate(list(PEOPLE.values())[1:38:3]):
        result = "50053" if number in {5, 9} else "50126"
        when = later(at(17, 23, 4), 1.7 * number)
        tries.append(person.sign_in(when, vpn, result=result, **used))
    right = who("kok").sign_in(at(17, 23, 29), vpn, result="53003", **used)
    last = who("bos").sign_in(at(17, 23, 31), vpn, result="50126", **used)
    return Story(
        "right-but-blocked",
        "spray-success",
        frozenset(),
        "Sprays against the command-line client find right passwords although a policy then blocks "
        "the sign-in; the attackers come back with them elsewhere.",
        "Six colleagues start a day at a training centre: two mistype on its Wi-Fi, all of them "
        "pass the second factor on managed laptops.",
        in_order(tries, right, last),
        _training(),
        ids(right),
    )


def _training() -> tuple[Record, ...]:
    venue = Place("130.88.99.20", 786, "Manchester", "GB", 53.4668, -2.2339)
    records: list[Record] = []
    for number, surname in enumerate(
        ("iqbal", "okafor", "bairstow", "ellison", "sutcliffe", "haigh")
    ):
        person, when = who(surname), later(at(18, 8, 2), 2.6 * number)
        if surname in {"okafor", "haigh"}:
            records.append(person.sign_in(when, venue, app=HOME_PAGE, result="50126"))
        records += person.prompted(later(when, 0.7), venue, app=HOME_PAGE)
        records.append(person.refresh(later(when, 48), venue, app=TEAMS))
    return in_order(records)


def _fast_and_far() -> Story:
    homes = (
        Place("177.92.40.1", 27699, "São Paulo", "BR", -23.5505, -46.6333),
        Place("187.75.210.1", 27699, "Santos", "BR", -23.9608, -46.3336),
        Place("189.58.77.1", 8167, "Curitiba", "BR", -25.4284, -49.2733),
    )
    ropc: dict[str, Any] = {"client": FASTHTTP, "app": EXCHANGE, "AuthenticationProtocol": "ropc"}
    tries = []
    for number, person in enumerate(list(PEOPLE.values())[:36]):
        place = homes[number % 3]
        place = place.at(f"{place.address.rsplit('.', 1)[0]}.{9 + 5 * number}")
        when = later(at(18, 1, 12), 5.3 * number)
        tries.append(person.sign_in(when, place, result="50126", **ropc))
    inside = who("postma").sign_in(at(18, 4, 36), homes[0].at("177.92.40.222"), **ropc)
    return Story(
        "fast-and-far",
        "spray-success",
        frozenset({"new-protocol", "script-agent", "impossible-travel"}),
        "In the campaign of 2025 with the fasthttp library, infected homes, most of them in "
        "Brazil, tried passwords by the resource-owner flow until an account let them in.",
        "After a change of passwords the mail programs of telephones behind one carrier's gateway "
        "go on with the old ones until their owners type the new ones.",
        in_order(tries, inside),
        _old_passwords(),
        ids(inside),
    )


def _old_passwords() -> tuple[Record, ...]:
    gateway = Place("62.140.132.61", 15480, "Amsterdam", "NL", 52.3676, 4.9041)
    used: dict[str, Any] = {"client": ACTIVE_SYNC, "app": EXCHANGE}
    records = []
    for surname, minutes in {
        "bos": (2, 7, 12, 17),
        "meijer": (4, 9),
        "bakker": (6, 11, 16),
    }.items():
        person = who(surname)
        records += [
            person.refresh(at(18, 10, minute), gateway, result="50126", **used)
            for minute in minutes
        ]
        records.append(person.refresh(at(18, 10, minutes[-1] + 14), gateway, session="", **used))
    return in_order(records)


def _code_for_the_broker() -> Story:
    victim, developer = who("whitaker"), who("mulder")
    proxy = Place("92.24.160.39", 13285, "Leicester", "GB", 52.6369, -1.1398)
    native = Client(
        "Windows-AzureAD-Authentication-Provider/1.0",
        "Windows10",
        used="Mobile Apps and Desktop clients",
    )
    flow: dict[str, Any] = {
        "AuthenticationProtocol": "deviceCode",
        "CorrelationId": made("chat", victim.upn),
        "session": victim.session("chat"),
        "app": BROKER,
    }
    typed = victim.sign_in(at(18, 13, 8), LEEDS, result="50199", **flow)
    agreed = victim.sign_in(at(18, 13, 8, 35), LEEDS, **flow)
    taken = victim.refresh(
        at(18, 13, 8, 41), proxy, client=native, OriginalTransferMethod="deviceCodeFlow", **flow
    )
    after = [
        victim.refresh(
            at(18, 13, minute),
            proxy,
            client=native,
            app=app,
            session=flow["session"],
            IncomingTokenType="primaryRefreshToken",
            OriginalTransferMethod="deviceCodeFlow",
        )
        for minute, app in ((22, OFFICE_APPS), (25, OUTLOOK_WEB))
    ]
    machine = CLOUD_VM.at("116.203.41.77")
    return Story(
        "code-for-the-broker",
        "new-protocol",
        frozenset({"session-moved"}),
        "Storm-2372 changed to the broker's client in its device-code phishing, registered a "
        "device and read mail with its primary refresh token through proxies of the victim's "
        "country.",
        "The developer logs the command line of a new machine in with a code, at the cloud "
        "provider where he did so twice before.",
        in_order(typed, agreed, taken, after),
        in_order(device_code(developer, at(18, 6, 44), developer.home, machine, PYTHON)),
        ids(taken, *after),
    )


def _mail_through_the_account() -> Story:
    server = Place("145.14.158.90", 47583, "Vilnius", "LT", 54.6872, 25.2797)
    sender = Client("", used="Authenticated SMTP")
    used: dict[str, Any] = {"client": sender, "app": EXCHANGE, "session": ""}
    wrong = SHARED_MAILBOX.sign_in(at(18, 9, 19), server, result="50126", **used)
    sent = [
        SHARED_MAILBOX.sign_in(at(18, 9, minute), server, **used) for minute in (20, 21, 23, 31)
    ]
    reader = who("huisman")
    park = Place("81.82.214.50", 6848, "Genk", "BE", 50.965, 5.5001)
    twin = [
        reader.sign_in(at(day, hour, 26), park, client=IMAP, app=EXCHANGE, session="")
        for day, hour in ((16, 11), (16, 15), (17, 10))
    ]
    return Story(
        "mail-through-the-account",
        "new-protocol",
        frozenset({"impossible-travel"}),
        "A shared mailbox without second factor was used to send phishing by authenticated SMTP "
        "from cheap hosting, a protocol nobody had used with it.",
        "Somebody's old mail program fetches by IMAP as it does daily, this time from a holiday "
        "park.",
        in_order(wrong, sent),
        in_order(twin),
        ids(*sent),
    )


STORIES = (
    _relay_and_rule(),
    _copied_phone_token(),
    _session_in_undici(),
    _right_but_blocked(),
    _fast_and_far(),
    _code_for_the_broker(),
    _mail_through_the_account(),
)
