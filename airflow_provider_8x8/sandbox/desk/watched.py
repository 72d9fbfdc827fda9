"""8x8's endpoints under the desk's eyes: what sends is recorded, and what shall go wrong does."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace

from airflow_provider_8x8.sandbox.desk.faults import Fault, Faults, Moment
from airflow_provider_8x8.sandbox.desk.recorder import Recorder
from airflow_provider_8x8.sandbox.platform.api import Api, read_call
from airflow_provider_8x8.sandbox.platform.store import Store
from airflow_provider_8x8.sandbox.wire.errors import internal_error, not_found, quota_exceeded
from airflow_provider_8x8.sandbox.wire.http_messages import Answer, Ending, Request, error_answer

log = logging.getLogger("airflow_provider_8x8.sandbox")

_RECORDED = frozenset({"survey_batch", "survey"})
_GZIP = 31  # zlib's word for it


class WatchedApi:
    """
    Answers 8x8's endpoints, or spoils the answer if a fault says so.

    :param api: what 8x8 does
    :param store: counts the batch requests
    :param faults: what shall go wrong
    :param recorder: keeps the requests that send
    """

    def __init__(self, api: Api, store: Store, faults: Faults, recorder: Recorder) -> None:
        self._api = api
        self._store = store
        self._faults = faults
        self._recorder = recorder

    def answer(self, request: Request) -> Answer:
        """
        Answer one request.

        :raises ApiError: the request is refused
        :raises StoppedError: the sandbox was stopped meanwhile
        """
        call = read_call(request)
        if call.operation == "survey_batch":
            self._store.count_request()
        if call.operation in _RECORDED:
            self._recorder.record(request)
        self._api.admit(call)
        if fault := self._faults.take(call.operation, Moment.BEFORE):
            answer = _instead_of_accepting(fault)
        else:
            answer = self._api.answer(call)
            if fault := self._faults.take(call.operation, Moment.AFTER):
                answer = _spoiled(answer, fault)
        log.info("%s %a: %d", request.method, request.path, answer.status)
        return answer


def _instead_of_accepting(fault: Fault) -> Answer:
    if fault.kind == "429":
        raise quota_exceeded(str(fault.retry_after))
    if fault.kind == "500":
        raise internal_error()
    if fault.kind == "404":
        raise not_found("There is no such resource, a fault says")
    return Answer(ending=Ending.CLOSED)


def _spoiled(answer: Answer, fault: Fault) -> Answer:
    match fault.kind:
        case "500_after_accept":
            return error_answer(internal_error())
        case "close_after_accept":
            return Answer(ending=Ending.CLOSED)
        case "hang_after_accept":
            return Answer(ending=Ending.SILENT)
        case "truncate":
            return replace(answer, ending=Ending.CUT)
        case "gzip_truncate":
            compressor = zlib.compressobj(wbits=_GZIP)
            body = compressor.compress(_without_last_line(answer)) + compressor.flush(zlib.Z_SYNC_FLUSH)
            return replace(answer, body=body, stream=None, headers={**answer.headers, "Content-Encoding": "gzip"})
        case "no_length_truncate":
            return replace(answer, body=_without_last_line(answer), stream=None, ending=Ending.WITHOUT_LENGTH)
        case _:
            return Answer(body=b"<!doctype html><title>OK</title><p>OK", content_type="text/html; charset=utf-8")


def _without_last_line(answer: Answer) -> bytes:
    body = answer.body if answer.stream is None else b"".join(answer.stream)
    return body[: body.rstrip(b"\r\n").rfind(b"\n") + 1]
