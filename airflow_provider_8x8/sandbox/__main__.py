"""``python -m airflow_provider_8x8.sandbox``: the sandbox as a command."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import logging
import math
import shlex
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.sandbox.server import Sandbox

_CANNOT_START = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Serve until SIGINT or SIGTERM.

    :param arguments: the command line without its first word; by default the process's own
    :return: the exit code: 0 after a clean stop, 2 if the sandbox could not start
    """
    options = parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    try:
        sandbox = Sandbox(
            port=options.port,
            api_key=options.api_key,
            subaccount=options.subaccount,
            data=options.data,
            batch_seconds=options.batch_seconds,
            host=options.host,
            surveys=options.survey,
        )
    except (OSError, sqlite3.Error, ValueError) as error:
        print(f"The sandbox cannot start: {_reason(error, options)}", file=sys.stderr)
        return _CANNOT_START
    with sandbox:
        _introduce(sandbox, options)
        stop.wait()
    print("8x8 sandbox: stopped", flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_8x8.sandbox",
        description="A local 8x8 to try surveys on, without an account and without an SMS.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=_port, default=8808, help="the port to listen on; 0 takes a free one")
    parser.add_argument("--api-key", default="sandbox", help="the API key that requests must bear; not your real one")
    parser.add_argument("--subaccount", default="sandbox_hq", help="the sub-account that requests must name")
    parser.add_argument(
        "--survey",
        action="append",
        default=[],
        metavar="ID",
        help="a survey that there is, once for each; without it any id is accepted",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a folder that keeps everything across restarts; without it all is forgotten at the end",
    )
    parser.add_argument(
        "--batch-seconds",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="how long each batch takes before it is accepted",
    )
    parser.add_argument("--version", action="version", version=f"8x8 sandbox {__version__}")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise ValueError(text)
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(text)
    return seconds


def _reason(error: Exception, options: argparse.Namespace) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {options.port} of {options.host} is taken: stop what listens there, or choose another --port"
    if isinstance(error, sqlite3.Error):
        return f"{options.data} cannot be used for --data: {error}"
    return str(error)


def _introduce(sandbox: Sandbox, options: argparse.Namespace) -> None:
    if not _is_loopback(options.host):
        print(
            f"Warning: {options.host} is not a loopback address: whoever reaches this port can read every text"
            " and phone number in the sandbox.",
            file=sys.stderr,
        )
    print(
        f"8x8 sandbox {__version__} at {sandbox.url}: this is not 8x8, no SMS is sent\n"
        f"  to look at    {sandbox.url}/sandbox\n"
        f"  to connect    AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT={shlex.quote(sandbox.connection_json)}\n"
        f"  as a URI      AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT='{sandbox.connection_uri}'\n"
        f"  surveys       {_surveys(options.survey)}\n"
        f"  to stop       Ctrl+C",
        flush=True,
    )


def _surveys(surveys: Sequence[str]) -> str:
    if not surveys:
        return "any id is accepted; with --survey ID, once for each that there is, all others are refused"
    return f"{', '.join(dict.fromkeys(surveys))}; any other is refused"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
