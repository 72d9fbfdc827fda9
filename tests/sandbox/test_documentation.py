"""What the page about the sandbox says, there is; and what there is, it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from airflow_provider_8x8.sandbox.__main__ import parser
from airflow_provider_8x8.sandbox.desk.faults import Kind, Operation
from tests.sandbox.caller import Caller

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def test_every_option_has_its_row() -> None:
    options = {string for action in parser()._actions for string in action.option_strings if string.startswith("--")}
    assert set(re.findall(r"^\| `(--[a-z-]+)", DOCUMENTATION, re.MULTILINE)) == options - {"--help", "--version"}


def test_every_fault_and_operation_is_named() -> None:
    faults = DOCUMENTATION.partition("## Faults")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9_]+)` \| [^|]{10}", faults, re.MULTILINE)) - {"kind"} == set(get_args(Kind))
    named = faults.partition("`on` is one of")[2].partition("`times`")[0]
    assert set(re.findall(r"`(\w+)`", named)) == set(get_args(Operation))


def test_the_endpoints_answer(caller: Caller) -> None:
    endpoints = re.findall(r"^\| `(GET|PUT|DELETE) (/sandbox\S*)`", DOCUMENTATION, re.MULTILINE)
    assert len(endpoints) == 6
    for method, path in endpoints:
        assert caller.call(method, path, key=None, json=[] if method == "PUT" else None).ok


def test_the_code_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENTATION, re.DOTALL | re.MULTILINE)
    exec(compile(code, "sandbox.md", "exec"), {"__name__": "documentation"})  # noqa: S102  # our own page
