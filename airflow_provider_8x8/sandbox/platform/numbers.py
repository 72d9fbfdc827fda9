"""
Which phone numbers can exist: countries and their calling codes.

Sources: ISO 3166-1 for the countries, the ITU's list of assigned country codes (E.164) for the calling codes.
"""

from __future__ import annotations

from typing import NamedTuple

from airflow_provider_8x8.sandbox.platform.limits import MAX_E164_DIGITS

INVALID_NUMBER = "Invalid MSISDN format (not E.164 international number)"

# Every assigned ISO 3166-1 alpha-2 code with its calling code. Of several countries with one calling code, the first
# here is taken for a number that does not name its own, so the largest ones stand first.
_CALLING_CODES = """
US1 RU7 IT39 GB44 NO47 AU61 NZ64 MA212 RE262 FI358 FK500 GP590 CW599 NF672
AD376 AE971 AF93 AG1 AI1 AL355 AM374 AO244 AQ672 AR54 AS1 AT43 AW297 AX358 AZ994
BA387 BB1 BD880 BE32 BF226 BG359 BH973 BI257 BJ229 BL590 BM1 BN673 BO591 BQ599 BR55 BS1 BT975 BV47 BW267 BY375 BZ501
CA1 CC61 CD243 CF236 CG242 CH41 CI225 CK682 CL56 CM237 CN86 CO57 CR506 CU53 CV238 CX61 CY357 CZ420
DE49 DJ253 DK45 DM1 DO1 DZ213 EC593 EE372 EG20 EH212 ER291 ES34 ET251 FJ679 FM691 FO298 FR33
GA241 GD1 GE995 GF594 GG44 GH233 GI350 GL299 GM220 GN224 GQ240 GR30 GS500 GT502 GU1 GW245 GY592
HK852 HM672 HN504 HR385 HT509 HU36 ID62 IE353 IL972 IM44 IN91 IO246 IQ964 IR98 IS354 JE44 JM1 JO962 JP81
KE254 KG996 KH855 KI686 KM269 KN1 KP850 KR82 KW965 KY1 KZ7 LA856 LB961 LC1 LI423 LK94 LR231 LS266 LT370 LU352
LV371 LY218
MC377 MD373 ME382 MF590 MG261 MH692 MK389 ML223 MM95 MN976 MO853 MP1 MQ596 MR222 MS1 MT356 MU230 MV960 MW265 MX52
MY60 MZ258
NA264 NC687 NE227 NG234 NI505 NL31 NP977 NR674 NU683 OM968
PA507 PE51 PF689 PG675 PH63 PK92 PL48 PM508 PN64 PR1 PS970 PT351 PW680 PY595 QA974 RO40 RS381 RW250
SA966 SB677 SC248 SD249 SE46 SG65 SH290 SI386 SJ47 SK421 SL232 SM378 SN221 SO252 SR597 SS211 ST239 SV503 SX1 SY963 SZ268
TC1 TD235 TF262 TG228 TH66 TJ992 TK690 TL670 TM993 TN216 TO676 TR90 TT1 TV688 TW886 TZ255
UA380 UG256 UM1 UY598 UZ998 VA39 VC1 VE58 VG1 VI1 VN84 VU678 WF681 WS685 YE967 YT262 ZA27 ZM260 ZW263
"""

# Assigned by the ITU to no country of ISO 3166-1: Ascension, the Vatican's unused one, Kosovo, freephone, shared cost,
# satellite and other global networks, universal personal and premium rate numbers.
_OTHER_CALLING_CODES = ("247", "379", "383", "800", "808", "870", "878", "881", "882", "883", "979")

# Calling code and digits of the shortest national mobile number, where that is more than the 7 of 8x8's pattern.
_SHORTEST_NATIONAL_NUMBERS = """
1:10 7:10 20:10 27:9 30:10 31:9 32:9 33:9 34:9 36:9 39:9 40:9 41:9 43:10 44:10 45:8 46:9 47:8 48:9 49:10
51:9 52:10 54:10 55:10 56:9 57:10 60:9 61:9 62:9 63:10 64:8 65:8 66:9 81:10 82:9 84:9 86:11 90:10 91:10 92:10 94:9
234:10 254:9 351:9 353:9 420:9 852:8 853:8 855:8 880:10 886:9 966:9 971:9 972:9
"""

CALLING_CODE_OF_COUNTRY = {entry[:2]: entry[2:] for entry in _CALLING_CODES.split()}
ASSIGNED_CALLING_CODES = frozenset(CALLING_CODE_OF_COUNTRY.values()) | frozenset(_OTHER_CALLING_CODES)
_SHORTEST_NATIONAL_NUMBER = {
    calling_code: int(digits)
    for calling_code, _, digits in (entry.partition(":") for entry in _SHORTEST_NATIONAL_NUMBERS.split())
}
_COUNTRY_OF_CALLING_CODE = {code: country for country, code in reversed(CALLING_CODE_OF_COUNTRY.items())}


class PhoneNumber(NamedTuple):
    """A destination as 8x8 reads it."""

    digits: str
    """International, without ``+``; as it was given where it cannot be read."""
    country: str
    """ISO 3166-1 alpha-2; empty where the calling code belongs to none."""
    rejection: str | None
    """Why no text can reach it."""


def read_number(destination: str, country: str | None) -> PhoneNumber:
    """
    Return what a destination that fits 8x8's pattern says.

    :param destination: international with or without ``+``, or national if ``country`` is given and there is no ``+``
    :param country: an assigned ISO 3166-1 alpha-2 code
    """
    if country is not None and not destination.startswith("+"):
        return _read_national(destination, country)
    digits = destination.removeprefix("+")
    for length in (1, 2, 3):
        calling_code = digits[:length]
        if calling_code in ASSIGNED_CALLING_CODES:
            return PhoneNumber(digits, country or _COUNTRY_OF_CALLING_CODE.get(calling_code, ""), None)
    return PhoneNumber(digits, "", INVALID_NUMBER)


def _read_national(destination: str, country: str) -> PhoneNumber:
    calling_code = CALLING_CODE_OF_COUNTRY[country]
    digits = calling_code + destination
    too_short = len(destination) < _SHORTEST_NATIONAL_NUMBER.get(calling_code, 0)
    if too_short or len(digits) > MAX_E164_DIGITS:
        return PhoneNumber(destination, country, INVALID_NUMBER)
    return PhoneNumber(digits, country, None)
