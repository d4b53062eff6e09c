"""Stories that the detector may be tuned on: protocols, scripts, travel, workloads, prompts."""

from __future__ import annotations

from tests.bench.stories.actors import (
    AAD_POWERSHELL,
    AZURE_CLI,
    EXCHANGE,
    HOME_PAGE,
    MY_SIGN_INS,
    OFFICE_APPS,
    OUTLOOK_MOBILE,
    OUTLOOK_WEB,
    PORTAL,
    TEAMS,
)
from tests.bench.stories.company import (
    AZURE,
    BACKUP_LINE,
    CHROME_AGENT,
    CLOUD_VM,
    COPIER,
    CRM_SYNC,
    EDGE_AGENT,
    INVOICE_EXPORT,
    UTRECHT,
    VPN_US,
    on_the_move,
    who,
)
from tests.bench.stories.habits import PYTHON
from tests.bench.stories.model import Client, Place, Record, Story, at, ids, in_order

PLAIN_EDGE = Client(EDGE_AGENT.replace("147", "145"), "Windows10", "Edge 145.0.0")
PLAIN_CHROME = Client(CHROME_AGENT, "Windows10", "Chrome 147.0.0")
POWERSHELL = Client(
    "Mozilla/5.0 (Windows NT; Windows NT 10.0; nl-NL) WindowsPowerShell/5.1.26100.4061",
    "Windows10",
    used="Mobile Apps and Desktop clients",
)


def _old_mail_protocols() -> Story:
    victim = who("firth")
    exit_node = Place("37.120.198.77", 9009, "London", "GB", 51.5074, -0.1278)
    fetched = [
        victim.sign_in(
            at(17, 22, minute),
            exit_node,
            client=Client("BAV2ROPC", used=used),
            app=EXCHANGE,
            session="",
            AuthenticationProtocol="ropc",
        )
        for minute, used in ((14, "IMAP4"), (29, "IMAP4"), (44, "POP3"), (59, "IMAP4"))
    ]
    sent = [
        COPIER.sign_in(at(18, 12, minute), BACKUP_LINE, app=EXCHANGE, session="")
        for minute in (4, 31, 52)
    ]
    return Story(
        "old-mail-protocols",
        "new-protocol",
        frozenset({"script-agent"}),
        "Business-mail fraud of 2025 used the compatibility bridge for old mail programs, which "
        "asks for no second factor, to read a mailbox over IMAP and POP from a VPN in its country.",
        "The copier sends scans by SMTP as ever; for an hour the office's backup line carries "
        "them.",
        in_order(fetched),
        in_order(sent),
        ids(*fetched),
    )


def _ropc_next_door() -> Story:
    victim, admin = who("leeuwen"), who("postma")
    proxy = Place("87.208.91.44", 50266, "Rotterdam", "NL", 51.9225, 4.4792)
    ropc = {"client": POWERSHELL, "app": AAD_POWERSHELL, "AuthenticationProtocol": "ropc"}
    wrong = victim.sign_in(at(18, 3, 10), proxy, result="50126", **ropc)
    right = victim.sign_in(at(18, 3, 12), proxy, **ropc)
    after = victim.refresh(at(18, 3, 15), proxy, **ropc)
    return Story(
        "ropc-next-door",
        "new-protocol",
        frozenset({"script-agent"}),
        "Password sets are tried with the resource-owner flow of the old PowerShell client, where "
        "policies had forgotten to ask for a second factor, through a proxy in somebody's home.",
        "An administrator's script asks for a token with a password for the first time, from the "
        "office that he always works in.",
        in_order(wrong, right, after),
        in_order(
            admin.sign_in(at(18, 9, 2), UTRECHT, **ropc),
            admin.refresh(at(18, 9, 33), UTRECHT, **ropc),
        ),
        ids(right, after),
    )


def _axios() -> Story:
    victim, developer = who("vos"), who("mulder")
    droplet = Place("167.71.9.118", 14061, "Amsterdam", "NL", 52.3676, 4.9041)
    script = Client("axios/1.7.9", used="Mobile Apps and Desktop clients")
    login = victim.prompted(at(18, 12, 3), droplet, client=script, app=HOME_PAGE)
    after = [
        victim.refresh(at(18, 12, minute), droplet.at(address), client=script, app=OFFICE_APPS)
        for minute, address in ((4, "167.71.9.118"), (26, "167.71.13.40"))
    ]
    twin = in_order(
        [
            developer.refresh(at(18, 10, minute), CLOUD_VM.at(address), client=PYTHON, app=app)
            for minute, address, app in (
                (6, "159.69.44.201", AZURE_CLI),
                (40, "116.203.88.19", AZURE_CLI),
                (52, "116.203.88.19", PORTAL),
            )
        ],
    )
    return Story(
        "axios-answers-the-prompt",
        "script-agent",
        frozenset(),
        "Phishing services of 2024 to 2026 carry the victim's password and second factor to Entra "
        "ID with a plain HTTP library, axios, from droplets near the victim.",
        "The developer's jobs run with the Python library that he always uses, on the cloud "
        "provider of the last weeks; one machine is new.",
        in_order(login, after),
        twin,
        ids(login[1], *after),
    )


