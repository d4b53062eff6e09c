"""A schematic map of the world: where countries are, and rough outlines of the continents.

Positions are latitude and longitude in whole degrees, near the middle of where people live.
"""

from __future__ import annotations

_POSITIONS = """
AD 42 2,AE 24 54,AF 34 66,AG 17 -62,AL 41 20,AM 40 45,AO -11 17,AR -35 -62,AT 48 14,AU -33 147
AZ 40 48,BA 44 18,BB 13 -60,BD 24 90,BE 51 4,BF 12 -2,BG 43 25,BH 26 51,BI -3 30,BJ 7 2,BN 5 115
BO -17 -65,BR -19 -46,BS 25 -77,BT 27 90,BW -23 25,BY 53 28,BZ 17 -88,CA 47 -78,CD -4 22,CF 5 19
CG -3 15,CH 47 8,CI 6 -5,CL -34 -71,CM 5 11,CN 33 112,CO 5 -74,CR 10 -84,CU 22 -80,CV 15 -24
CY 35 33,CZ 50 15,DE 51 10,DJ 12 43,DK 56 10,DO 19 -70,DZ 36 4,EC -1 -79,EE 59 25,EG 29 31
ER 15 39,ES 40 -4,ET 9 39,FI 61 25,FJ -18 178,FR 47 2,GA 0 11,GB 52 -2,GE 42 44,GH 7 -1,GM 13 -16
GN 10 -12,GQ 2 10,GR 39 22,GT 15 -91,GW 12 -15,GY 6 -58,HK 22 114,HN 15 -87,HR 45 16,HT 19 -72
HU 47 19,ID -7 110,IE 53 -7,IL 32 35,IN 22 79,IQ 33 44,IR 34 52,IS 64 -21,IT 43 12,JM 18 -77
JO 32 36,JP 36 138,KE -1 37,KG 42 74,KH 12 105,KP 39 126,KR 37 127,KW 29 48,KZ 48 68,LA 18 103
LB 34 36,LK 7 81,LR 6 -10,LS -29 28,LT 55 24,LU 50 6,LV 57 25,LY 32 15,MA 33 -7,MC 44 7,MD 47 29
ME 43 19,MG -19 47,MK 42 22,ML 13 -7,MM 20 96,MN 48 107,MO 22 114,MR 18 -15,MT 36 14,MU -20 58
MV 4 73,MW -14 34,MX 20 -100,MY 4 102,MZ -18 36,NA -22 17,NE 14 5,NG 8 7,NI 12 -86,NL 52 5,NO 61 9
NP 28 84,NZ -39 175,OM 23 58,PA 9 -80,PE -10 -76,PG -6 145,PH 14 121,PK 31 71,PL 52 19,PR 18 -66
PS 32 35,PT 39 -8,PY -25 -57,QA 25 51,RE -21 55,RO 46 25,RS 44 21,RU 55 45,RW -2 30,SA 24 45
SC -5 55,SD 15 32,SE 60 16,SG 1 104,SI 46 15,SK 49 19,SL 8 -12,SN 15 -16,SO 3 45,SR 5 -55,SS 7 31
SV 14 -89,SY 35 38,SZ -26 31,TD 12 17,TG 8 1,TH 15 101,TJ 38 70,TL -9 126,TM 39 59,TN 35 10
TR 39 34,TT 10 -61,TW 24 121,TZ -6 36,UA 49 31,UG 1 32,US 39 -92,UY -34 -56,UZ 40 66,VE 9 -67
VN 15 107,XK 43 21,YE 15 45,ZA -28 27,ZM -14 28,ZW -19 30
"""
POSITIONS: dict[str, tuple[int, int]] = {
    code: (int(latitude), int(longitude))
    for code, latitude, longitude in (
        item.split() for item in _POSITIONS.replace("\n", ",").split(",") if item
    )
}
"""Latitude and longitude by the two letters of ISO 3166-1."""

OUTLINES = (
    # North America
    "70 -160,71 -130,69 -95,62 -78,60 -65,52 -56,45 -62,41 -71,35 -76,26 -80,30 -88,29 -95,21 -97,"
    "18 -94,21 -87,15 -83,8 -79,14 -92,20 -105,31 -114,40 -124,55 -131,60 -146,56 -160,62 -165",
    # South America
    "11 -73,10 -62,4 -51,-5 -35,-23 -42,-35 -57,-41 -63,-54 -68,-46 -75,-30 -71,-18 -70,-5 -81,"
    "4 -77",
    # Greenland
    "82 -40,76 -20,70 -23,60 -44,69 -52,77 -68",
    # Africa
    "35 -6,37 10,32 20,31 32,12 43,11 51,-3 41,-15 40,-26 33,-34 26,-34 18,-22 14,-6 12,4 9,5 -8,"
    "14 -17,25 -15",
    # Europe and Asia
    "36 -9,43 -9,48 -4,53 7,57 10,54 19,60 22,65 24,60 5,70 20,71 28,67 42,70 68,77 104,72 130,"
    "70 170,65 178,60 163,52 157,59 150,54 137,43 132,39 127,35 129,38 121,30 122,22 114,10 107,"
    "8 105,13 100,1 104,16 97,22 90,10 80,8 77,22 70,25 60,23 59,13 45,28 35,36 36,37 27,41 28,"
    "38 23,45 14,38 16,44 9,43 4,37 -1",
    # Britain, Japan, Indonesia, New Guinea, Australia, New Zealand, Madagascar
    "50 -5,51 1,55 -2,58 -3,58 -6,54 -3", "31 131,35 140,41 141,45 142,42 140,36 136",
    "5 95,-6 105,-8 115,-2 117,6 117,1 109,-3 104", "-1 131,-6 147,-10 150,-8 138",
    "-12 131,-17 140,-11 142,-28 153,-38 147,-32 133,-35 117,-22 114",
    "-35 173,-41 176,-46 169,-41 172", "-12 49,-25 47,-20 44",
)  # fmt: skip


def outline(text: str) -> list[tuple[float, float]]:
    """Return the latitudes and longitudes of an outline."""
    return [(float(a), float(b)) for a, b in (point.split() for point in text.split(","))]
