"""
A survey's text as the phone shows it: placeholders filled, the link shortened, cut to what 8x8 sends.

GSM7 is the alphabet of GSM 03.38; its extension characters count two, as does in UCS2 what UTF-16 writes as a pair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from airflow_provider_8x8.sandbox.platform.limits import MAX_PARTS, SURVEY_LINK_LENGTH

_GSM7_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION = "\f^{}\\[~]|€"
_GSM7_TEXT = re.compile(f"[{re.escape(_GSM7_BASIC + _GSM7_EXTENSION)}]*")
_NOT_GSM7 = re.compile(f"[^{re.escape(_GSM7_BASIC + _GSM7_EXTENSION)}]")

# Units of one text on its own, and of each part of a longer one.
_UNITS = {"GSM7": (160, 153), "UCS2": (70, 67)}

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_LINK_BASE = "https://8x8.test/"
_LINK = "url"

SHORT_LINK = re.compile(f"{re.escape(_LINK_BASE)}[0-9a-f]{{{SURVEY_LINK_LENGTH - len(_LINK_BASE)}}}")
"""The survey's link as it stands in a text."""


class TemplateError(ValueError):
    """A template body that no text can be made of."""


class TemplateBody:
    """
    A template body, taken apart once for all messages that use it.

    ``{{name}}`` stands for a variable, ``{{url}}`` or ``{{url:name:name}}`` for the survey's link, whose names are
    handed to the survey's form and so are needed as well.

    :param body: the text in 8x8's braces
    :raises TemplateError: braces that do not match, or no link
    """

    def __init__(self, body: str) -> None:
        # re.split with one group: literal text and placeholders take turns.
        self._pieces = _PLACEHOLDER.split(body)
        for literal in self._pieces[::2]:
            if "{{" in literal or "}}" in literal:
                raise TemplateError("its braces do not match")
        names = [[part.strip() for part in placeholder.split(":")] for placeholder in self._pieces[1::2]]
        if not any(name == _LINK for name, *_ in names):
            raise TemplateError("it has no {{url}} link")
        for index, (name, *for_form) in enumerate(names):
            if not name or (for_form and name != _LINK):
                raise TemplateError(f"{{{{{self._pieces[2 * index + 1]}}}}} is no placeholder")
            self._pieces[2 * index + 1] = name
        self.names = frozenset(name for placeholder in names for name in placeholder if name) - {_LINK}

    def render(self, variables: Mapping[str, object], link: str) -> str:
        """
        Return the text with its placeholders filled.

        :param variables: a value for each of :attr:`names` at least
        :param link: what stands for ``{{url}}``
        """
        pieces = list(self._pieces)
        for index in range(1, len(pieces), 2):
            name = pieces[index]
            pieces[index] = link if name == _LINK else str(variables[name])
        return "".join(pieces)


class Sms(NamedTuple):
    """What a phone gets."""

    text: str
    encoding: str
    parts: int


def short_link(umid: str) -> str:
    """Return the short link of a message: always :data:`~.limits.SURVEY_LINK_LENGTH` characters."""
    return _LINK_BASE + umid[len(_LINK_BASE) - SURVEY_LINK_LENGTH :]


def to_sms(text: str, encoding: str) -> Sms:
    """
    Return a text encoded, and cut where it is longer than :data:`~.limits.MAX_PARTS` parts, as 8x8 does.

    What 8x8 does with a text that does not fit a requested ``GSM7`` is not documented; here such characters become
    ``?``.

    :param encoding: ``AUTO``, ``GSM7`` or ``UCS2``
    """
    if encoding == "AUTO":
        encoding = "GSM7" if _GSM7_TEXT.fullmatch(text) else "UCS2"
    elif encoding == "GSM7":
        text = _NOT_GSM7.sub("?", text)
    single, each = _UNITS[encoding]
    units = _units(text, encoding)
    if units > MAX_PARTS * each:
        text = _cut(text, encoding, MAX_PARTS * each)
        return Sms(text, encoding, MAX_PARTS)
    return Sms(text, encoding, 1 if units <= single else -(-units // each))


def _units(text: str, encoding: str) -> int:
    if encoding == "GSM7":
        return len(text) + sum(map(text.count, _GSM7_EXTENSION))
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, encoding: str, units: int) -> str:
    text = text[:units]
    while (surplus := _units(text, encoding) - units) > 0:
        # No character counts more than two, so at least half as many characters must go.
        text = text[: -((surplus + 1) // 2)]
    return text
