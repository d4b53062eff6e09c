"""Classification of addresses by kind of network."""

from __future__ import annotations

from schemas.intel.verdicts import AddressClass, Intel

HOSTING_NETWORKS = frozenset(
    {
        8075,  # Microsoft
        8100,  # QuadraNet
        8560,  # IONOS
        9009,  # M247
        9370,  # Sakura
        11878,  # tzulo
        12876,  # Scaleway
        13335,  # Cloudflare
        14061,  # DigitalOcean
        14618,  # Amazon
        15169,  # Google
        16125,  # Cherry Servers
        16276,  # OVH
        16509,  # Amazon
        18779,  # EGIHosting
        19318,  # Interserver
        20473,  # Vultr
        21859,  # Zenlayer
        22612,  # Namecheap
        24940,  # Hetzner
        24961,  # myLoc
        25820,  # IT7 Networks
        26496,  # GoDaddy
        28753,  # LeaseWeb
        29802,  # Hivelocity
        30633,  # LeaseWeb
        31898,  # Oracle
        33070,  # Rackspace
        36351,  # IBM Cloud
        36352,  # HostPapa (ColoCrossing)
        37963,  # Alibaba
        39351,  # 31173 Services (Mullvad)
        40021,  # Contabo
        40676,  # Psychz
        43350,  # NForce
        44477,  # Stark Industries
        45090,  # Tencent
        45102,  # Alibaba
        46562,  # Performive
        46606,  # Unified Layer
        46844,  # Sharktech
        47583,  # Hostinger
        49981,  # WorldStream
        51167,  # Contabo
        51852,  # Private Layer
        53667,  # FranTech
        53850,  # GorillaServers
        54290,  # Hostwinds
        55286,  # ServerMania
        55990,  # Huawei Cloud
        59253,  # LeaseWeb
        60068,  # Datacamp
        60404,  # Liteserver
        60781,  # LeaseWeb
        62240,  # Clouvider
        62371,  # Proton
        63023,  # GTHost
        63949,  # Akamai (Linode)
        132203,  # Tencent
        136787,  # PacketHub (NordVPN)
        136907,  # Huawei Cloud
        197540,  # netcup
        200019,  # AlexHost
        202425,  # IP Volume
        203020,  # HostRoyale
        206264,  # Amarutu
        209103,  # Proton
        210644,  # Aeza
        212238,  # Datacamp
        213230,  # Hetzner
        215540,  # Global Connectivity Solutions
        395954,  # LeaseWeb
        396982,  # Google Cloud
    }
)
MOBILE_NETWORKS = frozenset(
    {
        6167,  # Verizon Wireless
        9605,  # NTT DOCOMO
        9808,  # China Mobile
        10507,  # Sprint PCS
        12576,  # EE
        15480,  # Vodafone Netherlands mobile
        16135,  # Turkcell
        16299,  # Xfera
        16637,  # MTN South Africa
        20057,  # AT&T Mobility
        20978,  # TT Mobil
        21928,  # T-Mobile USA
        22394,  # Verizon Wireless
        23693,  # Telkomsel
        24608,  # Wind Tre
        25135,  # Vodafone UK
        26599,  # Vivo mobile
        26615,  # TIM Brasil
        29465,  # MTN Nigeria
        31615,  # Odido mobile
        35228,  # O2 UK
        38266,  # Vodafone Idea
        45143,  # Singtel mobile
        45609,  # Bharti Airtel mobile
        51207,  # Free Mobile
        55836,  # Reliance Jio
        56040,  # China Mobile
        60339,  # Three UK
        133612,  # Vodafone Australia
        206067,  # Three UK
    }
)
"""AS numbers by public registration of the holder; used if CrowdSec reports no class."""

_BY_NAME = (
    (AddressClass.TOR, ("proxy:tor",)),
    (
        AddressClass.RELAY,
        ("proxy:icloud-private-relay", "corporate-proxy:", "profile:corporate-proxy"),
    ),
    (AddressClass.VPN, ("proxy:vpn", "crowdsec:ai_vpn_proxy", "profile:jupiter-vpn")),
    (AddressClass.PROXY, ("proxy:", "profile:proxy")),
    (AddressClass.HOSTING, ("range:data_center", "connection-type:data-center")),
    (AddressClass.RESIDENTIAL, ("connection-type:residential",)),
    (AddressClass.MOBILE, ("connection-type:mobile",)),
)
"""Classes by CrowdSec classification names (taxonomy of its hub), most specific first."""


def class_of_intel(intel: Intel) -> AddressClass:
    """Return the class by CrowdSec's classifications, else by AS number, else unknown."""
    names = (*intel.classifications, *intel.false_positives)
    for address_class, prefixes in _BY_NAME:
        if any(name.startswith(prefixes) for name in names):
            return address_class
    return AddressClass.PROXY if intel.proxy_or_vpn else class_of_network(intel.as_number)


def class_of_network(as_number: int | None) -> AddressClass:
    """Return the class by AS number."""
    if as_number in HOSTING_NETWORKS:
        return AddressClass.HOSTING
    return AddressClass.MOBILE if as_number in MOBILE_NETWORKS else AddressClass.UNKNOWN
