"""What the sandbox shows and takes beside 8x8's endpoints: counts, texts, faults. None of it needs the API key."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from airflow_provider_8x8.sandbox.desk.faults import Faults
from airflow_provider_8x8.sandbox.desk.page import CONTENT_SECURITY_POLICY, Introduction, Page
from airflow_provider_8x8.sandbox.desk.phones import Phones
from airflow_provider_8x8.sandbox.desk.reading import Reading, Search
from airflow_provider_8x8.sandbox.desk.recorder import Recorder
from airflow_provider_8x8.sandbox.platform.store import Message, Store
from airflow_provider_8x8.sandbox.wire.errors import ApiError, Code, bad_request, not_found
from airflow_provider_8x8.sandbox.wire.http_messages import Answer, Request, json_answer
from airflow_provider_8x8.sandbox.wire.times import to_text

PREFIX = "/sandbox"
DEFAULT_LIMIT = 100


class Control:
    """
    Answers the paths under :data:`PREFIX`.

    :param store: what was accepted
    :param faults: what shall go wrong
    :param recorder: the requests kept for tests
    :param introduction: what the page says of the sandbox itself
    """

    def __init__(self, store: Store, faults: Faults, recorder: Recorder, introduction: Introduction) -> None:
        self._store = store
        self._faults = faults
        self._recorder = recorder
        self._reading = Reading(store)
        self._phones = Phones(store)
        self._page = Page(self._reading, self._phones, faults, introduction)
        self._own = secrets.token_hex(4)

    def answer(self, request: Request) -> Answer:
        """
        Answer one request.

        :raises ApiError: there is no such path, or the request is wrong
        """
        match request.method, request.path.removeprefix(PREFIX).rstrip("/"):
            case "GET", "":
                return self._show(request)
            case "DELETE", "":
                self.forget()
                return Answer(HTTPStatus.NO_CONTENT)
            case "GET", "/stats":
                return json_answer(self.stats())
            case "GET", "/messages":
                limit = _whole_number(request, "limit")
                return json_answer(self.messages(DEFAULT_LIMIT if limit is None else limit))
            case "GET", "/faults":
                return json_answer(self._faults.to_come())
            case "PUT", "/faults":
                return json_answer(self._faults.replace(request.json()))
            case "POST", "/faults/add" | "/faults/clear" | "/forget" as button:
                return self._press(button, request)
        raise not_found("There is no such resource. The sandbox's own page is /sandbox")

    def stats(self) -> dict[str, int]:
        """Return counts of what was asked and accepted."""
        return self._reading.stats()

    def messages(self, limit: int) -> list[dict[str, object]]:
        """Return the newest messages, newest first, each as its phone shows it."""
        now = to_text(datetime.now(UTC))
        return [_to_json(message, now) for message in self._reading.messages(limit)]

    def forget(self) -> None:
        """Forget everything: messages, counts, jobs, faults."""
        self._faults.replace([])
        self._recorder.forget()
        self._store.forget()

    def _press(self, button: str, request: Request) -> Answer:
        """Do what a button of the page asks for, and lead back to it."""
        # Any page in the same browser could press it as well.
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise ApiError(HTTPStatus.FORBIDDEN, Code.FORBIDDEN, "Only the sandbox's own page may ask for this")
        match button:
            case "/faults/add":
                self._faults.add(request.form())
            case "/faults/clear":
                self._faults.replace([])
            case "/forget":
                self.forget()
        return Answer(HTTPStatus.SEE_OTHER, headers={"Location": f"{PREFIX}#faults"})

    def _show(self, request: Request) -> Answer:
        search = Search(
            _digits(request.query.get("number", "")),
            request.query.get("survey", ""),
            _whole_number(request, "before") if request.query.get("before") else None,
        )
        now = to_text(datetime.now(UTC))
        # By the minute, since what is scheduled becomes delivered without any request.
        tag = f'"{self._own}-{self._store.changes}-{self._faults.changes}-{now[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": CONTENT_SECURITY_POLICY}
        if request.headers.get("if-none-match") == tag and not self._phones.is_behind:
            return Answer(HTTPStatus.NOT_MODIFIED, headers=headers)
        page = self._page.render(search, now)
        return Answer(body=page.encode(), content_type="text/html; charset=utf-8", headers=headers)


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


def _digits(number: str) -> str:
    """Return the digits of a number, however people write it; a text without any stays, and matches none."""
    return "".join(character for character in number if character in "0123456789") or number.strip()


def _whole_number(request: Request, name: str) -> int | None:
    number = request.query.get(name)
    if number is None:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise bad_request(Code.INVALID_PARAMETER, f"{name} must be a whole number above 0")
    return int(number)
