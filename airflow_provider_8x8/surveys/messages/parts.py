"""
How many SMS parts a text takes; each part is paid.

GSM7 is the alphabet of GSM 03.38. A single character beyond it makes the whole text UCS2, of which a part holds less
than half as much.
"""

from __future__ import annotations

import re

# The alphabet, and its extension, whose characters take two places each.
_ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"

GSM7_SIZES = (160, 153)
"""Places in a text of one part, and in each part of a longer one."""

UCS2_SIZES = (70, 67)
"""Likewise, where UTF-16 writes a character in two places it takes two."""

find_unusual = re.compile(f"[^{re.escape(_ALPHABET)}]").search
"""Finds a character that does not take one place in GSM7; a text without one takes as many places as characters."""

find_beyond_gsm7 = re.compile(f"[^{re.escape(_ALPHABET + _EXTENSION)}]").findall
"""Finds the characters that GSM7 does not have."""

_find_extended = re.compile(f"[{re.escape(_EXTENSION)}]").findall


def count_parts(text: str, encoding: str | None = None) -> int:
    """
    Return how many SMS parts a text takes.

    :param encoding: ``GSM7``, ``UCS2``, or ``AUTO`` or None: GSM7 where the text allows it
    """
    return _parts(*_measure(text, encoding))


def fits_into_parts(text: str, parts: int, encoding: str) -> bool:
    """
    Tell whether the beginning of a longer text stands in its first parts.

    :param parts: at least two
    :param encoding: the whole text's: ``GSM7`` or ``UCS2``
    """
    places, (_, joined) = _measure(text, encoding)
    return places <= parts * joined


def encoding_of(text: str, encoding: str | None = None) -> str:
    """
    Return how a text is sent: ``GSM7`` or ``UCS2``.

    :param encoding: as for :func:`count_parts`
    """
    if encoding in ("GSM7", "UCS2"):
        return encoding
    return "UCS2" if find_beyond_gsm7(text) else "GSM7"


def _measure(text: str, encoding: str | None) -> tuple[int, tuple[int, int]]:
    """Return how many places a text takes, and how many a part has."""
    if encoding != "UCS2" and find_unusual(text) is None:
        return len(text), GSM7_SIZES
    if encoding_of(text, encoding) == "UCS2":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2, UCS2_SIZES
    return len(text) + len(_find_extended(text)), GSM7_SIZES


def _parts(places: int, sizes: tuple[int, int]) -> int:
    alone, joined = sizes
    return 1 if places <= alone else -(-places // joined)