def _combination_list() -> Story:
    exit_node = Place("193.32.249.140", 39351, "Amsterdam", "NL", 52.3676, 4.9041)
    tried = [
        who(surname).sign_in(
            at(18, 2, minute), exit_node, client=PLAIN_CHROME, app=OUTLOOK_WEB, result=result
        )
        for minute, surname, result in (
            (11, "okafor", "50076"),
            (14, "iqbal", "50074"),
            (16, "haigh", "53003"),
            (21, "bakker", "50076"),
        )
    ]
    venue = Place("62.49.31.106", 5413, "London", "GB", 51.5074, -0.1278)
    guests: list[Record] = []
    for minute, surname in ((41, "nair"), (44, "booth"), (52, "crowther")):
        guests += who(surname).prompted(at(18, 8, minute), venue, app=HOME_PAGE)
        guests.append(who(surname).refresh(at(18, 9, minute - 20), venue, app=TEAMS))
    return Story(
        "combination-list",
        "many-accounts",
        frozenset({"spray-success"}),
        "Buyers of infostealer logs try each stolen password once: almost all are right, and one "
        "VPN address meets several accounts' second factors or policies within minutes.",
        "Three colleagues at a conference share its Wi-Fi; each has the managed laptop and passes "
        "the second factor.",
        in_order(tried),
        in_order(guests),
        ids(*tried),
    )


def _two_continents() -> Story:
    victim, traveller = who("ackroyd"), who("thornton")
    lagos = Place("102.89.34.172", 29465, "Lagos", "NG", 6.5244, 3.3792)
    here = victim.refresh(at(18, 10, 58), victim.home, app=OUTLOOK_WEB)
    there = victim.prompted(at(18, 11, 20), lagos, client=PLAIN_EDGE, app=OUTLOOK_WEB)
    reads = victim.refresh(at(18, 12, 5), lagos, client=PLAIN_EDGE, app=OFFICE_APPS)
    airport = Place("195.99.221.30", 2856, "Manchester", "GB", 53.3588, -2.2727)
    hotel = Place("24.103.52.18", 12271, "New York", "US", 40.7128, -74.006)
    twin = in_order(
        traveller.refresh(
            at(18, 6, 30), on_the_move("thornton", "airport"), client=traveller.mobile
        ),
        traveller.prompted(at(18, 8, 5), airport, app=HOME_PAGE),
        traveller.prompted(at(18, 19, 44), hotel, app=HOME_PAGE),
        traveller.refresh(at(18, 20, 10), hotel, app=OUTLOOK_WEB),
    )
    return Story(
        "two-continents",
        "impossible-travel",
        frozenset(),
        "In reports of business-mail fraud a mailbox is opened from a mobile line in West Africa, "
        "with a phished second factor, while its owner works in Britain.",
        "A business trip by plane: airport Wi-Fi in the morning, New York after eleven hours.",
        in_order(here, there, reads),
        twin,
        ids(there[1], reads),
    )


def _exit_in_dallas() -> Story:
    victim, seller = who("meijer"), who("dijk")
    exit_node = Place("107.181.170.36", 9009, "Dallas", "US", 32.7767, -96.797)
    here = victim.refresh(at(18, 12, 50), victim.home, app=TEAMS)
    there = victim.prompted(at(18, 13, 10), exit_node, client=PLAIN_CHROME, app=HOME_PAGE)
    reads = [
        victim.office_365(
            at(18, 13, 14), exit_node, "MailItemsAccessed", session=there[1]["SessionId"]
        ),
        victim.refresh(at(18, 13, 31), exit_node, client=PLAIN_CHROME, app=OUTLOOK_WEB),
    ]
    twin = in_order(
        seller.prompted(at(18, 6, 40), seller.home, app=HOME_PAGE),
        seller.refresh(at(18, 13, 58), seller.home, app=OUTLOOK_WEB),
        seller.prompted(at(18, 14, 20), VPN_US, app=HOME_PAGE),
        seller.refresh(at(18, 14, 48), VPN_US, app=TEAMS),
        seller.refresh(at(18, 15, 20), seller.home, app=OUTLOOK_WEB),
    )
    return Story(
        "exit-in-dallas",
        "impossible-travel",
        frozenset(),
        "Operators of phished accounts work behind consumer VPNs and do not always choose an exit "
        "near the victim, who is signed in at home in the same half hour.",
        "A seller switches the company's VPN to its American gateway for a demonstration, as he "
        "and others did before, on the managed laptop.",
        in_order(here, there, reads),
        twin,
        ids(there[1], reads[1]),
    )


