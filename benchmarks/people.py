"""Made-up people whose rows differ as real ones do: names of many scripts, numbers in many spellings, some useless."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

Trouble = Literal["null", "invalid", "duplicate"]

# Of 100 numbers. The operator reads all of them as the same one.
_SPELLINGS = (
    (95, "+{code}{line}"),
    (2, "{code}{line}"),
    (1, "+{code} {first} {second}"),
    (1, "+{code}-{first}-{second}"),
    (1, "+{code} ({first}) {second}"),
)
_INVALID = (" ", "n/a", "0{line}", "+{code}{first} / +{code}{second}", "+{code}12")

# Spare in the ITU's list of calling codes: well-formed numbers that reach nobody. Each has a length of its own.
_CODES_AND_ENDS = (("210", ""), ("214", "7"), ("215", "31"), ("217", "8"), ("219", ""), ("259", "204"))
_FIRST_LINE = 1_000_000

# Of 100 names.
_NAMES = (
    (
        60,
        "Anna Ben Carla David Emma Felix Grace Ida Jack Kate Leo Maximilian Olivia Paul Anna-Maria Bo Christopher",
    ),
    (20, "Zoë Amélie Łukasz Søren Jürgen İpek Åsa João Đorđe Siobhán Ngọc Beñat Žofia Ștefan François-Xavier"),
    (8, "小明 美玲 志強 陽子 さくら 민준 서연"),
    (5, "فاطمة يوسف נועה דוד สมชาย มาลี"),
    (5, "प्रिया अर्जुन কবির கவிதா Дмитрий Оксана Ελένη ნინო"),
    (2, "O'Brien Robin🎉 {{firstName}} %(name)s <b>Bo</b> Kim\\Lee"),
)


class Person(NamedTuple):
    """A row of the table, and what is wrong with it."""

    order_nr: int
    phone: str | None
    first_name: str
    trouble: Trouble | None = None


def make_people(rows: int, random_seed: int = 8) -> Iterator[Person]:
    """
    Yield people.

    Of 1000, one has no number, four have one that is none, and five have the number of the one before.

    :param rows: how many; fewer of them are the first of more
    :param random_seed: another one gives others
    """
    random = Random(random_seed)  # noqa: S311  # it is to be foreseen
    names = [name for percent, names in _NAMES for name in _repeated(names.split(), 20 * percent)]
    spellings = [spelling for percent, spelling in _SPELLINGS for _ in range(percent)]
    last: int | None = None
    for index in range(rows):
        order_nr, name, chance = 100_000_001 + index, random.choice(names), random.random()
        if chance < 0.001:
            yield Person(order_nr, None, name, "null")
        elif chance < 0.005:
            yield Person(order_nr, _written(random.choice(_INVALID), index), name, "invalid")
        elif chance < 0.01 and last is not None:
            yield Person(order_nr, _written(random.choice(spellings), last), name, "duplicate")
        else:
            yield Person(order_nr, _written(random.choice(spellings), last := index), name)


def _repeated(names: list[str], length: int) -> list[str]:
    return [names[number % len(names)] for number in range(length)]


def _written(spelling: str, index: int) -> str:
    code, end = _CODES_AND_ENDS[index % len(_CODES_AND_ENDS)]
    line = f"{_FIRST_LINE + index // len(_CODES_AND_ENDS)}{end}"
    return spelling.format(code=code, line=line, first=line[:3], second=line[3:])
