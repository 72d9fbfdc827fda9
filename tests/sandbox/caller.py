"""What asks the sandbox over real sockets."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from airflow_provider_8x8.sandbox.server import Sandbox

API_KEY = "sandbox-key-7f3a"
SUBACCOUNT = "sandbox_hq"
TEMPLATE = {"templateBody": "Hi {{firstName}}: {{url}}"}
OPENAPI_FILE = Path(__file__).parents[2].parent / "shared" / "8x8" / "sms_api.json"


class Caller:
    """Asks one sandbox."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, key: str | None = API_KEY, **kwargs: Any) -> requests.Response:
        """Ask for a path, below the sub-account's unless it begins with a slash."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= kwargs.pop("headers", {})
        url = self.url + (path if path.startswith("/") else f"/api/v1/subaccounts/{SUBACCOUNT}/{path}")
        return self.session.request(method, url, headers=headers, timeout=30, **kwargs)

    def batch(self, *messages: dict[str, Any], **fields: Any) -> requests.Response:
        """Send a batch, with the common template and all messages in the answer unless ``fields`` say otherwise."""
        body = {"template": TEMPLATE, "includeMessagesInResponse": True, "messages": list(messages), **fields}
        return self.call("POST", "surveys/nps/messages/batch", json=body)

    def single(self, **fields: Any) -> requests.Response:
        """Send a survey of its own."""
        return self.call("POST", "surveys/nps/messages", json={**message(), **TEMPLATE, **fields})

    def log(self, **fields: Any) -> tuple[str, str]:
        """Export the logs; give the final status, and the CSV file if there is one."""
        job = self.call("POST", "messages/exports", json=fields).json()["jobId"]
        while (result := self.call("GET", f"messages/exports/{job}").json())["status"] in ("queued", "running"):
            pass
        if result["status"] != "succeeded":
            return result["status"], ""
        (link,) = result["data"]
        return "succeeded", self.session.get(link, timeout=30).text


def message(number: int = 0, **fields: Any) -> dict[str, Any]:
    """One message of a batch, that may be sent."""
    return {
        "destination": f"+1202555{number:04d}",
        "clientMessageId": f"id-{number}",
        "templateVariables": {"firstName": "Ana"},
        **fields,
    }


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait, for a minute at most, until something has come true."""
    for _ in range(1200):
        if condition():
            return True
        time.sleep(0.05)
    return False


def connect(sandbox: Sandbox) -> socket.socket:
    """Open a bare connection."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(sandbox: Sandbox, *headers: str, path: str = "surveys/nps/messages/batch") -> bytes:
    """Write the head of a POST."""
    lines = [
        f"POST /api/v1/subaccounts/{SUBACCOUNT}/{path} HTTP/1.1",
        f"Host: {sandbox.url.removeprefix('http://')}",
        f"Authorization: Bearer {API_KEY}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def read_response(connection: socket.socket) -> http.client.HTTPResponse:
    """Read the head of an answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response
