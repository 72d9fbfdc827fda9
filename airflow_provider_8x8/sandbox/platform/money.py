"""What the sandbox would charge: one price for every part, everywhere."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_8x8.sandbox.platform.numbers import CALLING_CODE_OF_COUNTRY
from airflow_provider_8x8.sandbox.wire.errors import Code, bad_request

CURRENCY = "USD"
PRICE_PER_PART = 0.01
BALANCE = 1000.0

_PRICE = {"amount": PRICE_PER_PART, "currency": CURRENCY}


def price_total(parts: int) -> float:
    """Return the price of a message of so many parts, in :data:`CURRENCY`."""
    return round(parts * PRICE_PER_PART, 2)


def price_list(subaccount: str, query: Mapping[str, str]) -> dict[str, object]:
    """
    Return 8x8's price list.

    :param query: 8x8's filters: ``country``, ``mcc`` with ``mnc``, ``direction``, ``subAccountId``. The sandbox has
        one operator for all, so a network code filters nothing out
    :raises ApiError: 400, a filter is wrong
    """
    country = query.get("country")
    if country is not None and country not in CALLING_CODE_OF_COUNTRY:
        raise bad_request(Code.INVALID_COUNTRY, "country is no ISO 3166-1 alpha-2 code")
    direction = query.get("direction")
    if direction not in (None, "outbound", "inbound"):
        raise bad_request(Code.INVALID_PARAMETER, "direction must be outbound or inbound")
    _check_network_code(query)
    if query.get("subAccountId", subaccount) != subaccount:
        raise bad_request(Code.INVALID_SUBACCOUNT, "Provided subAccountId doesn't belong to your account")
    prices: dict[str, object] = {"subAccountId": subaccount}
    if direction != "inbound":
        operator = {"operatorName": "Sandbox", "operatorId": 1, "price": _PRICE}
        prices["outbound"] = [{"countries": _countries(country, {"operators": [operator]})}]
    if direction != "outbound":
        prices["inbound"] = _countries(country, {"numberTypes": [{"type": "longcode", "defaultPrice": _PRICE}]})
    return {"subAccounts": [prices]}


def _countries(only: str | None, prices: Mapping[str, object]) -> list[dict[str, object]]:
    return [
        {"alpha2Code": country, "dialingPrefix": f"+{calling_code}", **prices}
        for country, calling_code in CALLING_CODE_OF_COUNTRY.items()
        if only in (None, country)
    ]


def _check_network_code(query: Mapping[str, str]) -> None:
    codes = [query[name] for name in ("mcc", "mnc") if name in query]
    if len(codes) == 1 or any(not (code.isascii() and code.isdigit()) for code in codes):
        raise bad_request(Code.INVALID_PARAMETER, "mcc and mnc must be whole numbers, and come together")
