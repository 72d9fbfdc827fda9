"""A POST on a thread of its own."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from airflow_provider_8x8.api.errors import NeverSentError
from airflow_provider_8x8.api.models import BatchResponse
from airflow_provider_8x8.surveys.sending.posting import PostingThread

ANSWER = BatchResponse(batch_id="batch", accepted_count=1, rejected_count=0)


def test_waiting_ends_once_the_request_is_out() -> None:
    may_answer = threading.Event()

    def post(on_sent: Callable[[], None]) -> BatchResponse:
        on_sent()
        may_answer.wait(60)
        return ANSWER

    poster = PostingThread()
    posting = poster.post(post)
    posting.wait_until_sent()
    may_answer.set()
    assert posting.result() is ANSWER
    poster.close()


def test_waiting_ends_when_the_request_never_goes_out() -> None:
    def post(on_sent: Callable[[], None]) -> BatchResponse:
        raise NeverSentError("8x8 could not be reached")

    poster = PostingThread()
    posting = poster.post(post)
    posting.wait_until_sent()
    with pytest.raises(NeverSentError):
        posting.result()
    poster.close()


def test_an_answer_is_gone_as_soon_as_it_is_taken() -> None:
    is_begun = threading.Event()

    def post(on_sent: Callable[[], None]) -> BatchResponse:
        is_begun.wait(60)
        return ANSWER

    poster = PostingThread()
    gc.disable()  # which would find a cycle, but not before some hundred megabytes are in cycles
    try:
        posting = poster.post(post)
        is_begun.set()
        assert posting.result() is ANSWER
        poster.post(post).result()  # the thread lets go of a POST when the next one comes
        gone = weakref.ref(posting)
        del posting
        assert gone() is None
    finally:
        gc.enable()
        poster.close()
