"""Counting texts before they are sent."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from airflow_provider_8x8.sandbox.platform.numbers import CALLING_CODE_OF_COUNTRY
from airflow_provider_8x8.surveys.clock import SystemClock
from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.calling_codes import countries_of, find_calling_code
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.preview.costs import Prices, Recipients, estimate
from airflow_provider_8x8.surveys.preview.page import escape
from airflow_provider_8x8.surveys.preview.preview import Preview, read_for_preview
from airflow_provider_8x8.surveys.preview.result import as_result
from airflow_provider_8x8.surveys.preview.texts import TextCounts
from airflow_provider_8x8.surveys.sending.stopped import SendingStopped
from airflow_provider_8x8.surveys.settings import Settings

GSM7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
TWO_PLACES = set("\f^{}\\[~]|€")


class Values:
    """Rows as a query has them."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Any]) -> None:
        self.columns = columns
        self._rows = rows

    def __iter__(self) -> Generator[Any, None, None]:
        yield from self._rows


def preview(body: str | None, columns: Sequence[str], rows: Sequence[Any], **common: Any) -> Preview:
    template = None if body is None else Template.parse(body)
    return read_for_preview(
        Values(columns, rows),
        MessageBuilder(row_keys=RowKeys("c"), template=template, common=common),
        TextCounts(template, common.get("encoding")),
        settings=Settings(survey_id="s"),
        campaign_id=None,
        entries=None,
        why_unknown="nobody knows",
        clock=SystemClock(threading.Event()),
    )


def parts_one_by_one(text: str) -> int:
    """The parts of a text, by filling them with one place after the other."""
    is_gsm7 = set(text) <= GSM7 | TWO_PLACES
    places = 0
    for character in text:
        wide = character in TWO_PLACES if is_gsm7 else ord(character) > 0xFFFF
        places += 2 if wide else 1
    alone, each = (160, 153) if is_gsm7 else (70, 67)
    parts = 1
    if places > alone:
        while places > parts * each:
            parts += 1
    return parts


@pytest.mark.parametrize("body", ["Hi {{a}}, {b} 100% {{url:n}} {{n}}{{a}}", "Ünd {{n}} \u2019 {{url}} [{{a}}]"])
def test_parts_agree_with_counting_them_one_by_one(body: str) -> None:
    random = Random(8)  # noqa: S311  # it is to be foreseen
    letters = "abc dE0@\né€{}[]~字😀ŁИ\u2019`\u2028"
    values = []
    for number in range(5_000):
        some = letters[:9] if random.random() < 0.5 else random.choice([letters[:15], letters])
        values.append(("".join(random.choices(some, k=random.choice([3, 20, 60, 120, 300]))), number))
    rows = [(f"+1{201 + nr // 100}55501{nr % 100:02d}", text, nr) for nr, (text, _) in enumerate(values)]
    counts: dict[int, int] = {}
    too_long = 0
    for _, a, nr in rows:
        text = body.replace("{{url:n}}", "x" * 21).replace("{{url}}", "x" * 21).replace("{{n}}", str(nr))
        parts = parts_one_by_one(text.replace("{{a}}", a))
        if parts > 10:
            too_long += 1
        else:
            counts[parts] = counts.get(parts, 0) + 1
    found = preview(body, ["destination", "a", "n"], rows)
    assert found.texts.histogram == dict(sorted(counts.items()))
    assert (found.too_long, found.would_be_sent) == (too_long, sum(counts.values()))


@pytest.mark.parametrize("encoding", ["UCS2", "GSM7"])
def test_an_encoding_that_was_chosen_is_counted(encoding: str) -> None:
    found = preview("{{a}} {{url}}", ["destination", "a"], [("+12025550101", "é" * 100)], encoding=encoding)
    assert found.texts.histogram == ({2: 1} if encoding == "UCS2" else {1: 1})
    assert found.texts.pushed == {}


@pytest.mark.parametrize("common", [None, "AUTO", "GSM7", "UCS2"])
@pytest.mark.parametrize(("own", "parts"), [("UCS2", 2), ("GSM7", 1), ("AUTO", 1)])
def test_an_encoding_that_a_row_has_chosen_is_counted_before_the_common_one(
    common: str | None, own: str, parts: int
) -> None:
    rows = [("+12025550101", "e" * 100, own)]
    found = preview("{{a}} {{url}}", ["destination", "a", "encoding"], rows, encoding=common)
    assert found.texts.histogram == {parts: 1}
    assert found.texts.ucs2 == (own == "UCS2")


@pytest.mark.parametrize(
    ("common", "said"),
    [
        ({"scheduled": timedelta(hours=-1)}, "scheduled is .*, which is past"),
        ({"scheduled": timedelta(days=8)}, "8x8 takes at most 7 days ahead"),
        ({"expiry": timedelta(hours=-1)}, "expiry is .*, which is past"),
        ({"scheduled": timedelta(hours=2), "expiry": timedelta(hours=1)}, "expected a time after scheduled"),
    ],
)
def test_it_fails_where_the_common_times_would_stop_the_sending(common: dict[str, timedelta], said: str) -> None:
    times = {name: datetime.now(UTC) + ahead for name, ahead in common.items()}
    with pytest.raises(SendingStopped, match=said) as stopped:
        preview("{{url}}", ["destination"], [("+12025550101",)], **times)
    assert stopped.value.is_final
    assert preview("{{url}}", ["destination"], [("12",)], **times).would_be_sent == 0  # nor is a batch begun


