"""The demo's warehouse: the same every time, and with all the trouble that it promises."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from seed import WRONG_NUMBERS, Customer, Warehouse, make_customers, seed

from airflow_provider_8x8.surveys.messages.builder import MessageBuilder
from airflow_provider_8x8.surveys.messages.row_keys import RowKeys
from airflow_provider_8x8.surveys.messages.row_message import InvalidRowError
from airflow_provider_8x8.surveys.messages.template import Template
from tests.support.built import SentRow
from tests.support.built import build as build_all

TOTAL = 4_000
MONTH = date(2026, 2, 14)
FICTION = re.compile(r"1[2-9]\d\d55501\d\d|447700900\d{3}|3363998\d{4}")
UNASSIGNED = re.compile(r"(210|214|215|217|219|259)\d{7}")


@pytest.fixture(scope="module")
def customers() -> list[Customer]:
    return make_customers(TOTAL)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Warehouse]:
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb"
    return path, seed(path, MONTH, customers=TOTAL)


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def builder() -> MessageBuilder:
    messages = MessageBuilder(
        row_keys=RowKeys("demo"), template=Template.parse("Hi {{firstName}}, how was order {{order_nr}}? {{url}}")
    )
    messages.use_columns(["destination", "firstName", "order_nr"], complete=False)
    return messages


def build(customer: Customer) -> SentRow:
    row = {"destination": customer.phone, "firstName": customer.first_name, "order_nr": 1}
    (built,) = build_all(builder(), 1, [row])
    if isinstance(built, InvalidRowError):
        raise built
    return built


def test_the_same_seed_gives_the_same_warehouse(warehouse: tuple[Path, Warehouse], tmp_path: Path) -> None:
    path, first = warehouse
    second = seed(tmp_path / "second.duckdb", MONTH, customers=TOTAL)
    assert second == first
    for table in ("customers", "orders"):
        rows = query(path, f"FROM {table} ORDER BY ALL")
        assert rows
        assert query(tmp_path / "second.duckdb", f"FROM {table} ORDER BY ALL") == rows


def test_another_seed_gives_another_warehouse_with_as_much_trouble(
    warehouse: tuple[Path, Warehouse], tmp_path: Path
) -> None:
    path, first = warehouse
    second = seed(tmp_path / "second.duckdb", MONTH, customers=TOTAL, random_seed=9)
    assert second.troubles == first.troubles
    assert query(tmp_path / "second.duckdb", "FROM customers ORDER BY 1") != query(path, "FROM customers ORDER BY 1")


def test_the_demo_has_25_000_customers_and_the_outcomes_add_up() -> None:
    customers = make_customers(25_000)
    troubles = Counter(customer.trouble for customer in customers if customer.trouble)
    warehouse = Warehouse(len(customers), len(customers), troubles)
    assert len(customers) == 25_000
    outcomes = (warehouse.accepted, warehouse.rejected, warehouse.invalid, warehouse.duplicate)
    assert all(outcomes)
    assert sum(outcomes) == 25_000


def test_more_customers_than_numbers_for_fiction_are_refused() -> None:
    with pytest.raises(ValueError, match="40000 customers"):
        make_customers(40_000)


def test_numbers_are_wrong_in_ten_ways() -> None:
    assert len(WRONG_NUMBERS) == 10


@pytest.mark.parametrize("trouble", WRONG_NUMBERS)
def test_a_wrong_number_is_found_invalid(trouble: str, customers: list[Customer]) -> None:
    wrong = [customer for customer in customers if customer.trouble == trouble]
    assert len(wrong) == TOTAL // 400
    for customer in wrong:
        with pytest.raises(InvalidRowError, match=r"^destination "):
            build(customer)


def test_a_customer_without_a_name_is_found_invalid(customers: list[Customer]) -> None:
    nameless = [customer for customer in customers if customer.trouble == "no_name"]
    assert len(nameless) == TOTAL // 200
    for customer in nameless:
        with pytest.raises(InvalidRowError, match=r"there is no value for \{\{firstName\}\}"):
            build(customer)


def test_every_other_number_can_be_sent_however_it_is_written(customers: list[Customer]) -> None:
    good = [customer for customer in customers if customer.trouble in (None, "second_account")]
    assert len(good) > TOTAL * 0.9
    for customer in good:
        destination = build(customer).destination
        assert FICTION.fullmatch(destination.removeprefix("+")), customer.phone
    phones = [str(customer.phone) for customer in good]
    for notation in (
        r"\+\d+",
        r"\d+",
        r"\+\d+( \d+)+",
        r"\+\d+(-\d+)+",
        r"\+\d+(\.\d+)+",
        r"\+\d+ \(\d+\) \d+(-\d+)*",
        r"\u202a\+\d+(\u00a0\d+)+\u202c",
    ):
        assert sum(bool(re.fullmatch(notation, phone)) for phone in phones) > 100, notation


def test_only_8x8_can_tell_that_a_calling_code_is_unassigned(customers: list[Customer]) -> None:
    unassigned = [customer for customer in customers if customer.trouble == "unassigned"]
    destinations = {build(customer).destination.removeprefix("+") for customer in unassigned}
    assert len(destinations) == len(unassigned) == TOTAL // 100
    assert all(UNASSIGNED.fullmatch(destination) for destination in destinations)


def test_a_second_account_has_the_first_ones_number_written_in_another_way(customers: list[Customer]) -> None:
    by_key: dict[bytes, list[Customer]] = {}
    for customer in customers:
        if customer.trouble in (None, "second_account", "unassigned"):
            by_key.setdefault(build(customer).row_key, []).append(customer)
    shared = [accounts for accounts in by_key.values() if len(accounts) > 1]
    assert len(shared) == TOTAL // 50
    for accounts in shared:
        assert Counter(account.trouble for account in accounts) == {None: 1, "second_account": 1}
        assert len({account.phone for account in accounts}) == 2


def test_names_come_in_many_scripts_and_break_careless_text(customers: list[Customer]) -> None:
    names = {customer.first_name for customer in customers if customer.first_name}
    characters = set("".join(names))
    scripts = {unicodedata.name(character, "?").split()[0] for character in characters}
    assert scripts >= {
        *("LATIN", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "ARABIC", "HEBREW", "THAI", "DEVANAGARI", "BENGALI"),
        *("TAMIL", "CYRILLIC", "GREEK", "GEORGIAN", "ARMENIAN"),
    }
    assert characters >= set("'\"{}\\%$<[🎉\u200dëŁ")
    assert names >= {"{{url}}", "{{firstName}}"}


def test_each_customer_has_one_completed_order_in_the_month(warehouse: tuple[Path, Warehouse]) -> None:
    path, seeded = warehouse
    in_the_month = "status = 'completed' AND completed_at >= '2026-02-01' AND completed_at < '2026-03-01'"
    found = query(path, f"SELECT customer_id, count(*) FROM orders WHERE {in_the_month} GROUP BY 1 ORDER BY 1")
    assert found == [(customer_id, 1) for customer_id in range(1, TOTAL + 1)]
    assert query(path, "SELECT count(*), count(DISTINCT order_nr) FROM orders") == [(seeded.orders, seeded.orders)]


@pytest.mark.parametrize(
    "condition",
    [
        "status = 'completed' AND completed_at = '2026-01-31 23:59:59'",
        "status = 'completed' AND completed_at = '2026-03-01 00:00:00'",
        "status = 'returned' AND completed_at >= '2026-02-01' AND completed_at < '2026-03-01'",
        "status = 'open' AND completed_at IS NULL",
    ],
)
def test_there_are_orders_that_are_not_to_be_surveyed(condition: str, warehouse: tuple[Path, Warehouse]) -> None:
    path, _ = warehouse
    assert query(path, f"SELECT count(*) > 100 FROM orders WHERE {condition}") == [(True,)]
