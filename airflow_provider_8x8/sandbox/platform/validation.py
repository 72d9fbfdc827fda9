"""
Checks whether a request is a survey, or a batch of surveys, as 8x8's OpenAPI file has them.

Whatever is wrong in a request refuses the whole of it, with 8x8's code. Only a phone number that cannot exist does
not: it rejects its own message (:mod:`~airflow_provider_8x8.sandbox.platform.numbers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_8x8.sandbox.platform import limits
from airflow_provider_8x8.sandbox.platform.numbers import (
    CALLING_CODE_OF_COUNTRY,
    INVALID_NUMBER,
    PhoneNumber,
    read_number,
)
from airflow_provider_8x8.sandbox.platform.texts import TemplateBody, TemplateError
from airflow_provider_8x8.sandbox.wire.errors import Code, bad_request
from airflow_provider_8x8.sandbox.wire.times import from_date_time

_OPTIONS = frozenset({"source", "encoding", "scheduled", "expiry", "dlrCallbackUrl"})


@dataclass(frozen=True, slots=True)
class Options:
    """What a template, or a message for itself, may say about the sending."""

    source: str | None = None
    encoding: str | None = None
    scheduled: datetime | None = None
    expiry: datetime | None = None

    def over(self, common: Options) -> Options:
        """Return these options, completed by what is said for all messages."""
        return Options(
            self.source or common.source,
            self.encoding or common.encoding,
            self.scheduled or common.scheduled,
            self.expiry or common.expiry,
        )


@dataclass(frozen=True, slots=True)
class Survey:
    """One message that may be sent, or rejected for its number."""

    number: PhoneNumber
    body: TemplateBody
    variables: Mapping[str, object]
    client_message_id: str | None
    options: Options


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch whose every message passed."""

    surveys: list[Survey]
    client_batch_id: str | None
    include_messages: bool


