"""Classification of addresses by kind of network."""

from __future__ import annotations

from schemas.intel.verdicts import AddressClass, Intel

HOSTING_NETWORKS = frozenset(
    {
        8075,  # Microsoft
        9009,  # M247
        12876,  # Scaleway
        13335,  # Cloudflare
        14061,  # DigitalOcean
        14618,  # Amazon
        15169,  # Google
        16276,  # OVH
        16509,  # Amazon
        20473,  # Vultr
        24940,  # Hetzner
        31898,  # Oracle
        36352,  # HostPapa (ColoCrossing)
        37963,  # Alibaba
        45102,  # Alibaba
        51167,  # Contabo
        53667,  # FranTech
        60068,  # Datacamp
        60781,  # LeaseWeb
        63949,  # Akamai (Linode)
        132203,  # Tencent
        212238,  # Datacamp
        396982,  # Google Cloud
    }
)
MOBILE_NETWORKS = frozenset(
    {
        6167,  # Verizon Wireless
        9605,  # NTT DOCOMO
        12576,  # EE
        20057,  # AT&T Mobility
        21928,  # T-Mobile USA
        22394,  # Verizon Wireless
        25135,  # Vodafone UK
        45609,  # Bharti Airtel mobile
        51207,  # Free Mobile
        55836,  # Reliance Jio
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
