"""``python -m airflow_provider_8x8.sandbox`` as a process of its own."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_8x8.sandbox.server import Sandbox
from tests.sandbox.caller import TEMPLATE, Caller, message

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start the command; whatever is still running at the end is killed."""
    running: list[tuple[subprocess.Popen[str], threading.Timer]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "airflow_provider_8x8.sandbox", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        watchdog = threading.Timer(120, process.kill)  # else a silent sandbox would be waited for forever
        watchdog.start()
        running.append((process, watchdog))
        return process

    yield start
    for process, watchdog in running:
        watchdog.cancel()
        process.kill()
        process.communicate()


def introduction(process: subprocess.Popen[str]) -> str:
    """Read what the command says at its start."""
    assert process.stdout is not None
    lines = ""
    while "Ctrl+C" not in lines:
        line = process.stdout.readline()
        assert line, process.communicate()
        lines += line
    return lines


def caller_of(process: subprocess.Popen[str]) -> Caller:
    found = re.search(r"http://[^ :]+:\d+", introduction(process))
    assert found
    return Caller(found.group())


def send(caller: Caller, number: int) -> None:
    """Send a batch with one message to a sandbox with the default key."""
    body = {"messages": [message(number)], "template": TEMPLATE, "clientBatchId": f"b-{number}"}
    response = caller.call("POST", "surveys/nps/messages/batch", key="sandbox", json=body)
    assert response.json()["acceptedCount"] == 1


def test_it_says_what_it_is_where_it_is_and_how_to_connect(run: Run) -> None:
    said = introduction(run("--port", "0", "--api-key", "a/key", "--subaccount", "my_sub"))
    assert "this is not 8x8, no SMS is sent" in said
    found = re.search(r"AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT='eight-by-eight://(http://)my_sub:a%2Fkey@(\S+)'", said)
    assert found
    url = "".join(found.groups())
    assert f"{url}/sandbox\n" in said
    assert Caller(url).call("GET", "/sandbox/stats").status_code == 200


@pytest.mark.parametrize("key", ["a/key", "it's", '"q"', "$HOME`x`\\\\"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_connection_is_said_as_json_for_a_shell(run: Run, key: str, host: str) -> None:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"there is no {host} here")
    said = introduction(run("--port", "0", "--api-key", key, "--subaccount", "my_sub", "--host", host))
    (line,) = (line for line in said.splitlines() if '"conn_type"' in line)
    (word,) = (word for word in shlex.split(line) if word.startswith("AIRFLOW_CONN_"))
    name, _, value = word.partition("=")
    fields = json.loads(value)
    assert name == "AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT"
    assert fields == {
        "conn_type": "eight_by_eight",
        "host": "http://127.0.0.1" if host == "127.0.0.1" else "http://[::1]",
        "port": fields["port"],
        "login": "my_sub",
        "password": key,
    }
    assert Caller(f"{fields['host']}:{fields['port']}").call("GET", "/sandbox/stats").status_code == 200


def test_it_says_which_surveys_there_are(run: Run) -> None:
    said = introduction(run("--port", "0", "--survey", "nps", "--survey", "shop-visit"))
    assert "nps, shop-visit; any other is refused" in said
    assert "any id is accepted" in introduction(run("--port", "0"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(run: Run, number: signal.Signals, tmp_path: Path) -> None:
    process = run("--port", "0", "--data", str(tmp_path))
    caller = caller_of(process)
    send(caller, 1)  # and keeps its connection open
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "stopped" in out
    with Sandbox(data=tmp_path) as again:
        assert again.stats()["accepted"] == 1


def test_what_was_answered_survives_a_kill(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "new" / "folder"
    for count in range(1, 4):
        process = run("--port", "0", "--data", str(data))
        caller = caller_of(process)
        send(caller, count)
        process.kill()
        process.wait()
        with Sandbox(data=data) as again:
            stats = again.stats()
            assert (stats["requests"], stats["batches"], stats["accepted"], stats["distinct_keys"]) == (count,) * 4
            assert again.messages()[0]["client_batch_id"] == f"b-{count}"


CLIENT = """
import socket, sys, time
host, port, share = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
message = '{"destination": "+12025550123", "clientMessageId": "k", "templateBody": "{{url}}"}'
body = ('{"messages": [' + ",".join([message] * 2000) + "]}").encode()
connection = socket.create_connection((host, port))
path = "/api/v1/subaccounts/sandbox_hq/surveys/nps/messages/batch"
connection.sendall(
    f"POST {path} HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer sandbox\\r\\n"
    f"Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n".encode()
)
sent = body[: int((len(body) - 1) * share)]
if sent:
    connection.sendall(sent)
print("sent", flush=True)
time.sleep(600)
"""


def test_what_a_killed_client_had_not_sent_whole_is_never_accepted(run: Run, tmp_path: Path) -> None:
    process = run("--port", "0", "--data", str(tmp_path))
    caller = caller_of(process)
    address = caller.url.removeprefix("http://").split(":")
    for share in ("0", "0.5", "1"):
        command = [sys.executable, "-c", CLIENT, *address, share]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "sent\n"
            client.kill()
    send(caller, 1)
    process.terminate()  # which ends every request that is being served
    process.communicate(timeout=60)
    with Sandbox(data=tmp_path) as again:
        stats = again.stats()
        assert (stats["requests"], stats["batches"], stats["accepted"]) == (1, 1, 1)


def test_a_log_export_survives_a_restart(tmp_path: Path) -> None:
    with Sandbox(data=tmp_path) as sandbox:
        caller = Caller(sandbox.url)
        send(caller, 1)
        job = caller.call("POST", "messages/exports", key="sandbox", json={}).json()["jobId"]
    with Sandbox(data=tmp_path) as sandbox:
        result = Caller(sandbox.url).call("GET", f"messages/exports/{job}", key="sandbox")
        assert result.status_code == 200


def test_a_sandbox_without_data_starts_anew(tmp_path: Path) -> None:
    for _ in range(2):
        with Sandbox() as sandbox:
            send(Caller(sandbox.url), 1)
            assert sandbox.stats()["accepted"] == 1


def test_a_port_that_is_taken_is_said_plainly(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = run("--port", port)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert f"port {port} of 127.0.0.1 is taken" in err
    assert "--port" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "65536"], "--port"),
        (["--port", "http"], "--port"),
        (["--batch-seconds", "-1"], "--batch-seconds"),
        (["--batch-seconds", "nan"], "--batch-seconds"),
        (["--port", "0", "--subaccount", "a b c"], "a b c"),
        (["--port", "0", "--api-key", ""], "API key"),
        (["--port", "0", "--survey", ""], "surveys"),
        (["--port", "0", "--host", "192.0.2.1"], "cannot start"),
        (["--port", "0", "--data", __file__], "cannot start"),
    ],
)
def test_what_cannot_be_is_said_plainly(run: Run, arguments: list[str], said: str) -> None:
    process = run(*arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in err
    assert "Traceback" not in err


def test_a_folder_with_something_else_in_it_is_said_plainly(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sandbox.sqlite3").write_text("something else, and long enough to be taken for a database " * 10)
    process = run("--port", "0", "--data", str(tmp_path))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"{tmp_path} cannot be used for --data" in err


def test_a_host_that_others_can_reach_is_warned_of(run: Run) -> None:
    process = run("--port", "0", "--host", "0.0.0.0")  # noqa: S104
    introduction(process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Warning: 0.0.0.0 is not a loopback address" in err
