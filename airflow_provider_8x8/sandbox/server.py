"""The sandbox: 8x8, the desk beside it, and the server in front of both."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from airflow_provider_8x8.sandbox.desk.control import PREFIX, Control
from airflow_provider_8x8.sandbox.desk.faults import Faults, Moment
from airflow_provider_8x8.sandbox.desk.page import Introduction
from airflow_provider_8x8.sandbox.desk.recorder import RecordedRequest, Recorder
from airflow_provider_8x8.sandbox.desk.watched import WatchedApi
from airflow_provider_8x8.sandbox.platform import limits
from airflow_provider_8x8.sandbox.platform.api import Account, Api
from airflow_provider_8x8.sandbox.platform.store import Store
from airflow_provider_8x8.sandbox.wire.http_messages import Answer, Request
from airflow_provider_8x8.sandbox.wire.server import HttpServer


class Sandbox:
    """
    A local 8x8, served from a background thread. Nothing is sent to anyone.

    .. code-block:: python

        with Sandbox(data=tmp_path) as sandbox:
            requests.get(f"{sandbox.url}/sandbox/stats")

    It takes plain http, one API key and one sub-account; any account id is good. For what it can do beside 8x8's
    endpoints see ``docs/sandbox.md``; ``python -m airflow_provider_8x8.sandbox`` is the same as a command.

    :param port: the port to listen on; 0, the default, takes a free one
    :param api_key: the key that requests must bear, printable ASCII without spaces; ``sandbox`` by default
    :param subaccount: the sub-account that requests must name, 3 to 50 characters of ``A-Z a-z 0-9 - . _ &``;
        ``sandbox_hq`` by default
    :param data: a folder where everything is kept across restarts; without it all is forgotten at the end
    :param batch_seconds: seconds that each batch takes before it is accepted, 0 by default
    :param host: the address to listen on, ``127.0.0.1`` by default: whoever reaches another one can read every text
    :ivar url: where it is, such as ``http://127.0.0.1:8808``
    :ivar connection_json: an Airflow connection to it, as JSON
    :ivar connection_uri: likewise, as a URI
    :param surveys: the ids of the surveys that there are, all others are refused; by default any id is good
    :raises OSError: the port is taken, the host is not here, or the folder cannot be made
    :raises sqlite3.Error: the folder holds something else
    :raises ValueError: the sub-account, the API key or a survey is none that 8x8 could have
    """

    def __init__(
        self,
        port: int = 0,
        api_key: str = "sandbox",
        subaccount: str = "sandbox_hq",
        data: Path | str | None = None,
        batch_seconds: float = 0.0,
        host: str = "127.0.0.1",
        surveys: Sequence[str] = (),
    ) -> None:
        _check(subaccount, api_key, surveys)
        self._stopping = threading.Event()
        self._faults = Faults()
        self._recorder = Recorder()
        self._server = HttpServer((host, port), self._respond)
        try:
            self._store = Store(Path(data) if data is not None else None)
        except BaseException:
            self._server.server_close()
            raise
        address = f"[{host}]" if ":" in host else host
        bound_to = self._server.server_port
        self.url = f"http://{address}:{bound_to}"
        self.connection_uri = (
            f"eight-by-eight://http://{quote(subaccount, safe='')}:{quote(api_key, safe='')}@{address}:{bound_to}"
        )
        fields = {
            "conn_type": "eight_by_eight",
            "host": f"http://{address}",
            "port": bound_to,
            "login": subaccount,
            "password": api_key,
        }
        self.connection_json = json.dumps(fields)
        account = Account(api_key, subaccount, tuple(dict.fromkeys(surveys)), batch_seconds)
        api = Api(account, self._store, self._log_lag, self.url, self._stopping)
        self._api = WatchedApi(api, self._store, self._faults, self._recorder)
        introduction = Introduction(
            url=self.url,
            host=f"http://{address}",
            port=bound_to,
            subaccount=subaccount,
            api_key=api_key,
            surveys=account.surveys,
            connection_json=self.connection_json,
            connection_uri=self.connection_uri,
        )
        self._control = Control(self._store, self._faults, self._recorder, introduction)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="8x8-sandbox", daemon=True
        )

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close all connections; what was not accepted by now never is."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.close_connections()
        self._server.server_close()
        self._store.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stats(self) -> dict[str, int]:
        """Return what ``GET /sandbox/stats`` gives: counts of requests, batches and messages."""
        return self._control.stats()

    def messages(self, limit: int = 100) -> list[dict[str, object]]:
        """
        Return what ``GET /sandbox/messages`` gives: the newest messages, newest first.

        :param limit: how many at most, 100 by default
        """
        return self._control.messages(limit)

    def requests(self) -> list[RecordedRequest]:
        """Return the newest requests that were to send something, 100 at most, oldest first, refused ones too."""
        return self._recorder.requests()

    def faults(self, faults: list[dict[str, Any]]) -> None:
        """
        Do what ``PUT /sandbox/faults`` does: these faults, and no others, are to come.

        :param faults: such as ``[{"on": "survey_batch", "kind": "429", "times": 2}]``; an empty list clears them
        :raises ApiError: there is no such fault; the message says which there are
        """
        self._faults.replace(faults)

    def forget(self) -> None:
        """Do what ``DELETE /sandbox`` does: forget everything."""
        self._control.forget()

    def _respond(self, request: Request) -> Answer:
        if request.path == PREFIX or request.path.startswith(f"{PREFIX}/"):
            return self._control.answer(request)
        return self._api.answer(request)

    def _log_lag(self) -> timedelta:
        fault = self._faults.take("log_export", Moment.LOG)
        return timedelta(seconds=fault.seconds or 0) if fault else timedelta()


def _check(subaccount: str, api_key: str, surveys: Sequence[str]) -> None:
    if not limits.SUBACCOUNT_ID.fullmatch(subaccount):
        raise ValueError(f"Sub-account {subaccount!r} is not 3 to 50 characters of A-Z a-z 0-9 - . _ &")
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("The API key must be printable ASCII without spaces")
    if isinstance(surveys, str) or not all(surveys):
        raise ValueError("The surveys must be a list of ids, none of them empty")
