"""The sandbox, as a program's tests use it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from airflow_provider_8x8.sandbox.desk.recorder import RecordedRequest
from airflow_provider_8x8.sandbox.server import Sandbox


def use(folder: Path) -> None:
    with Sandbox(port=0, api_key="key", subaccount="hq", data=folder, batch_seconds=0.5, surveys=["orders"]) as sandbox:
        assert_type(sandbox, Sandbox)
        assert_type(sandbox.url, str)
        assert_type(sandbox.connection_uri, str)
        assert_type(sandbox.connection_json, str)
        assert_type(sandbox.stats(), dict[str, int])
        assert_type(sandbox.messages(limit=10), list[dict[str, object]])
        assert_type(sandbox.requests(), list[RecordedRequest])
        sandbox.faults([{"on": "survey_batch", "kind": "429", "times": 1}])
        sandbox.forget()
    Sandbox().start()
    Sandbox(data="folder").stop()


def misuse(sandbox: Sandbox) -> None:
    Sandbox(port="8808")  # type: ignore[arg-type]  # a number
    Sandbox(data=b"folder")  # type: ignore[arg-type]  # a path or text
    Sandbox(surveys=None)  # type: ignore[arg-type]  # none are named by default
    Sandbox(batch_seconds="1")  # type: ignore[arg-type]  # seconds are a number
    sandbox.faults({"on": "survey_batch", "kind": "429"})  # type: ignore[arg-type]  # a list of them
    sandbox.messages("10")  # type: ignore[arg-type]  # a number