class Validator:
    """
    Checks the messages of one request.

    :param now: the time that ``scheduled`` and ``expiry`` are held against, aware
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._bodies: dict[str, TemplateBody] = {}

    def batch(self, payload: object) -> Batch:
        """
        Check a ``BatchSurveyRequest``.

        :raises ApiError: 400 with 8x8's code for the first thing that is wrong
        """
        request = _object(payload, "The request")
        client_batch_id = _text(request, "clientBatchId", "")
        if client_batch_id is not None and len(client_batch_id) > limits.MAX_CLIENT_BATCH_ID_LENGTH:
            raise bad_request(
                Code.CLIENT_BATCH_ID_TOO_LONG,
                f"clientBatchId is longer than {limits.MAX_CLIENT_BATCH_ID_LENGTH} characters",
            )
        include_messages = request.get("includeMessagesInResponse", False)
        if not isinstance(include_messages, bool):
            raise bad_request(Code.INVALID_PARAMETER, "includeMessagesInResponse must be true or false")
        messages = _messages(request)
        body, options = self._template(request)
        surveys = [self._survey(message, f"messages[{index}]", body, options) for index, message in enumerate(messages)]
        return Batch(surveys, client_batch_id, include_messages)

    def single(self, payload: object) -> Survey:
        """
        Check a ``SurveyRequest``.

        :raises ApiError: 400 with 8x8's code for the first thing that is wrong
        """
        return self._survey(payload, "The request", None, Options())

    def _template(self, request: dict[str, Any]) -> tuple[TemplateBody | None, Options]:
        if "template" not in request:
            return None, Options()
        template = _object(request["template"], "template")
        body = self._body(template, "template")
        if body is None:
            raise bad_request(Code.INVALID_TEMPLATE, "template has no templateBody")
        return body, self._options(template, "template", Options())

    def _survey(self, payload: object, where: str, common_body: TemplateBody | None, common: Options) -> Survey:
        message = _object(payload, where)
        body = self._body(message, where) or common_body
        if body is None:
            raise bad_request(Code.INVALID_TEMPLATE, f"{where} has no templateBody, and there is no template")
        variables = _variables(message, where)
        missing = body.names - variables.keys()
        if missing:
            raise bad_request(
                Code.INVALID_TEXT, f"{where}.templateVariables lacks {', '.join(sorted(missing))} of the text"
            )
        client_message_id = _text(message, "clientMessageId", where)
        if client_message_id is not None and len(client_message_id) > limits.MAX_CLIENT_MESSAGE_ID_LENGTH:
            raise bad_request(
                Code.CLIENT_MESSAGE_ID_TOO_LONG,
                f"{where}.clientMessageId is longer than {limits.MAX_CLIENT_MESSAGE_ID_LENGTH} characters",
            )
        options = common if _OPTIONS.isdisjoint(message) else self._options(message, where, common)
        return Survey(_number(message, where), body, variables, client_message_id, options)

    def _body(self, fields: dict[str, Any], where: str) -> TemplateBody | None:
        text = _text(fields, "templateBody", where)
        if text is None:
            return None
        if text not in self._bodies:
            try:
                self._bodies[text] = TemplateBody(text)
            except TemplateError as error:
                raise bad_request(Code.INVALID_TEMPLATE, f"{where}.templateBody: {error}") from None
        return self._bodies[text]

    def _options(self, fields: dict[str, Any], where: str, common: Options) -> Options:
        _check_callback_url(fields, where)
        options = Options(
            _source(fields, where),
            _encoding(fields, where),
            self._scheduled(fields, where),
            self._expiry(fields, where),
        ).over(common)
        if options.scheduled and options.expiry and options.expiry <= options.scheduled:
            raise bad_request(Code.INVALID_EXPIRY, f"{where}: expiry is not after scheduled")
        return options

    def _scheduled(self, fields: dict[str, Any], where: str) -> datetime | None:
        scheduled = _date_time(fields, "scheduled", where, Code.INVALID_SCHEDULE)
        if scheduled and not self._now <= scheduled <= self._now + limits.MAX_SCHEDULED_AHEAD:
            raise bad_request(
                Code.INVALID_SCHEDULE,
                f"{where}.scheduled is past or more than {limits.MAX_SCHEDULED_AHEAD.days} days ahead",
            )
        return scheduled

    def _expiry(self, fields: dict[str, Any], where: str) -> datetime | None:
        expiry = _date_time(fields, "expiry", where, Code.INVALID_EXPIRY)
        if expiry and expiry <= self._now:
            raise bad_request(Code.INVALID_EXPIRY, f"{where}.expiry is past")
        return expiry


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(Code.INVALID_PARAMETER, f"{where} must be an object")
    return value


def _text(fields: dict[str, Any], name: str, where: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    if not isinstance(value, str):
        raise bad_request(Code.INVALID_PARAMETER, f"{where}.{name} must be a string".removeprefix("."))
    return value


def _messages(request: dict[str, Any]) -> list[object]:
    messages = request.get("messages", [])
    if not isinstance(messages, list):
        raise bad_request(Code.INVALID_PARAMETER, "messages must be an array")
    if not messages:
        raise bad_request(Code.NO_MESSAGES, "There are no messages")
    if len(messages) > limits.MAX_MESSAGES:
        raise bad_request(Code.TOO_MANY_MESSAGES, f"There are more than {limits.MAX_MESSAGES} messages")
    return messages


def _number(message: dict[str, Any], where: str) -> PhoneNumber:
    destination = _text(message, "destination", where)
    if destination is None:
        raise bad_request(Code.INVALID_MSISDN, f"{where} has no destination")
    if not limits.DESTINATION.fullmatch(destination):
        raise bad_request(Code.INVALID_MSISDN, f"{where}.destination: {INVALID_NUMBER}")
    country = _text(message, "country", where)
    if country is not None and country not in CALLING_CODE_OF_COUNTRY:
        raise bad_request(Code.UNKNOWN_COUNTRY, f"{where}.country is no ISO 3166-1 alpha-2 code")
    return read_number(destination, country)


def _variables(message: dict[str, Any], where: str) -> dict[str, Any]:
    variables = _object(message.get("templateVariables", {}), f"{where}.templateVariables")
    for name, value in variables.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise bad_request(Code.INVALID_PARAMETER, f"{where}.templateVariables.{name} must be a string or a number")
    return variables


def _source(fields: dict[str, Any], where: str) -> str | None:
    source = _text(fields, "source", where)
    if source is not None and not source.strip():
        raise bad_request(Code.INVALID_SOURCE, f"{where}.source is empty")
    if source is not None and len(source) > limits.MAX_SOURCE_LENGTH:
        raise bad_request(Code.SOURCE_TOO_LONG, f"{where}.source is longer than {limits.MAX_SOURCE_LENGTH} characters")
    return source


def _encoding(fields: dict[str, Any], where: str) -> str | None:
    encoding = _text(fields, "encoding", where)
    if encoding is not None and encoding not in limits.ENCODINGS:
        raise bad_request(Code.INVALID_ENCODING, f"{where}.encoding is none of {', '.join(limits.ENCODINGS)}")
    return encoding


def _date_time(fields: dict[str, Any], name: str, where: str, code: Code) -> datetime | None:
    text = _text(fields, name, where)
    if text is None:
        return None
    try:
        return from_date_time(text)
    except ValueError:
        raise bad_request(code, f"{where}.{name} is no ISO 8601 time with an offset") from None


def _check_callback_url(fields: dict[str, Any], where: str) -> None:
    url = _text(fields, "dlrCallbackUrl", where)
    if url is None:
        return
    try:
        parts = urlsplit(url)
        is_web_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_web_address = False
    if not is_web_address or any(character.isspace() for character in url):
        raise bad_request(Code.INVALID_CALLBACK_URL, f"{where}.dlrCallbackUrl is no http or https address")
