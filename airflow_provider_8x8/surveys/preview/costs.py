"""What texts would cost, by 8x8's price list."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from airflow_provider_8x8.surveys.messages.calling_codes import countries_of, find_calling_code

_NANP = "1"


class Recipients(msgspec.Struct, frozen=True, kw_only=True):
    """
    Texts that go to one country, or to several that share a calling code.

    :ivar calling_code: None where only the rows themselves say the country, where the country has several, or where the
        number is no country's
    :ivar countries: ISO 3166-1 alpha-2; several where the number does not tell which of them it is
    """

    calling_code: str | None
    countries: tuple[str, ...]
    texts: int
    parts: int

    @property
    def name(self) -> str:
        """What people call it."""
        if self.calling_code == _NANP:
            return "US or Canada (NANP)"
        return " or ".join(self.countries) or "no country has such numbers"


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What texts cost at least and at most: their operators are not known."""

    currency: str
    lowest: float
    highest: float


def recipients_of(by_destination: Mapping[tuple[str, int], int]) -> list[Recipients]:
    """
    Return where texts go, the most first.

    :param by_destination: how many texts, by the first digits of the number or by the row's country, and by parts
    """
    texts: Counter[tuple[str, ...]] = Counter()
    parts: Counter[tuple[str, ...]] = Counter()
    codes: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for (where, parts_each), count in by_destination.items():
        code = find_calling_code(where) if where.isdigit() else None
        countries = (where,) if not where.isdigit() else countries_of(code) if code else ()
        texts[countries] += count
        parts[countries] += count * parts_each
        codes[countries].update([code] if code else [])
    found = [
        Recipients(
            calling_code=next(iter(codes[countries])) if len(codes[countries]) == 1 else None,
            countries=countries,
            texts=count,
            parts=parts[countries],
        )
        for countries, count in texts.items()
    ]
    return sorted(found, key=lambda each: (-each.texts, each.countries))


class _Price(msgspec.Struct):
    amount: float
    currency: str


class _Operator(msgspec.Struct):
    price: _Price | None = None


class _Country(msgspec.Struct, rename="camel"):
    alpha2_code: str
    operators: list[_Operator] | None = None


class _Outbound(msgspec.Struct):
    countries: list[_Country] | None = None


class _SubAccount(msgspec.Struct, rename="camel"):
    sub_account_id: str
    # 8x8's schema has a list here, its example what would stand in one.
    outbound: list[_Outbound] | _Outbound | None = None


class _PriceList(msgspec.Struct, rename="camel"):
    sub_accounts: list[_SubAccount]


class PriceRange(NamedTuple):
    """The lowest and the highest price of a part, of several operators in one currency."""

    lowest: Decimal
    highest: Decimal


class Prices:
    """
    The prices of one sub-account's texts.

    :param price_list: as 8x8 gives it
    :param subaccount_id: whose
    :raises ValueError: it is no price list, or has no prices for the sub-account
    """

    def __init__(self, price_list: Mapping[str, Any], subaccount_id: str) -> None:
        try:
            accounts = msgspec.convert(price_list, _PriceList).sub_accounts
        except msgspec.ValidationError as error:
            raise ValueError(f"8x8's price list is not as its API describes it: {error}") from None
        self._ranges: dict[str, dict[str, PriceRange]] = {}
        for account in accounts:
            if account.sub_account_id == subaccount_id:
                for country, price in _prices_of(account):
                    self._learn(country, price)
        if not self._ranges:
            raise ValueError(f"8x8's price list has no price for texts of sub-account {subaccount_id}")

    def _learn(self, country: str, price: _Price) -> None:
        amount = Decimal(repr(price.amount))
        ranges = self._ranges.setdefault(country, {})
        known = ranges.get(price.currency, PriceRange(amount, amount))
        ranges[price.currency] = PriceRange(min(known.lowest, amount), max(known.highest, amount))

    def of(self, countries: Iterable[str]) -> dict[str, PriceRange]:
        """Return the prices in some countries, by currency."""
        found: dict[str, PriceRange] = {}
        for country in countries:
            for currency, prices in self._ranges.get(country, {}).items():
                known = found.get(currency, prices)
                found[currency] = PriceRange(min(known.lowest, prices.lowest), max(known.highest, prices.highest))
        return found


def _prices_of(account: _SubAccount) -> Iterator[tuple[str, _Price]]:
    outbound = [account.outbound] if isinstance(account.outbound, _Outbound) else account.outbound or []
    for each in outbound:
        for country in each.countries or []:
            for operator in country.operators or []:
                if operator.price is not None:
                    yield country.alpha2_code, operator.price


def estimate(recipients: Iterable[Recipients], prices: Prices) -> tuple[list[Cost], int]:
    """
    Return what texts cost, by currency, and how many parts have no price that could be told.

    Those are parts to countries that the price list does not have, or that it has in more than one currency.
    """
    without_price = 0
    totals: dict[str, PriceRange] = {}
    for each in recipients:
        ranges = prices.of(each.countries)
        if len(ranges) != 1:
            without_price += each.parts
            continue
        ((currency, (low, high)),) = ranges.items()
        before = totals.get(currency, PriceRange(Decimal(), Decimal()))
        totals[currency] = PriceRange(before.lowest + each.parts * low, before.highest + each.parts * high)
    costs = [
        Cost(currency=currency, lowest=float(total.lowest), highest=float(total.highest))
        for currency, total in sorted(totals.items())
    ]
    return costs, without_price
