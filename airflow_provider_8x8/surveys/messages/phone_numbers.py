"""
One phone number out of a cell, as people write them.

A cell that holds more than one number (a second one, an extension, a fraction) must not become the number of somebody
whom nobody meant. So a number is mended only if it is certain to be one; what is not is left as it is, and then is
none to 8x8 either.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import accumulate
from typing import Any

from airflow_provider_8x8.surveys.messages.values import UnusableValueError, to_text

MIN_DIGITS = 7
"""As many has the shortest number that 8x8 takes."""

_MAX_LENGTH = 40

_NOTHING = "".join(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_NO_WIDTH = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"
_BLANKS = "\u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u202f\u205f\u3000"
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys(_NOTHING),
        **dict.fromkeys(_NO_WIDTH, "\u200b"),
        **dict.fromkeys(_HYPHENS, "-"),
        **dict.fromkeys(_BLANKS, " "),
    }
)
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])\u200b+(?=[0-9])")

# Groups of digits with one blank, hyphen or dot between them; groups but the last may be in parentheses.
_GROUPS = re.compile(
    r"""
    (?: \( \+ [0-9]{1,4} \) | \+? [ ]? (?: \( [0-9]{1,5} \) | [0-9]+ ) )
    (?:
        (?: [ ]?[-.][ ]? | [ ] | (?=\() | (?<=\)) )
        (?: \( [0-9]{1,5} \)(?!\Z) | [0-9]+ )
    )*
    """,
    re.VERBOSE,
)

# What a column of floats makes of a number. With fewer digits before them, zeros may belong to it.
_FLOAT_END = re.compile(r"(\+?(?:[0-9]{7,9}(?=\.0{1,2}\Z)|[0-9]{10,15}))\.0+")

_digits_of = re.compile("[0-9]+").findall
_separators_of = re.compile("(?<=[0-9])[^0-9]+(?=[0-9])").findall

_MAX_EXTENSION = 3
_HYPHEN_OR_DOT = frozenset("-.")

_MARKED_AS_TEXT = re.compile("'[+0-9]")

_FRACTION = re.compile(r"\+?[0-9]{7,}\.[0-9]+")

# What is no number unless a + or a country says that it is one: dates, addresses of machines, numbers with a fraction.
_SOMETHING_ELSE = re.compile(
    r"""
    [0-9]{4} ([-. ]) [0-9]{1,2} \1 [0-9]{1,2}
    | [0-9]{1,2} ([-. ]) [0-9]{1,2} \2 [0-9]{4}
    | (?: [0-9]{4} ([-.]) [0-9]{1,2} \3 [0-9]{1,2} | [0-9]{1,2} ([-.]) [0-9]{1,2} \4 [0-9]{4} ) [ ] .*
    | (?: (?: 25[0-5] | 2[0-4][0-9] | [01]?[0-9]{1,2} ) (?: \.(?!\Z) | \Z ) ){4}
    | [0-9]+ [.] [0-9]+
    """,
    re.VERBOSE,
)

# As North Americans write their numbers at home. With the + that is not there, it would be another country's.
_NORTH_AMERICAN = re.compile(r"(?![0-9]+[.]?[0-9]+\Z)(?:\([0-9]{3}\)|[0-9]{3})[-. ]{0,3}[0-9]{3}[-. ]{0,3}[0-9]{4}")

# A slash behind the area code, as Germans write it. Further on, it stands between two numbers, or their endings.
_AREA_CODE = r"(?: [0-9]{2,5} | \( [0-9]{2,5} \) )"
_SLASH = re.compile(
    rf"""
    ( \+ [ ]? [0-9]{{1,3}} [-. ] {_AREA_CODE} | \+? {_AREA_CODE} ) [ ]? / [ ]? ( (?: [0-9] [- ]? ){{3,7}} [0-9] )
    """,
    re.VERBOSE,
)

# A wider gap stands between two things.
_GAP = re.compile(r"(?<![ \t])[ \t]{1,3}(?![ \t])")

# The longest numbers where all that can be texted are of one length, as calling code and digits after it: there, what
# is longer has an extension. Source: the national numbering plans, as the ITU lists them.
_LONGEST = {
    "US": ("1", 10),
    "CA": ("1", 10),
    "RU": ("7", 10),
    "KZ": ("7", 10),
    "FR": ("33", 9),
    "ES": ("34", 9),
    "GB": ("44", 10),
    "PL": ("48", 9),
    "AU": ("61", 9),
    "PH": ("63", 10),
    "SG": ("65", 8),
    "TH": ("66", 9),
    "JP": ("81", 10),
    "CN": ("86", 11),
    "IN": ("91", 10),
    "HK": ("852", 8),
    "TW": ("886", 9),
}
_LONGEST_OF_CALLING_CODE = dict(_LONGEST.values())


def to_phone_number(value: Any, country: str | None = None) -> str:
    """
    Return a phone number without what people put between its digits; what is not one phone number as it is.

    :param country: where a number without ``+`` is national
    :raises UnusableValueError: the value cannot be a number
    """
    if not isinstance(value, str):
        return _of_number(value)
    text = _plain(value)
    if whole := _FLOAT_END.fullmatch(text):
        return whole[1]
    if len(text) > _MAX_LENGTH or _FRACTION.fullmatch(text):
        return text
    written = _GAP.sub(" ", text) if "  " in text or "\t" in text else text
    plus = "+" if "+" in written else ""
    if plus or country is not None:
        if "/" in written and (parts := _SLASH.fullmatch(written)):
            written = " ".join(parts.groups())
    elif _SOMETHING_ELSE.fullmatch(written) or _NORTH_AMERICAN.fullmatch(written):
        return text
    if not _GROUPS.fullmatch(written):
        return text
    groups = _digits_of(written)
    longest = _longest("".join(groups), None if plus else country)
    is_one = _is_one(groups, plus, longest) and not _has_extension(written, groups, longest)
    return plus + "".join(groups) if is_one else text


def is_north_american(value: Any) -> bool:
    """Tell whether a number is written as North Americans do at home, without a calling code."""
    return isinstance(value, str) and _NORTH_AMERICAN.fullmatch(_GAP.sub(" ", _plain(value))) is not None


def _plain(text: str) -> str:
    """Return a cell's text without what cannot be seen, and without the apostrophe by which spreadsheets mark text."""
    text = text.strip()
    if not text.isascii():
        text = _BETWEEN_DIGITS.sub(" ", text.translate(_CHARACTERS)).replace("\u200b", "").strip()
    return text[1:] if _MARKED_AS_TEXT.match(text) else text


