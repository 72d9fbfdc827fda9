"""What the texts of a campaign are like: how long, in which alphabet, to where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from airflow_provider_8x8.api.masking import mask_phone_numbers
from airflow_provider_8x8.api.models import SURVEY_LINK_LENGTH, SurveyMessage
from airflow_provider_8x8.surveys.messages.calling_codes import MAX_PREFIX_LENGTH
from airflow_provider_8x8.surveys.messages.parts import count_parts, encoding_of, find_beyond_gsm7
from airflow_provider_8x8.surveys.messages.phone_numbers import mask_digits
from airflow_provider_8x8.surveys.messages.row_message import PlainMessage, RowMessages
from airflow_provider_8x8.surveys.messages.template import Template
from airflow_provider_8x8.surveys.messages.texts import Texts

MAX_SAMPLES = 3

_LINK = "x" * SURVEY_LINK_LENGTH
_SHOWN_LINK = "[link to the survey]"


class Sample(NamedTuple):
    """A text with its phone numbers masked, and the number that it goes to, masked."""

    destination: str
    parts: int
    text: str


class Pushed(NamedTuple):
    """Texts that would be GSM7 but for one character, and the parts that it costs."""

    texts: int
    extra_parts: int


class TextCounts:
    """
    Counts texts as they are read; what it holds does not grow with their number.

    :param template: the common text, None if every row brings its own
    :param encoding: of the messages that say nothing else; None is 8x8's ``AUTO``
    """

    def __init__(self, template: Template | None, encoding: str | None = None) -> None:
        self._texts = Texts(template, encoding)
        self._pushed: dict[str, Pushed] = {}
        self._first: list[Sample] = []
        self._longest: Sample | None = None
        self.ucs2 = 0
        """Texts that are sent as UCS2."""
        self.by_destination: Counter[tuple[str, int]] = Counter()
        """How many texts go to numbers that begin alike, by those digits (else by the row's country) and by parts."""

    @property
    def histogram(self) -> dict[int, int]:
        """How many texts take how many parts."""
        by_parts: Counter[int] = Counter()
        for (_, parts), texts in self.by_destination.items():
            by_parts[parts] += texts
        return dict(sorted(by_parts.items()))

    @property
    def pushed(self) -> dict[str, Pushed]:
        """The texts that would be GSM7 but for one character, by that one: what costs most comes first."""
        return dict(sorted(self._pushed.items(), key=lambda item: (-item[1].extra_parts, -item[1].texts, item[0])))

    @property
    def samples(self) -> list[Sample]:
        """The first texts, and the longest one."""
        longest = self._longest
        if longest is None or longest in self._first:
            return self._first
        return [*self._first[: MAX_SAMPLES - 1], longest]

    def add(self, rows: RowMessages) -> None:
        """Count the texts of some rows."""
        texts = self._texts.of(rows.messages)
        parts = [
            1 if self._texts.is_plainly_one_part(text, message) else self._parts_of(text, message)
            for text, message in zip(texts, rows.messages, strict=True)
        ]
        self.by_destination.update(zip(map(_where_to, rows.messages), parts, strict=True))
        self._keep_samples(rows.messages, texts, parts)

    def _parts_of(self, text: str, message: SurveyMessage | PlainMessage) -> int:
        encoding = self._texts.encoding_of(message)
        parts = count_parts(text, encoding)
        if encoding_of(text, encoding) == "UCS2":
            self.ucs2 += 1
            if encoding != "UCS2" and len(characters := set(find_beyond_gsm7(text))) == 1:
                (character,) = characters
                self._note_pushed(character, parts, count_parts(text.replace(character, "x")))
        return parts

    def _note_pushed(self, character: str, parts: int, parts_without: int) -> None:
        texts, extra_parts = self._pushed.get(character, Pushed(0, 0))
        self._pushed[character] = Pushed(texts + 1, extra_parts + parts - parts_without)

    def _keep_samples(
        self, messages: Sequence[SurveyMessage | PlainMessage], texts: Sequence[str], parts: Sequence[int]
    ) -> None:
        lacking = MAX_SAMPLES - len(self._first)
        self._first += map(_sample, messages[:lacking], texts[:lacking], parts[:lacking])
        if parts and (self._longest is None or max(parts) > self._longest.parts):
            at = parts.index(max(parts))
            self._longest = _sample(messages[at], texts[at], parts[at])


def _where_to(message: SurveyMessage | PlainMessage) -> str:
    destination = message.destination
    if destination[0] == "+":
        return destination[1 : 1 + MAX_PREFIX_LENGTH]
    if type(message) is SurveyMessage and message.country is not None:
        return message.country
    return destination[:MAX_PREFIX_LENGTH]


def _sample(message: SurveyMessage | PlainMessage, text: str, parts: int) -> Sample:
    return Sample(mask_digits(message.destination), parts, mask_phone_numbers(text.replace(_LINK, _SHOWN_LINK)))
