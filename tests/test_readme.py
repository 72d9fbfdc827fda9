"""The README's code is run, and what it names exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102  # our own README


def test_the_two_dags_send(run_dag: Any, sandbox: Any, connection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(PYTHON[1], "README.md", "exec"), namespace)  # noqa: S102  # our own README
    run = run_dag(namespace["survey_visitors"]())
    assert run.task_states == {"visitors": "success", "send_surveys": "success"}
    assert sandbox.messages(1)[0]["text"].startswith("Hi Zoë, how was your visit? ")


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("export ")])
def test_the_connections_are_8x8s(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_8x8.hooks.eight_by_eight import EightByEightHook

    name, _, value = shlex.split(line)[1].partition("=")
    monkeypatch.setenv(name, value)
    client = EightByEightHook().client
    assert (client.subaccount_id, client.base_url) == ("example_hq", "https://sms.8x8.uk")


@pytest.mark.parametrize("line", [line for line in SHELL if not line.startswith("export ")])
def test_the_commands_exist(line: str) -> None:
    command, *arguments = shlex.split(line)
    if command == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif command == "python":
        subprocess.run([sys.executable, *arguments, "--help"], check=True, capture_output=True)
    else:
        assert (command, arguments) == ("pip", ["install", "."])  # what that installs is tried in test_packaging


def test_the_pages_that_it_links_to_exist() -> None:
    for link in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_guarantees_page_has_the_promise_and_code_that_exists() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text()
    assert (
        "> No survey is POSTed twice within a campaign unless 8x8 has said, or its logs prove, that the first was not "
        "accepted, or you chose to resend."
    ) in page
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    with pytest.raises(ValueError, match="journal_conn_id 'journal': there is no such connection"):
        exec(compile(code, "guarantees.md", "exec"), {"__name__": "guarantees"})  # noqa: S102  # our own page


def test_the_parameters_are_the_operators() -> None:
    import inspect

    from airflow_provider_8x8.operators.survey_batch import EightByEightSurveyBatchOperator

    table = README.partition("## Parameters")[2].partition("## When")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    signature = inspect.signature(EightByEightSurveyBatchOperator.__init__)
    assert named == set(signature.parameters) - {"self", "kwargs", "default_args"}
