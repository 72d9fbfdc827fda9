"""A POST on a thread of its own, so that a batch is built while 8x8 works on the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from airflow_provider_8x8.api.models import BatchResponse

Post = Callable[[Callable[[], None]], BatchResponse]
"""Makes a POST, and calls what it is given once the request is out."""


class Posting(Protocol):
    """A POST that was begun."""

    def wait_until_sent(self) -> None:
        """Wait until the request is out, or the POST is over."""

    def result(self) -> BatchResponse:
        """Wait for the answer, or raise what the POST has raised."""


class Poster(Protocol):
    """What makes POSTs, one after the other."""

    def post(self, post: Post) -> Posting:
        """Begin one."""

    def close(self) -> None:
        """Make no more of them; one that was begun goes on."""


class PostingThread:
    """Makes POSTs on one thread. A signal that ends the sender's thread leaves it to see its POST through."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="8x8-batch")

    def post(self, post: Post) -> Posting:
        """See :class:`Poster`."""
        return _FuturePosting(self._executor, post)

    def close(self) -> None:
        """See :class:`Poster`."""
        self._executor.shutdown(wait=False)


class _FuturePosting:
    def __init__(self, executor: ThreadPoolExecutor, post: Post) -> None:
        self._sent = sent = threading.Event()
        self._answer: Future[BatchResponse] = executor.submit(post, sent.set)
        # Not by way of self: the answer, some megabytes, would be in a cycle, and wait for the garbage collector.
        self._answer.add_done_callback(lambda _: sent.set())

    def wait_until_sent(self) -> None:
        """See :class:`Posting`."""
        self._sent.wait()

    def result(self) -> BatchResponse:
        """See :class:`Posting`."""
        return self._answer.result()
