"""How names find each other: of columns and message fields, of placeholders and what fills them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_8x8.surveys.messages.values import quoted

_BETWEEN_WORDS = re.compile(r"[\s_.\-\u2010-\u2015]+")


class AmbiguousNameError(ValueError):
    """Two names fit where one is wanted; the text names them, phone numbers masked."""


def without_case(name: str) -> str:
    """
    Return a name as it compares without regard to case, and to blanks and invisible marks around it.

    Files and spreadsheets bring those along, such as the mark that their bytes begin with. A mapping's key that is no
    text is a name all the same.
    """
    text = str(name).strip()
    if not text.isprintable():
        seen = [place for place, character in enumerate(text) if character.isprintable() and character != " "]
        text = text[seen[0] : seen[-1] + 1] if seen else ""
    return text.casefold()


def without_case_and_separators(name: str) -> str:
    """
    Return a name as it compares without regard to case and to what stands between its words.

    Databases fold the one; people write underscores, blanks, hyphens, dots or nothing.
    """
    return _BETWEEN_WORDS.sub("", without_case(name))


class Names:
    """Names, each found as it is written, else without regard to case and blanks around it if only one fits."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._exact = frozenset(self._names)
        self._alike: defaultdict[str, list[str]] = defaultdict(list)
        for name in self._names:
            self._alike[without_case(name)].append(name)

    def find(self, wanted: str) -> str | None:
        """
        Return the name that fits, None if none does.

        :raises AmbiguousNameError: more than one does, and none exactly
        """
        if wanted in self._exact:
            return wanted
        return _only_one(self._alike.get(without_case(wanted), ()), wanted)

    def find_loosely(self, wanted: str) -> str | None:
        """
        Return the name that fits, if need be without regard to case and separators, None if none does.

        :raises AmbiguousNameError: more than one does, and none exactly
        """
        if wanted in self._exact:
            return wanted
        loose = without_case_and_separators(wanted)
        return _only_one([name for name in self._names if without_case_and_separators(name) == loose], wanted)


def find_value(values: Mapping[str, Any], wanted: str) -> Any:
    """
    Return the value under a name that is found as in :class:`Names`, None if none is.

    :raises AmbiguousNameError: more than one name fits, and none exactly
    """
    if wanted in values:
        return values[wanted]
    name = Names(values).find(wanted)
    return None if name is None else values[name]


def _only_one(fitting: Sequence[str], wanted: str) -> str | None:
    if len(fitting) > 1:
        raise AmbiguousNameError(f"{shown(fitting, ' and ')} fit {shown([wanted])} alike; leave one of them")
    return fitting[0] if fitting else None


def shown(names: Iterable[Any], separator: str = ", ") -> str:
    """Return names for people: short, and one that is a phone number masked."""
    return separator.join(quoted(name)[1:-1] for name in names)
