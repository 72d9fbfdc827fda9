"""The texts that phones will show, and how many SMS parts each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import astuple

from airflow_provider_8x8.api.models import SurveyMessage
from airflow_provider_8x8.surveys.messages.parts import GSM7_SIZES, count_parts, find_unusual
from airflow_provider_8x8.surveys.messages.row_message import PlainMessage
from airflow_provider_8x8.surveys.messages.template import Template, parse_again

Message = SurveyMessage | PlainMessage


class Texts:
    """
    Renders the texts of a campaign's messages.

    :param template: the common text, None if every row brings its own
    :param encoding: of the messages that say nothing else; None is 8x8's ``AUTO``
    """

    def __init__(self, template: Template | None, encoding: str | None = None) -> None:
        self._template = template
        self._encoding = encoding
        self._renderers: dict[Any, Callable[..., str]] = {}

    def of(self, messages: Sequence[Message]) -> list[str]:
        """Return each message's text."""
        texts, renderers = [], self._renderers
        for message in messages:
            variables: Any = message.template_variables
            if type(message) is PlainMessage and variables is not None:
                render = renderers.get(type(variables)) or self._renderer_for(type(variables))
                texts.append(render(*astuple(variables)))
            else:
                texts.append(self._render(message))
        return texts

    def parts_of(self, messages: Sequence[Message], texts: Sequence[str] | None = None) -> list[int]:
        """
        Return how many SMS parts each message takes.

        :param texts: what :meth:`of` has returned for them, if that is at hand
        """
        of_each = zip(self.of(messages) if texts is None else texts, messages, strict=True)
        return [
            1 if self.is_plainly_one_part(text, message) else count_parts(text, self.encoding_of(message))
            for text, message in of_each
        ]

    def is_plainly_one_part(self, text: str, message: Message) -> bool:
        """Tell whether a text is one part of GSM7, as most are; what needs a closer look is not."""
        return len(text) <= GSM7_SIZES[0] and find_unusual(text) is None and self.encoding_of(message) != "UCS2"

    def encoding_of(self, message: Message) -> str | None:
        """Return the encoding that a message asks for: its own, else the common one."""
        own = message.encoding if isinstance(message, SurveyMessage) else None
        return own or self._encoding

    def _renderer_for(self, kind: Any) -> Callable[..., str]:
        """Return what renders the common text from the values of a struct of variables, in its order."""
        assert self._template is not None, "plain messages have a common text"  # noqa: S101
        self._renderers[kind] = self._template.renderer(kind.__struct_encode_fields__)
        return self._renderers[kind]

    def _render(self, message: Message) -> str:
        variables: Mapping[str, Any] = message.template_variables or {}
        body = message.template_body if isinstance(message, SurveyMessage) else None
        template = self._template if body is None else parse_again(body)
        return "" if template is None else template.render(variables)