def is_nothing(text: str) -> bool:
    """Tell whether a cell holds only what people put between digits."""
    return not text.translate(_CHARACTERS).strip(" \t\r\n+-.()\u200b")


def mask_digits(text: str) -> str:
    """Return what is meant to be a phone number with all but its first two and last two digits masked."""
    places = [place for place, character in enumerate(text) if character.isdigit()]
    if len(places) < MIN_DIGITS:
        return text
    hidden = set(places[2:-2])
    return "".join("*" if place in hidden else character for place, character in enumerate(text))


def _of_number(value: Any) -> str:
    """Return a number that is no text: one with a fraction stays what it is."""
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return to_text(value.to_integral_value())
    if type(value).__name__ in ("float16", "float32"):
        raise UnusableValueError(f"is of type {type(value).__name__}, which does not hold a phone number's digits")
    return to_text(value)


def _is_one(groups: list[str], plus: str, longest: int | None) -> bool:
    """Tell whether groups of digits are one number, and not a number and more."""
    if len(groups) == 1:
        return True
    *before, last = groups
    # A number of its own in front of something else. Behind a + it has at least a country code more.
    if len(last) < 2 or max(map(len, before)) >= MIN_DIGITS + len(plus):
        return False
    total = sum(map(len, groups))
    if total >= 2 * MIN_DIGITS and any(MIN_DIGITS <= end <= total - MIN_DIGITS for end in accumulate(map(len, before))):
        return False
    return longest is None or total <= longest


def _has_extension(written: str, groups: list[str], longest: int | None) -> bool:
    """
    Tell whether the last of some groups of digits is an extension: a short one behind the only hyphen or dot, or behind
    one and shorter than the longer group before it. Where all numbers are of one length, a whole one has none.
    """
    if len(groups[-1]) > _MAX_EXTENSION:
        return False
    *between, last = _separators_of(written) or [""]
    if not between or _HYPHEN_OR_DOT.isdisjoint(last) or len("".join(groups)) == longest:
        return False
    is_the_only_one = all(_HYPHEN_OR_DOT.isdisjoint(separator) for separator in between)
    return len(groups[-1]) <= (_MAX_EXTENSION if is_the_only_one else 2 if len(groups[-2]) > 2 else 0)


def _longest(digits: str, country: str | None) -> int | None:
    """Return how many digits a number like this has at most, None where that is not known."""
    if country is not None:
        return _LONGEST[country][1] if country in _LONGEST else None
    for length in (1, 2, 3):
        if (calling_code := digits[:length]) in _LONGEST_OF_CALLING_CODE:
            return length + _LONGEST_OF_CALLING_CODE[calling_code]
    return None
