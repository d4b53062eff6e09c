"""Stories held back from tuning: scripts, shared addresses, travel, workloads and prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.bench.stories.actors import (
    AZURE_CLI,
    HOME_PAGE,
    MY_SIGN_INS,
    OFFICE_APPS,
    OUTLOOK_MOBILE,
    OUTLOOK_WEB,
    PORTAL,
    TEAMS,
)
from tests.bench.stories.company import (
    BACKUP_AGENT,
    CHROME_AGENT,
    EDGE_AGENT,
    FLOWLINE,
    HR_FEED,
    METRICS,
    PIPELINE,
    UTRECHT,
    home_on,
    mobile_line,
    on_the_move,
    who,
)
from tests.bench.stories.habits import FLOWLINE_APP, FLOWLINE_BOT, PYTHON
from tests.bench.stories.model import Client, Place, Record, Story, at, ids, in_order, made

MAC_CHROME = Client(
    CHROME_AGENT.replace("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7"),
    "MacOs",
    "Chrome 147.0.0",
)
PLAIN_EDGE = Client(EDGE_AGENT, "Windows10", "Edge 147.0.0")
GO_CLIENT = Client("Go-http-client/2.0", used="Mobile Apps and Desktop clients")
NODE = Client("node", used="Mobile Apps and Desktop clients")


def _go_from_a_home() -> Story:
    victim, developer = who("booth"), who("mulder")
    proxy = Place("80.229.140.17", 6871, "Sheffield", "GB", 53.3811, -1.4701)
    used = [
        victim.refresh(at(18, 14, minute), proxy, client=GO_CLIENT, app=app)
        for minute, app in ((12, AZURE_CLI), (13, OFFICE_APPS), (40, AZURE_CLI))
    ]
    tethered = on_the_move("mulder", "train to work")
    twin = in_order(
        developer.refresh(at(18, 5, 50), tethered, client=developer.mobile, app=OUTLOOK_MOBILE),
        developer.sign_in(at(18, 5, 58), tethered, client=PYTHON, app=PORTAL),
        developer.refresh(at(18, 6, 4), tethered, client=PYTHON, app=AZURE_CLI),
    )
    return Story(
        "go-from-a-home",
        "script-agent",
        frozenset(),
        "Token harvesters written in Go exchange stolen refresh tokens through residential proxies "
        "in the victim's region and leave non-interactive records only.",
        "The developer runs his usual Python tools on the train, tethered to the phone whose "
        "carrier his account has known for weeks.",
        in_order(used),
        twin,
        ids(*used),
    )


def _payroll() -> Story:
    victim, user = who("koster"), who("iqbal")
    server = Place("185.245.86.133", 62240, "Amsterdam", "NL", 52.3676, 4.9041)
    login = victim.prompted(at(18, 9, 51), server, client=NODE, app=HOME_PAGE)
    session = login[1]["SessionId"]
    after = [
        victim.refresh(at(18, 9, minute), server, client=NODE, app=app)
        for minute, app in ((52, OUTLOOK_WEB), (58, MY_SIGN_INS))
    ]
    rule = victim.office_365(at(18, 9, 55), server, "New-InboxRule", session=session)
    newer = replace(FLOWLINE_BOT, agent="axios/1.9.0")
    place, used = FLOWLINE.at("34.141.205.18"), {"app": FLOWLINE_APP}
    twin = [
        user.refresh(at(18, hour, 2), place, client=newer, session=user.session("flowline"), **used)
        for hour in (7, 11)
    ]
    return Story(
        "payroll",
        "script-agent",
        frozenset(),
        "Payroll pirates (Storm-2657) phish staff through a relay, hide the payroll system's mail "
        "with a rule and register their own second factor; the relay's runtime shows as the agent.",
        "The automation service that the employee connected weeks ago comes with a newer library "
        "and from another address of its cloud.",
        in_order(login, after, rule),
        in_order(twin),
        ids(login[1], *after),
    )


def _one_mobile_address() -> Story:
    mobile = Place("148.252.140.19", 25135, "Birmingham", "GB", 52.4862, -1.8904)
    tried = [
        who(surname).sign_in(
            at(18, 19, minute), mobile, client=PLAIN_EDGE, app=HOME_PAGE, result=result
        )
        for minute, surname, result in (
            (2, "hargreaves", "50074"),
            (9, "ackroyd", "50076"),
            (15, "malik", "50079"),
            (27, "firth", "50074"),
        )
    ]
    train = Place("80.187.97.140", 3320, "Hannover", "DE", 52.3759, 9.732)
    riders: list[Record] = []
    for minute, surname in ((12, "prins"), (15, "peters"), (31, "kok")):
        riders += who(surname).prompted(at(18, 8, minute), train, app=HOME_PAGE)
        riders.append(who(surname).refresh(at(18, 8, minute + 20), train, app=TEAMS))
    return Story(
        "one-mobile-address",
        "many-accounts",
        frozenset({"spray-success"}),
        "A phishing page's harvest is tested by hand through a mobile modem of the victims' "
        "country: every password is right, every second factor stops it.",
        "Three colleagues share the Wi-Fi of a train to a customer; their managed laptops sign in "
        "and pass the second factor.",
        in_order(tried),
        in_order(riders),
        ids(*tried),
    )


def _one_server_on_six() -> Story:
    server = Place("2001:41d0:303:5e1f::1d2", 16276, "Gravelines", "FR", 50.9865, 2.1255)
    tried = []
    for minute, surname, result in ((3, "boer", "0"), (5, "bakker", "50079"), (6, "visser", "0")):
        person = who(surname)
        tried.append(person.sign_in(at(18, 3, minute), server, client=MAC_CHROME, result=result))
    after = who("visser").refresh(at(18, 3, 19), server, client=MAC_CHROME, app=OFFICE_APPS)
    flat = Place("86.145.70.8", 2856, "Leeds", "GB", 53.8008, -1.5491)
    flat_six = flat.at("2a00:23c5:4e8f:7b01:f1d2:66aa:3c0e:b9d1")
    first, second = who("crowther"), who("booth")
    twin = in_order(
        first.prompted(at(18, 6, 50), flat, app=HOME_PAGE),
        second.prompted(at(18, 7, 4), flat, app=HOME_PAGE),
        second.refresh(at(18, 7, 20), flat, app=TEAMS),
        first.refresh(at(18, 8, 2), flat_six, client=first.mobile, app=OUTLOOK_MOBILE),
        second.refresh(at(18, 8, 9), flat_six, client=second.mobile, app=OUTLOOK_MOBILE),
    )
    return Story(
        "one-server-on-six",
        "many-accounts",
        frozenset({"spray-success"}),
        "Stolen credentials are checked from one rented server over IPv6, where reputation lists "
        "are thin: three accounts within minutes, and no wrong password.",
        "Two colleagues, a couple, moved into a flat with a new line and work from home behind its "
        "one address with their managed devices.",
        in_order(tried, after),
        twin,
        ids(*tried, after),
    )


def _ankara() -> Story:
    victim, traveller = who("bakker"), who("iqbal")
    proxy = Place("78.186.44.129", 9121, "Ankara", "TR", 39.9334, 32.8597)
    own = victim.refresh(at(18, 11, 35), victim.home, app=TEAMS)
    there = victim.prompted(at(18, 12, 14), proxy, "50076", client=PLAIN_EDGE, app=OUTLOOK_WEB)
    reads = [
        victim.refresh(at(18, 12, minute), proxy, client=PLAIN_EDGE, app=app)
        for minute, app in ((20, OUTLOOK_WEB), (33, OFFICE_APPS))
    ]
    hotel = Place("94.200.90.14", 15802, "Dubai", "AE", 25.2048, 55.2708)
    roaming = [on_the_move("iqbal", f"roaming {number}") for number in range(2)]
    twin = in_order(
        traveller.refresh(
            at(18, 4, 30), traveller.home, client=traveller.mobile, app=OUTLOOK_MOBILE
        ),
        traveller.prompted(at(18, 16, 40), hotel, app=HOME_PAGE),
        traveller.refresh(at(18, 16, 52), roaming[0], client=traveller.mobile, app=OUTLOOK_MOBILE),
        traveller.refresh(at(18, 17, 10), hotel, app=OUTLOOK_WEB),
        traveller.refresh(at(18, 17, 31), roaming[1], client=traveller.mobile, app=OUTLOOK_MOBILE),
    )
    return Story(
        "ankara",
        "impossible-travel",
        frozenset(),
        "A relayed login ends on an infected home computer in another country; its owner is signed "
        "in at home within the hour and the mailbox is read for supplier invoices.",
        "After a flight the laptop is on a hotel's Wi-Fi in Dubai while the roaming phone leaves "
        "through its carrier in London, as British carriers do.",
        in_order(own, there, reads),
        twin,
        ids(there[1], *reads),
    )


def _committed_key() -> Story:
    finder = Place("54.167.33.208", 14618, "Ashburn", "US", 39.0438, -77.4874)
    operator = Place("77.247.181.163", 43350, "Amsterdam", "NL", 52.3676, 4.9041)
    used = [
        METRICS.sign_in(at(17, 21, 16), finder),
        METRICS.sign_in(at(17, 22, 40), operator),
        METRICS.sign_in(at(17, 22, 44), operator, resource="Microsoft Graph"),
    ]
    runners = (
        Place("20.109.37.211", 8075, "Des Moines", "US", 41.5868, -93.625),
        Place("172.183.90.66", 8075, "Phoenix", "US", 33.4484, -112.074),
        Place("52.176.14.30", 8075, "Des Moines", "US", 41.5868, -93.625),
    )
    twin = [PIPELINE.sign_in(at(18, 6 + 3 * n, 22), place) for n, place in enumerate(runners)]
    return Story(
        "committed-key",
        "workload-new-network",
        frozenset(),
        "A secret committed to a public repository is tried within minutes by a scanner in a "
        "cloud, and an hour later by somebody who lists resources and the directory.",
        "The pipeline's hosted runners start in other regions of the same cloud.",
        in_order(used),
        in_order(twin),
        ids(*used),
    )


def _guessed_then_right() -> Story:
    proxy = Place("86.14.203.90", 5089, "Nottingham", "GB", 52.9548, -1.1581)
    results = ("7000215", "7000215", "0", "0")
    used = [
        HR_FEED.sign_in(at(18, 4, 10 + 3 * number), proxy, result=result)
        for number, result in enumerate(results)
    ]
    neighbour = UTRECHT.at("213.136.12.52")
    expired = [
        BACKUP_AGENT.sign_in(at(18, 5, 10 * number), result="7000222") for number in range(4)
    ]
    renewed = [
        BACKUP_AGENT.sign_in(
            at(18, 6, minute), neighbour, ServicePrincipalCredentialKeyId=made("key", 2)
        )
        for minute in (48, 55)
    ]
    return Story(
        "guessed-then-right",
        "workload-new-network",
        frozenset(),
        "Old and new secrets out of a breached backup provider's vault are tried against the "
        "application from a proxy in the company's own country until one works.",
        "The backup's secret expires, jobs fail from the usual server; with the new secret they "
        "run on its replacement beside it in the same network.",
        in_order(used),
        in_order(expired, renewed),
        ids(*used[2:]),
    )


def _prompts_by_day() -> Story:
    victim, owner = who("kuipers"), who("haigh")
    mobile = mobile_line("odido-m", "modem").at("178.226.201.40")
    used: dict[str, Any] = {"client": MAC_CHROME, "app": PORTAL}
    asked = [
        victim.sign_in(at(18, 13, 2 + 2 * number, 9), mobile, result=result, **used)
        for number, result in enumerate(["50076", *["500121"] * 5])
    ]
    passed = victim.sign_in(at(18, 13, 15), mobile, second=True, **used)
    after = victim.refresh(at(18, 13, 19), mobile, **used)
    home = home_on(owner, 18)
    sim = Place("82.132.214.77", 35228, "London", "GB", 51.5074, -0.1278)
    new = replace(owner.mobile, device="", system="Android 16", agent=owner.mobile.agent + " ")
    new = replace(new, agent=new.agent.replace("SM-S931B", "Pixel 10").strip())
    phone: dict[str, Any] = {"client": new, "app": OUTLOOK_MOBILE, "session": owner.session("new")}
    lost = [owner.sign_in(at(18, 17, m), home, result="500121", **phone) for m in (20, 22, 25)]
    twin = in_order(
        lost,
        owner.prompted(at(18, 17, 31), home, app=MY_SIGN_INS),
        owner.prompted(at(18, 17, 38), home, **phone),
        owner.refresh(at(18, 18, 20), sim, **phone),
    )
    return Story(
        "prompts-by-day",
        "mfa-fatigue",
        frozenset(),
        "In help-desk frauds of 2023 to 2025 callers who pose as IT have the victim refuse a few "
        "prompts and approve the next, from a mobile modem in the victim's own country.",
        "Prompts go to somebody's old telephone at home; he registers the new one on the laptop, "
        "signs in with it there and later uses its new carrier.",
        in_order(asked, passed, after),
        twin,
        ids(passed, after),
    )


STORIES = (
    _go_from_a_home(),
    _payroll(),
    _one_mobile_address(),
    _one_server_on_six(),
    _ankara(),
    _committed_key(),
    _guessed_then_right(),
    _prompts_by_day(),
)
