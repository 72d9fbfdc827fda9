"""What the demo starts it stops, whatever happens."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import processes
import pytest
import requests
from processes import ProcessError

# A process that starts another one and says who both are; neither listens to SIGTERM.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A child of ours that has died, or one that nobody waits for, still has its number.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    for _ in range(600):
        if not is_running(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} still runs")


def test_a_command_gives_its_lines_as_they_come() -> None:
    lines: list[str] = []
    processes.run(
        [sys.executable, "-c", "print('one'); print('zwölf')"], os.environ | {"PYTHONUTF8": "1"}, lines.append
    )
    assert lines == ["one", "zwölf"]


def test_a_command_that_fails_gives_its_whole_log() -> None:
    script = "import sys; print('begun'); sys.exit('no database')"
    with pytest.raises(ProcessError, match="ended with exit code 1") as failure:
        processes.run([sys.executable, "-c", script], os.environ, lambda line: None)
    assert set(failure.value.log.splitlines()) == {"begun", "no database"}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_command_is_stopped_with_all_that_it_started(
    interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.2)
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.extend(map(int, line.split()))
        assert all(map(is_running, pids))
        raise interruption

    with pytest.raises(interruption):
        processes.run([sys.executable, "-c", STUBBORN], os.environ, interrupt)
    assert len(pids) == 2
    for pid in pids:
        wait_until_gone(pid)


def test_the_sandbox_serves_until_it_is_no_longer_needed(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), processes.sandbox(tmp_path / "log") as sandbox:
        assert sandbox.stats()["batches"] == 0
        assert sandbox.messages(limit=10) == []
        raise KeyboardInterrupt
    with pytest.raises(requests.ConnectionError):
        sandbox.stats()


def test_two_sandboxes_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    with processes.sandbox(tmp_path / "one") as one, processes.sandbox(tmp_path / "other") as other:
        assert one.url != other.url
        assert one.stats() == other.stats()


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_SANDBOX", ("-c", "import sys; sys.exit('no memory')"))
    with pytest.raises(ProcessError, match="did not start") as failure, processes.sandbox(tmp_path / "log"):
        pytest.fail("there is no sandbox")
    assert "no memory" in failure.value.log
