"""Keeps phone numbers out of logs, exceptions and XCom."""

from __future__ import annotations

import re
import traceback
from urllib.parse import unquote, urlsplit

HIDDEN = "***"

MAX_QUOTED_LENGTH = 300
"""Characters that an error quotes of what came from outside."""

# Beside the decimal digits of all scripts: those that are raised, lowered, in circles, in brackets or with a full stop.
_DIGIT = (
    r"[\d\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490"
    r"\u24ea\u24f5-\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]"
)
# What may stand between two digits is wide on purpose: rows come from people, and a number that is written in an odd
# way is still somebody's number. It may be quoted as in a URL, in JSON, in HTML or as Python shows text in errors, and
# marks that nobody sees count as nothing. No text has two ways to be read as this, but for a few characters: else a
# long one would take for ever. So what a backslash begins does so at the first of several, which are there where text
# was quoted twice.
_UNSEEN = r"[\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff]"
_ESCAPED = r"(?<!\\)\\+(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|[abfnrtv])"
_QUOTED = rf"%[0-9A-Fa-f]{{2}}|{_ESCAPED}|&#?\w{{1,8}};"
_MARK = rf"(?:{_QUOTED}|(?!{_UNSEEN})[\W_])"
_BETWEEN = rf"{_UNSEEN}*+(?:{_MARK}{_UNSEEN}*+){{0,4}}"
# Seven digits is the shortest number that 8x8 takes. 8x8's ids are UUIDs: who is told of a batch has to find it. One
# without a letter could be anything.
_ID = r"(?<![0-9A-Za-z])(?=[-\d]*[a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])"
_PHONE_NUMBER = re.compile(rf"(?P<id>{_ID})|{_DIGIT}(?:{_BETWEEN}{_DIGIT}){{6,}}")
_DIGITS = re.compile(_DIGIT)
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]*+://[^\s'\"<>]+")
_QUOTES = re.compile(_QUOTED)
# How JSON and URLs may write the digits of other scripts.
_ESCAPED_DIGIT = re.compile(r"\\+u[0-9A-Fa-f]{4}|%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}")


def mask_phone_numbers(text: str) -> str:
    """
    Return the text with every phone number reduced to its first two and last two digits (``+65******77``).

    Seven digits or more count as a phone number if no more than four characters stand between any two of them, none
    of which is a letter: rather an order number masked than a person's number shown. A UUID stays as it is.
    """
    return _PHONE_NUMBER.sub(_keep_the_ends, _ESCAPED_DIGIT.sub(_digit_itself, text))


def quotable(text: str) -> str:
    """
    Return what an error may quote of a text from outside: its beginning, with phone numbers masked, and of URLs no more
    than where they lead to.
    """
    # Cut before, so that a huge text costs nothing, and after, so that no number is cut into two harmless halves.
    without_urls = _URL.sub(lambda found: mask_url(found.group()), text[: 10 * MAX_QUOTED_LENGTH])
    return mask_phone_numbers(without_urls)[:MAX_QUOTED_LENGTH]


def where_raised(error: BaseException) -> str:
    """Return the lines of code by which an error came, without its own text, which may hold a row."""
    return mask_phone_numbers("".join(traceback.format_tb(error.__traceback__)))


def mask_url(url: str) -> str:
    """Return where a URL leads to, without what may let one in there."""
    try:
        parts = urlsplit(url)
        address = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return HIDDEN
    if not parts.hostname:
        return HIDDEN
    user = f"{HIDDEN}@" if "@" in parts.netloc else ""
    rest = f"/{HIDDEN}" if parts.path.strip("/") or parts.query or parts.fragment else ""
    return mask_phone_numbers(address.replace("://", f"://{user}", 1)) + rest


def _digit_itself(match: re.Match[str]) -> str:
    written = match.group()
    character = unquote(written) if written.startswith("%") else chr(int(written[-4:], 16))
    return character if _DIGITS.fullmatch(character) and not character.isascii() else written


def _keep_the_ends(match: re.Match[str]) -> str:
    if match["id"]:
        return match.group()
    digits = _DIGITS.findall(_QUOTES.sub("", match.group()))
    return f"{''.join(digits[:2])}{'*' * (len(digits) - 4)}{''.join(digits[-2:])}"