def _leaked_secret() -> Story:
    exit_node = Place("185.65.134.172", 39351, "Amsterdam", "NL", 52.3676, 4.9041)
    used = [
        CRM_SYNC.sign_in(at(18, 3, minute), exit_node, resource=resource)
        for minute, resource in (
            (40, "Microsoft Graph"),
            (43, "Azure Key Vault"),
            (51, "Microsoft Graph"),
        )
    ]
    moved = [
        INVOICE_EXPORT.sign_in(at(18, hour, 12), place)
        for hour, place in (
            (2, AZURE.at("20.86.115.66")),
            (8, Place("20.118.44.90", 8075, "Boydton", "US", 36.6676, -78.3875)),
            (14, Place("20.82.7.140", 8075, "Dublin", "IE", 53.3498, -6.2603)),
        )
    ]
    return Story(
        "leaked-secret",
        "workload-new-network",
        frozenset(),
        "Secrets of applications found in repositories or a provider's breach are used from a VPN "
        "to read mail and vaults with no user at all.",
        "An export job hosted in Azure runs on another of Azure's addresses and once in another "
        "region.",
        in_order(used),
        in_order(moved),
        ids(*used),
    )


def _prompts_at_night() -> Story:
    victim, guest = who("bos"), who("holroyd")
    proxy = Place("85.149.20.61", 50266, "Amersfoort", "NL", 52.1561, 5.3878)
    used = {"client": PLAIN_EDGE, "app": HOME_PAGE}
    asked = [
        victim.sign_in(at(18, 1, 4 * number), proxy, result=result, **used)
        for number, result in enumerate(["50074", *["500121"] * 8])
    ]
    passed = victim.sign_in(at(18, 1, 37), proxy, second=True, **used)
    after = victim.refresh(at(18, 1, 44), proxy, **used)
    hotel = Place("185.112.144.59", 42689, "Manchester", "GB", 53.4808, -2.2426)
    missed = [
        guest.sign_in(at(18, 6, minute), hotel, app=HOME_PAGE, result="500121")
        for minute in (40, 42)
    ]
    return Story(
        "prompts-at-night",
        "mfa-fatigue",
        frozenset(),
        "Scattered Spider, holding the password, sent prompt after prompt in the small hours "
        "through a proxy in the victim's region until one was approved.",
        "In a hotel room with poor reception two prompts time out; the third works, on the managed "
        "laptop, and the phone's mail follows.",
        in_order(asked, passed, after),
        in_order(
            missed,
            guest.prompted(at(18, 6, 46), hotel, app=HOME_PAGE),
            guest.refresh(at(18, 7, 2), hotel, client=guest.mobile, app=OUTLOOK_MOBILE),
        ),
        ids(passed, after),
    )


def _prompts_and_a_call() -> Story:
    victim, tired = who("koster"), who("yildiz")
    exit_node = Place("185.203.219.23", 136787, "Amsterdam", "NL", 52.37, 4.9)
    used = {"client": PLAIN_CHROME, "app": OUTLOOK_WEB}
    results = ("50074", "500121", "50074", "500121", "50074", "500121", "50074")
    asked = [
        victim.sign_in(
            at(17, 20 + number // 4, 14 * (number % 4)), exit_node, result=result, **used
        )
        for number, result in enumerate(results)
    ]
    passed = victim.sign_in(at(17, 21, 50), exit_node, second=True, **used)
    adds = victim.refresh(at(17, 21, 56), exit_node, client=PLAIN_CHROME, app=MY_SIGN_INS)
    flat = [
        tired.sign_in(at(18, 7, 3 * number), tired.home, app=HOME_PAGE, result="500121")
        for number in range(5)
    ]
    return Story(
        "prompts-and-a-call",
        "mfa-fatigue",
        frozenset(),
        "Lapsus$ repeated the prompts of an evening, called as the help desk, and registered its "
        "own second factor once the victim had agreed.",
        "At home somebody's phone has no power: five prompts run out, then the sixth is answered.",
        in_order(asked, passed, adds),
        in_order(flat, tired.prompted(at(18, 7, 24), tired.home, app=HOME_PAGE)),
        ids(passed, adds),
    )


STORIES = (
    _old_mail_protocols(),
    _ropc_next_door(),
    _axios(),
    _combination_list(),
    _two_continents(),
    _exit_in_dallas(),
    _leaked_secret(),
    _prompts_at_night(),
    _prompts_and_a_call(),
)
