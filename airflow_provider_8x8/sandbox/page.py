"""
``GET /sandbox``: the page for people, one HTML file that needs nothing from outside.

Everything that came in with a request is escaped, and the page's Content-Security-Policy lets no script run but its
own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.sandbox.store import BatchRecord, Message, Store
from airflow_provider_8x8.sandbox.texts import SHORT_LINK
from airflow_provider_8x8.sandbox.times import to_text

_TEXTS = 12
_BATCHES = 10
_REJECTED = 10

_STYLE = files(__package__).joinpath("page.css").read_text("utf-8")
_SCRIPT = files(__package__).joinpath("page.js").read_text("utf-8")


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source_hash(_STYLE)}; script-src {_source_hash(_SCRIPT)}; connect-src 'self';"
    " base-uri 'none'; form-action 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>8x8 sandbox</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>8x8 sandbox</h1>
<p class="banner">This is not 8x8. No SMS is sent to anyone.</p>
<p class="gone" role="status">The sandbox does not answer: this is what it showed last.</p>
</header>
<main>
{main}
</main>
<footer>airflow-provider-8x8 {version}. This page refreshes itself.</footer>
<script>{script}</script>
</body>
</html>
"""


def render_page(store: Store, url: str, connection_uri: str) -> str:
    """
    Render the page as things stand.

    :param store: what was accepted.
    :param url: the sandbox's address.
    :param connection_uri: the Airflow connection that leads here.
    """
    sections = (
        _tiles(store.stats()),
        _section("Latest texts", _texts(store.accepted_messages(_TEXTS))),
        _section("Latest batches", _batches(store.batches(_BATCHES))),
        _section("Latest rejected messages", _rejected(store.rejected_messages(_REJECTED))),
        _section("Connect", _connect(url, connection_uri)),
    )
    return _PAGE.format(style=_STYLE, script=_SCRIPT, version=escape(__version__), main="\n".join(sections))


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"


def _tiles(stats: dict[str, int]) -> str:
    sent_twice = stats["max_per_key"] > 1
    tiles = (
        _tile("texts accepted", f"{stats['accepted']:,}"),
        _tile("rejected", f"{stats['rejected']:,}"),
        _tile("batches", f"{stats['batches']:,}"),
        _tile("batch requests", f"{stats['requests']:,}"),
        _tile("message ids", f"{stats['distinct_keys']:,}"),
        _tile("most texts per id", f"{stats['max_per_key']:,}", alarm=sent_twice),
        _tile("single surveys", f"{stats['singles']:,}"),
    )
    return f'<dl class="tiles">\n{"".join(tiles)}</dl>'


def _tile(name: str, value: str, *, alarm: bool = False) -> str:
    attribute = ' class="alarm"' if alarm else ""
    return f"<div{attribute}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>\n"


def _texts(messages: Sequence[Message]) -> str:
    if not messages:
        return '<p class="quiet">None yet. They show here as their phones would show them.</p>'
    now = to_text(datetime.now(UTC))
    return f'<ul class="texts">\n{"".join(_text(message, now) for message in messages)}</ul>'


def _text(message: Message, now: str) -> str:
    parts = "1 part" if message.parts == 1 else f"{message.parts} parts"
    details = [f"to +{message.destination}", parts, message.encoding, message.state(now)]
    if message.scheduled is not None:
        details.append(f"for {_clock(message.scheduled)}")
    return (
        f'<li><div class="sender"><b dir="auto">{escape(message.source)}</b>{_time(message.created_at)}</div>'
        f'<div class="bubble" dir="auto">{_with_link(message.text)}</div>'
        f'<div class="details">{escape(" · ".join(details))}</div></li>\n'
    )


def _with_link(text: str) -> str:
    """Escape a text, and make its survey link look like one; it leads nowhere."""
    pieces, position = [], 0
    for link in SHORT_LINK.finditer(text):
        pieces.append(escape(text[position : link.start()]))
        pieces.append(f'<span class="link">{escape(link.group())}</span>')
        position = link.end()
    return "".join(pieces) + escape(text[position:])


def _batches(batches: Sequence[BatchRecord]) -> str:
    return _table(
        ("time", "client batch id", "batch id", "survey", "accepted", "rejected"),
        (
            (
                _cell(_time(batch.created_at)),
                _cell(escape(batch.client_batch_id or "")),
                _cell(f"<code>{escape(batch.batch_id)}</code>"),
                _cell(escape(batch.survey_id)),
                _cell(f"{batch.accepted:,}", "count"),
                _cell(f"{batch.rejected:,}", "count"),
            )
            for batch in batches
        ),
    )


def _rejected(messages: Sequence[Message]) -> str:
    return _table(
        ("time", "destination", "client message id", "reason"),
        (
            (
                _cell(_time(message.created_at)),
                _cell(escape(message.destination)),
                _cell(f"<code>{escape(message.client_message_id or '')}</code>"),
                _cell(escape(message.rejection or ""), "wide"),
            )
            for message in messages
        ),
    )


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(row)}</tr>\n" for row in rows)
    if not body:
        return '<p class="quiet">None yet.</p>'
    head = "".join(
        f'<th class="count">{name}</th>' if name in ("accepted", "rejected") else f"<th>{name}</th>" for name in names
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>'


def _cell(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _time(moment: str) -> str:
    return f'<time datetime="{escape(moment)}">{_clock(moment)}</time>'


def _clock(moment: str) -> str:
    return escape(moment[:19].replace("T", " ")) + " UTC"


def _connect(url: str, connection_uri: str) -> str:
    return (
        "<p>In the environment of Airflow:</p>\n"
        f"<pre>AIRFLOW_CONN_EIGHT_BY_EIGHT_DEFAULT='{escape(connection_uri)}'</pre>\n"
        f"<p>Or in its connection form: host <code>{escape(url)}</code>, with this sandbox's sub-account and API key."
        " To forget everything:</p>\n"
        f"<pre>curl -X DELETE {escape(url)}/sandbox</pre>"
    )
