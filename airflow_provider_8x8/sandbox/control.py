"""What the sandbox shows and takes beside 8x8's endpoints: counts, texts, faults. None of it needs the API key."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

from airflow_provider_8x8.sandbox.errors import bad_request, not_found
from airflow_provider_8x8.sandbox.faults import Faults
from airflow_provider_8x8.sandbox.http_messages import Answer, Request, json_answer
from airflow_provider_8x8.sandbox.limits import Code
from airflow_provider_8x8.sandbox.page import CONTENT_SECURITY_POLICY, render_page
from airflow_provider_8x8.sandbox.recorder import Recorder
from airflow_provider_8x8.sandbox.store import Message, Store
from airflow_provider_8x8.sandbox.times import to_text

PREFIX = "/sandbox"
DEFAULT_LIMIT = 100


class Control:
    """
    Answer the paths under :data:`PREFIX`.

    :param store: what was accepted.
    :param faults: what shall go wrong.
    :param recorder: the requests kept for tests.
    :param url: the sandbox's address, for people.
    :param connection_uri: the Airflow connection that leads here, for people.
    """

    def __init__(self, store: Store, faults: Faults, recorder: Recorder, url: str, connection_uri: str) -> None:
        self._store = store
        self._faults = faults
        self._recorder = recorder
        self._url = url
        self._connection_uri = connection_uri

    def answer(self, request: Request) -> Answer:
        """
        Answer one request.

        :raises ApiError: there is no such path, or the request is wrong.
        """
        match request.method, request.path.removeprefix(PREFIX).rstrip("/"):
            case "GET", "":
                return self._page()
            case "DELETE", "":
                self.forget()
                return Answer(HTTPStatus.NO_CONTENT)
            case "GET", "/stats":
                return json_answer(self._store.stats())
            case "GET", "/messages":
                return json_answer(self.messages(_limit(request)))
            case "PUT", "/faults":
                return json_answer(self._faults.replace(request.json()))
        raise not_found("There is no such resource. The sandbox's own page is /sandbox")

    def messages(self, limit: int) -> list[dict[str, object]]:
        """Give the newest messages, newest first, each as its phone shows it."""
        now = to_text(datetime.now(UTC))
        return [_to_json(message, now) for message in self._store.messages(limit)]

    def forget(self) -> None:
        """Forget everything: messages, counts, jobs, faults."""
        self._faults.replace([])
        self._recorder.forget()
        self._store.forget()

    def _page(self) -> Answer:
        return Answer(
            body=render_page(self._store, self._url, self._connection_uri).encode(),
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
        )


def _to_json(message: Message, now: str) -> dict[str, object]:
    return {
        "umid": message.umid,
        "batch_id": message.batch_id,
        "client_batch_id": message.client_batch_id,
        "client_message_id": message.client_message_id,
        "survey_id": message.survey_id,
        "destination": message.destination,
        "source": message.source,
        "text": message.text,
        "encoding": message.encoding,
        "parts": message.parts,
        "status": message.state(now),
        "description": message.rejection,
        "created_at": message.created_at,
    }


def _limit(request: Request) -> int:
    limit = request.query.get("limit", str(DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and int(limit) > 0):
        raise bad_request(Code.INVALID_PARAMETER, "limit must be a whole number above 0")
    return int(limit)
