"""Sending: a checked survey becomes a stored message, and the answer that 8x8 gives for it."""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from airflow_provider_8x8.sandbox.platform.store import BatchRecord, Message, Store
from airflow_provider_8x8.sandbox.platform.texts import short_link, to_sms
from airflow_provider_8x8.sandbox.platform.validation import Batch, Survey
from airflow_provider_8x8.sandbox.wire.times import to_text

DEFAULT_SOURCE = "8x8 sandbox"
_QUEUED = "SMS is accepted and queued for processing"


def send_batch(store: Store, survey_id: str, batch: Batch, now: datetime) -> dict[str, object]:
    """
    Keep a batch and return 8x8's ``BatchSmsResponse``.

    Nothing is deduplicated: what comes twice is sent twice. The messages of the answer are in another order than
    those of the request, since 8x8 promises none.
    """
    batch_id = str(uuid.uuid4())
    created_at = to_text(now)
    messages = [
        _to_message(survey, umid, survey_id, created_at, batch_id, batch.client_batch_id)
        for survey, umid in zip(batch.surveys, _umids(), strict=False)
    ]
    rejected = sum(message.rejection is not None for message in messages)
    accepted = len(messages) - rejected
    store.add_batch(BatchRecord(batch_id, batch.client_batch_id, survey_id, accepted, rejected, created_at), messages)
    answer: dict[str, object] = {"batchId": batch_id, "acceptedCount": accepted, "rejectedCount": rejected}
    if batch.client_batch_id is not None:
        answer["clientBatchId"] = batch.client_batch_id
    if batch.include_messages:
        answer["messages"] = [_to_answer(message) for message in _shuffled(messages)]
    return answer


def send_single(store: Store, survey_id: str, survey: Survey, now: datetime) -> dict[str, object]:
    """Keep a survey of its own and return 8x8's ``SmsResponse``."""
    message = _to_message(survey, next(_umids()), survey_id, to_text(now), None, None)
    store.add_single(message)
    return _to_answer(message)


def _umids() -> Iterator[str]:
    # Those of one batch follow each other, which keeps the store's index on them fast.
    head = str(uuid.uuid4())[:24]
    number = secrets.randbits(47)
    while True:
        yield f"{head}{number:012x}"
        number += 1


def _to_message(
    survey: Survey, umid: str, survey_id: str, created_at: str, batch_id: str | None, client_batch_id: str | None
) -> Message:
    options = survey.options
    sms = to_sms(survey.body.render(survey.variables, short_link(umid)), options.encoding or "AUTO")
    client_message_id = survey.client_message_id
    if client_message_id is None and batch_id is not None:
        client_message_id = f"{client_batch_id or batch_id}/{survey.number.digits}"
    return Message(
        umid=umid,
        batch_id=batch_id,
        client_batch_id=client_batch_id,
        client_message_id=client_message_id,
        survey_id=survey_id,
        destination=survey.number.digits,
        country=survey.number.country,
        source=options.source or DEFAULT_SOURCE,
        text=sms.text,
        encoding=sms.encoding,
        parts=sms.parts,
        rejection=survey.number.rejection,
        scheduled=to_text(options.scheduled) if options.scheduled else None,
        created_at=created_at,
    )


def _shuffled(messages: Sequence[Message]) -> list[Message]:
    shuffled = list(messages)
    random.Random(len(messages)).shuffle(shuffled)  # noqa: S311  # an order, not a secret
    if shuffled == messages:
        shuffled.reverse()
    return shuffled


def _to_answer(message: Message) -> dict[str, object]:
    rejected = message.rejection is not None
    answer: dict[str, object] = {
        "umid": message.umid,
        "destination": message.destination,
        "encoding": message.encoding,
        "status": {
            "code": "REJECTED" if rejected else "QUEUED",
            "description": message.rejection if rejected else _QUEUED,
        },
    }
    if message.client_message_id is not None:
        answer["clientMessageId"] = message.client_message_id
    return answer
