"""
The text of a survey in 8x8's braces: ``Hi {{firstName}}, order {{order_nr}}: {{url:order_nr}}``.

``{{name}}`` stands for a template variable. ``{{url}}``, ``{{url:}}`` and ``{{url:name:name}}`` stand for the link
to the survey; the names after the colon are handed to the survey's form.

Source: 8x8's tutorial "SMS Engage" and the examples in its OpenAPI file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from airflow_provider_8x8.api.models import MAX_SMS_PARTS, SURVEY_LINK_LENGTH
from airflow_provider_8x8.surveys.messages.values import quoted

_LINK = "url"
_BRACES = re.compile(r"\{\{(?P<inside>[^{}]*)\}\}")
_NAME = re.compile(r"[^\W\d][\w.\-]*")

# The alphabet of GSM 03.38, and its extension, whose characters take two places each.
_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION = frozenset("\f^{}\\[~]|€")
_GSM7_SIZES = (160, 153)
_UCS2_SIZES = (70, 67)

# A text of so many characters fits into 10 parts whatever they are: none takes more than two places.
_SAFE_LENGTH = MAX_SMS_PARTS * _UCS2_SIZES[1] // 2


class TemplateError(ValueError):
    """A template that 8x8 could not fill, or that has no link to the survey; phone numbers in its text are masked."""


@dataclass(frozen=True, slots=True)
class Template:
    """
    A checked template body.

    :ivar body: the text that 8x8 gets: as written, without spaces inside the braces
    :ivar names: the template variables that it needs, each once, in order
    :ivar longest_safe_value: characters; if no value is longer, the text cannot pass 10 parts, else it has to be
        rendered to know
    """

    body: str
    names: tuple[str, ...]
    longest_safe_value: int

    @classmethod
    def parse(cls, body: str) -> Self:
        """
        Check a template body.

        :raises TemplateError: it is empty, has no link, braces that do not close, or a placeholder that is no name
        """
        if not isinstance(body, str) or not body.strip():
            raise TemplateError("the template body is empty; expected a text with {{url}} in it")
        names: dict[str, None] = {}
        has_link = False

        def canonical(found: re.Match[str]) -> str:
            nonlocal has_link
            first, *arguments = (part.strip() for part in found["inside"].split(":"))
            is_link = first == _LINK
            has_link = has_link or is_link
            if arguments and not is_link:
                raise TemplateError(
                    f"the template has {quoted(found[0])}: only {{{{url:...}}}} takes names after a colon"
                )
            needed = [name for name in arguments if name] if is_link else [first]
            for name in needed:
                if not _NAME.fullmatch(name):
                    raise TemplateError(
                        f"the template has {quoted(found[0])}: {quoted(name)} is not a name; expected a letter or "
                        "underscore, then letters, digits, underscores, dots or hyphens (8x8's braces know no filters)"
                    )
                names[name] = None
            return "{{" + ":".join((first, *arguments)) + "}}"

        canonical_body, placeholders = _BRACES.subn(canonical, body)
        rest = _BRACES.sub("", body)
        if "{{" in rest or "}}" in rest:
            raise TemplateError(
                "the template has braces that do not pair up; expected {{name}}, two braces on each side"
            )
        if not has_link:
            raise TemplateError("the template has no link to the survey; put {{url}} where it shall stand")
        return cls(canonical_body, tuple(names), (_SAFE_LENGTH - len(canonical_body)) // placeholders)

    def render(self, variables: Mapping[str, object]) -> str:
        """Return the text as a phone shows it, the link as 21 characters."""
        return _BRACES.sub(
            lambda found: (
                "x" * SURVEY_LINK_LENGTH
                if found["inside"].partition(":")[0] == _LINK
                else str(variables[found["inside"]])
            ),
            self.body,
        )


def count_parts(text: str, encoding: str | None = None) -> int:
    """
    Return how many SMS parts a text takes; each part is paid.

    :param encoding: ``GSM7``, ``UCS2``, or ``AUTO`` or None: GSM7 where the text allows it
    """
    if encoding == "UCS2" or (encoding != "GSM7" and not _fits_gsm7(text)):
        length = len(text.encode("utf-16-le", "surrogatepass")) // 2
        alone, joined = _UCS2_SIZES
    else:
        length = len(text) + sum(character in _GSM7_EXTENSION for character in text)
        alone, joined = _GSM7_SIZES
    return 1 if length <= alone else -(-length // joined)


def _fits_gsm7(text: str) -> bool:
    return all(character in _GSM7 or character in _GSM7_EXTENSION for character in text)
