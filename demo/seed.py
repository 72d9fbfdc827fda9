"""
A warehouse of customers and orders with everything wrong in it that real ones have.

The same seed gives the same warehouse, and how many customers have which :data:`Trouble` is known, so that a run over
it can be checked to the row.

Valid numbers come only from ranges that the regulators keep free for fiction, so none can ring: +1 (any area code)
555 0100 to 0199 in North America, +44 7700 900000 to 900999 in the United Kingdom, +33 6 39 98 00 00 to 99 99 in
France. Numbers that only 8x8 refuses have a calling code that the ITU has assigned to nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

import duckdb

CUSTOMERS = 25_000

# Assigned or not: each keeps a hundred numbers for fiction. Those ending in 11 are services.
_AREA_CODES = [code for code in range(201, 390) if code % 100 != 11]

# Spare in the ITU's list of calling codes: well-formed numbers that reach nobody.
_UNASSIGNED_CALLING_CODES = ("210", "214", "215", "217", "219", "259")

_PERCENT_AND_NAMES = {
    "Latin": (50, "Anna Ben Carla David Emma Felix Grace Henry Ida Jack Kate Leo Maria Noah Olivia Paul Quinn Rosa"),
    "Latin with marks": (20, "Zoë Amélie Łukasz Søren Jürgen İpek Åsa João Đorđe Siobhán Ngọc Beñat Žofia Ștefan"),
    "Chinese": (4, "小明 美玲 志強"),
    "Japanese": (3, "陽子 さくら ハルカ"),
    "Korean": (3, "민준 서연"),
    "Arabic": (3, "فاطمة يوسف"),
    "Hebrew": (2, "נועה דוד"),
    "Thai": (3, "สมชาย มาลี"),
    "Indic": (4, "प्रिया अर्जुन কবির கவிதா"),
    "Cyrillic": (3, "Дмитрий Оксана"),
    "Greek": (1, "Ελένη Νίκος"),
    "Caucasian": (1, "ნინო Անի"),
}

# Names that break what handles text carelessly: SQL, JSON, Jinja, 8x8's own braces, logs, terminals.
_AWKWARD_NAMES = (
    "O'Brien",
    'Alex "Lex"',
    "{{firstName}}",
    "{{url}}",
    "{% Sam %}",
    "Kim \\ Lee",
    "Robin 🎉",
    "Nora 👩‍👩‍👧",
    "%(name)s",
    "$month_start",
    "<b>Bo</b>",
    "[bold]Jo",
)

Trouble = Literal[
    "null",
    "blank",
    "letters",
    "national",
    "double_zero",
    "trunk_zero",
    "too_short",
    "too_long",
    "two_numbers",
    "email",
    "no_name",
    "unassigned",
    "second_account",
]
"""What is wrong with a customer: a number in one of ten ways, no value for a placeholder, a number that only 8x8
refuses, or a second account under the same number."""


class Number(NamedTuple):
    """A phone number in the groups in which people write it."""

    calling_code: str
    groups: tuple[str, ...]

    @property
    def digits(self) -> str:
        return self.calling_code + "".join(self.groups)

    def written(self, separator: str) -> str:
        return f"+{self.calling_code}{separator}{separator.join(self.groups)}"


WRONG_NUMBERS: dict[Trouble, Callable[[Number], str | None]] = {
    "null": lambda number: None,
    "blank": lambda number: " ",
    "letters": lambda number: number.written(" ") + " ext. 7",
    "national": lambda number: "0" + " ".join(number.groups),
    "double_zero": lambda number: f"00{number.calling_code} {' '.join(number.groups)}",
    "trunk_zero": lambda number: f"+{number.calling_code} (0){' '.join(number.groups)}",
    "too_short": lambda number: "+" + number.digits[:5],
    "too_long": lambda number: f"+{number.digits}{number.digits[-6:]}",
    "two_numbers": lambda number: number.written(" ") + " / +1 202 555 0123",
    "email": lambda number: f"customer{number.digits[-4:]}@example.com",
}

# Not wrong: the operator reads all of them as the same number.
_NOTATIONS: tuple[Callable[[Number], str], ...] = (
    lambda number: "+" + number.digits,
    lambda number: number.digits,  # as an integer column gives it
    lambda number: number.written(" "),
    lambda number: number.written("-"),
    lambda number: number.written("."),
    lambda number: f"+{number.calling_code} ({number.groups[0]}) {'-'.join(number.groups[1:])}",
    lambda number: f"\u202a{number.written(chr(0xA0))}\u202c",  # pasted from a contacts app
)


class Customer(NamedTuple):
    """A row of the table, and what is wrong with it."""

    first_name: str | None
    phone: str | None
    trouble: Trouble | None = None


class Order(NamedTuple):
    """A row of the table, without its number."""

    customer_id: int
    status: str
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Warehouse:
    """
    What the warehouse holds.

    :ivar customers: each has one completed order in the month
    :ivar orders: those, and others that are not to be surveyed
    :ivar troubles: how many customers have which
    """

    customers: int
    orders: int
    troubles: Counter[Trouble]

    @property
    def rejected(self) -> int:
        """How many customers only 8x8 refuses."""
        return self.troubles["unassigned"]

    @property
    def duplicate(self) -> int:
        """How many customers have a number that another one has."""
        return self.troubles["second_account"]

    @property
    def invalid(self) -> int:
        """How many customers cannot be sent a survey."""
        return self.troubles.total() - self.rejected - self.duplicate

    @property
    def accepted(self) -> int:
        """How many surveys go out."""
        return self.customers - self.troubles.total()


def seed(path: Path, month: date, *, customers: int = CUSTOMERS, random_seed: int = 8) -> Warehouse:
    """
    Make the DuckDB database ``path`` with its tables ``customers`` and ``orders``.

    :param month: a day of the month in which each customer completed an order; months are in UTC
    :param customers: how many, at most 25,000: the ranges for fiction end
    :param random_seed: another one gives another warehouse with as much trouble
    """
    people = make_customers(customers, random_seed)
    orders = _make_orders(len(people), month, random_seed)
    with duckdb.connect(path) as warehouse:
        _insert(
            warehouse,
            "customers",
            "customer_id INTEGER, first_name VARCHAR, phone VARCHAR",
            [(customer_id, person.first_name, person.phone) for customer_id, person in enumerate(people, 1)],
        )
        _insert(
            warehouse,
            "orders",
            "order_nr INTEGER, customer_id INTEGER, status VARCHAR, completed_at TIMESTAMP",
            [(order_nr, *order) for order_nr, order in enumerate(orders, 100_001)],
        )
    troubles = Counter(person.trouble for person in people if person.trouble is not None)
    return Warehouse(len(people), len(orders), troubles)


def make_customers(total: int, random_seed: int = 8) -> list[Customer]:
    """
    Make up customers, in no order.

    :param total: how many, at most 25,000
    :param random_seed: another one gives others
    :raises ValueError: there are not so many numbers for fiction
    """
    random = Random(random_seed)  # noqa: S311 - it is to be foreseen
    numbers = _fictional_numbers()
    random.shuffle(numbers)
    free = iter(numbers)
    european = [number for number in numbers if number.calling_code != "1"]  # where numbers have a trunk 0
    customers = [
        Customer(_name(random), wrong(random.choice(european)), trouble)
        for trouble, wrong in WRONG_NUMBERS.items()
        for _ in range(total // 400)
    ]
    customers += [Customer(None, _written(number, random), "no_name") for number in islice(free, total // 200)]
    customers += [
        Customer(_name(random), _written(number, random), "unassigned")
        for number in islice(_unassigned_numbers(), total // 100)
    ]
    for number in islice(free, total // 50):
        name = _name(random)
        one_way, another_way = random.sample(_NOTATIONS, 2)
        customers += [
            Customer(name, one_way(number)),
            Customer(name, another_way(number), "second_account"),
        ]
    customers += [Customer(_name(random), _written(number, random)) for number in islice(free, total - len(customers))]
    if len(customers) != total:
        raise ValueError(f"{total} customers: the ranges for fiction have numbers for {len(customers)}")
    random.shuffle(customers)
    return customers


def _fictional_numbers() -> list[Number]:
    return [
        *(Number("1", (f"{area}", "555", f"{line:04}")) for area in _AREA_CODES for line in range(100, 200)),
        *(Number("44", ("7700", f"{line}")) for line in range(900_000, 901_000)),
        *(Number("33", ("6", "39", "98", f"{line // 100:02}", f"{line % 100:02}")) for line in range(10_000)),
    ]


def _unassigned_numbers() -> Iterator[Number]:
    for line in count(1_000_000):
        for calling_code in _UNASSIGNED_CALLING_CODES:
            yield Number(calling_code, (str(line)[:3], str(line)[3:]))


def _name(random: Random) -> str:
    if random.random() < 0.03:
        return random.choice(_AWKWARD_NAMES)
    scripts = list(_PERCENT_AND_NAMES.values())
    _, names = random.choices(scripts, weights=[percent for percent, _ in scripts])[0]
    return random.choice(names.split())


def _written(number: Number, random: Random) -> str:
    return random.choice(_NOTATIONS)(number)


def _make_orders(customers: int, month: date, random_seed: int) -> list[Order]:
    random = Random(random_seed)  # noqa: S311 - it is to be foreseen
    start = datetime.combine(month.replace(day=1), time.min)
    end = datetime.combine((start + timedelta(days=31)).date().replace(day=1), time.min)
    orders: list[Order] = []
    for customer_id in range(1, customers + 1):
        in_the_month = start + timedelta(seconds=random.randrange(int((end - start).total_seconds())))
        orders.append(Order(customer_id, "completed", in_the_month))
        # None of these is to be surveyed.
        if random.random() < 0.4:
            orders.append(Order(customer_id, "completed", start - timedelta(seconds=1)))
        if random.random() < 0.2:
            orders.append(Order(customer_id, "completed", end))
        if random.random() < 0.1:
            orders.append(Order(customer_id, "returned", in_the_month))
        if random.random() < 0.1:
            orders.append(Order(customer_id, "open", None))
    random.shuffle(orders)
    return orders


def _insert(warehouse: duckdb.DuckDBPyConnection, table: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> None:
    warehouse.execute(f"CREATE TABLE {table} ({columns})")
    # One statement over whole columns: DuckDB takes a row at a time a thousand times slower.
    values = [list(column) for column in zip(*rows, strict=True)]
    warehouse.execute(f"INSERT INTO {table} SELECT {', '.join(['unnest(?)'] * len(values))}", values)