def test_rows_may_bring_their_own_text_encoding_and_country() -> None:
    rows = [
        ("2025550101", "US", "one {{url}}", None),
        ("447700900123", None, "Ł {{url}}", "UCS2"),
        ("+7712", None, "", None),
    ]
    found = preview(None, ["destination", "country", "template_body", "encoding"], rows)
    assert found.would_be_sent == 2
    assert {(each.name, each.calling_code) for each in found.recipients} == {
        ("US", None),
        ("GB or GG or IM or JE", "44"),
    }
    assert found.texts.pushed == {}


def test_a_country_is_there_once_whether_the_number_or_the_row_says_it() -> None:
    rows = [("91234567", "SG"), ("+6581234567", None), ("2425550101", "BS"), ("+12425550102", None)]
    found = preview("Hi {{url}}", ["destination", "country"], rows)
    assert [(each.name, each.calling_code, each.texts, each.parts) for each in found.recipients] == [
        ("BS", "1242", 2, 2),
        ("SG", "65", 2, 2),
    ]


@pytest.mark.parametrize(
    ("body", "keeps"), [("{{url}} {{a}}", True), ("{{a}} {{url}}", False), ("{{a}} {{url}} {{url}}", False)]
)
def test_a_text_that_is_cut_off_loses_what_stands_behind_its_tenth_part(body: str, keeps: bool) -> None:
    found = preview(body, ["destination", "a"], [("+12025550101", "é" * 1_530)])
    assert (found.too_long, found.without_link) == (1, 0 if keeps else 1)


def test_reasons_are_counted_by_their_kind() -> None:
    rows = [(f"0412 345 6{number:02d}", 1) for number in range(50)] + [(None, 1), ("+12025550101", 1)]
    found = as_result(preview("Hi {{url}}", ["destination", "n"], rows))
    assert [(each["first_row"], each["rows"]) for each in found["invalid_reasons"]] == [(1, 50), (51, 1)]
    assert found["invalid_count"] == 51


def test_every_country_is_told_by_its_calling_code() -> None:
    for country, code in CALLING_CODE_OF_COUNTRY.items():
        found = find_calling_code(code + "0000")
        assert found is not None
        if code != "1" and country not in ("KZ", "UM", "TF", "GS"):
            assert country in countries_of(found), country


@pytest.mark.parametrize(
    ("digits", "countries"),
    [
        ("12025550101", ("US", "CA")),
        ("12425550101", ("BS",)),
        ("77015550101", ("KZ",)),
        ("79155550101", ("RU",)),
        ("6591234567", ("SG",)),
        ("2100000000", None),
    ],
)
def test_a_number_tells_its_country_as_far_as_it_can(digits: str, countries: tuple[str, ...] | None) -> None:
    code = find_calling_code(digits)
    assert (None if code is None else countries_of(code)) == countries


def operators(*amounts: float, currency: str = "USD") -> list[dict[str, Any]]:
    return [{"operatorName": "o", "price": {"amount": amount, "currency": currency}} for amount in amounts]


@pytest.mark.parametrize("as_list", [True, False])
def test_cost_is_a_range_over_operators_and_countries(as_list: bool) -> None:
    outbound: Any = {
        "countries": [
            {"alpha2Code": "US", "operators": operators(0.01, 0.03)},
            {"alpha2Code": "CA", "operators": operators(0.02, 0.05)},
            {"alpha2Code": "SG", "operators": operators(0.0099171, currency="SGD")},
        ]
    }
    prices = Prices({"subAccounts": [{"subAccountId": "hq", "outbound": [outbound] if as_list else outbound}]}, "hq")
    shared = Recipients(calling_code="1", countries=("US", "CA"), texts=10, parts=20)
    nowhere = Recipients(calling_code="33", countries=("FR",), texts=1, parts=3)
    ((cost,), without_price) = estimate([shared, nowhere], prices)
    assert (cost.currency, cost.lowest, cost.highest, without_price) == ("USD", 0.2, 1.0, 3)


@pytest.mark.parametrize("price_list", [{}, {"subAccounts": []}, {"subAccounts": [{"subAccountId": "other"}]}])
def test_a_price_list_without_prices_says_so(price_list: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="price list"):
        Prices(price_list, "hq")


def test_what_comes_from_rows_cannot_break_the_page() -> None:
    assert escape("a|b\r\nc <b> `x` *y* &amp; \x1b[0m") == "a\\|b ⏎ c &lt;b&gt; \\`x\\` \\*y\\* &amp;amp;  \\[0m"
