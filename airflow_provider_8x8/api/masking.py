"""Keeps phone numbers out of logs, exceptions and XCom."""

from __future__ import annotations

import re

# Seven digits is the shortest number that 8x8 takes. What may stand between two digits is wide on purpose:
# rows come from people, and a number that is written in an odd way is still somebody's number.
_PHONE_NUMBER = re.compile(r"\d(?:[\W_]{0,3}\d){6,}")
_DIGIT = re.compile(r"\d")


def mask_phone_numbers(text: str) -> str:
    """
    Return the text with every phone number reduced to its first two and last two digits (``+65******77``).

    Whatever has seven digits or more with at most three other characters between them counts as a phone
    number: rather an order number masked than a person's number shown.
    """
    return _PHONE_NUMBER.sub(_keep_the_ends, text)


def _keep_the_ends(match: re.Match[str]) -> str:
    digits = _DIGIT.findall(match.group())
    return f"{''.join(digits[:2])}{'*' * (len(digits) - 4)}{''.join(digits[-2:])}"
