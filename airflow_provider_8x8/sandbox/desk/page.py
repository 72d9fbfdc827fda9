"""
``GET /sandbox``: the page for people, one HTML file that needs nothing from outside.

Everything that came in with a request is escaped by Jinja, and the page's Content-Security-Policy lets no script run
but its own. It works without that script, which only keeps it fresh. However much there is, a page shows some of it.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from airflow_provider_8x8 import __version__
from airflow_provider_8x8.sandbox.desk import phones
from airflow_provider_8x8.sandbox.desk.faults import IN_WORDS, OPERATIONS, Faults, Moment
from airflow_provider_8x8.sandbox.desk.phones import Phones
from airflow_provider_8x8.sandbox.desk.reading import Reading, Search
from airflow_provider_8x8.sandbox.platform.store import Message
from airflow_provider_8x8.sandbox.platform.texts import SHORT_LINK

_TEXTS = 24
_BATCHES = 10
_REJECTED = 10
_TWICE = 10
_SURVEYS = 50

_FILES = files(__package__)
_STYLE = _FILES.joinpath("page.css").read_text("utf-8")
_SCRIPT = _FILES.joinpath("page.js").read_text("utf-8")


def _source_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source_hash(_STYLE)}; script-src {_source_hash(_SCRIPT)}; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Introduction(NamedTuple):
    """What the sandbox says of itself."""

    url: str
    host: str
    """As Airflow's connection form has it, without the port."""
    port: int
    subaccount: str
    api_key: str
    surveys: Sequence[str]
    """The ids of the surveys that there are; empty: any id is one."""
    connection_json: str
    connection_uri: str


class _Text(NamedTuple):
    """A text as its phone shows it, and what there is to say of it."""

    message: Message
    state: str
    pieces: list[tuple[str, bool]]
    """The text in pieces, each of which is a link, or not."""
    of_phone: int
    """Texts of all surveys that the phone has."""
    of_survey: int
    """Texts of this survey that the phone has."""


class Page:
    """
    The page.

    :param reading: counts and messages
    :param phones: the texts of each phone
    :param faults: what shall go wrong
    :param introduction: what the sandbox says of itself
    """

    def __init__(self, reading: Reading, phones: Phones, faults: Faults, introduction: Introduction) -> None:
        self._reading = reading
        self._phones = phones
        self._faults = faults
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"clock": _clock, "quoted": shlex.quote}
        environment.globals |= {
            "style": Markup(_STYLE),  # noqa: S704  # our own, and a browser takes it only as it is
            "script": Markup(_SCRIPT),  # noqa: S704  # likewise
            "version": __version__,
            "introduction": introduction,
            "operations": OPERATIONS,
            "in_words": IN_WORDS,
            "of_logs": Moment.LOG.value,
        }
        self._template = environment.from_string(_FILES.joinpath("page.html.jinja").read_text("utf-8"))

    def render(self, search: Search, now: str) -> str:
        """
        Return the page as things stand.

        :param search: which texts to show
        :param now: the time, as the store writes it
        """
        totals = self._phones.count(phones.AT_ONCE)
        found = self._reading.find(search, _TEXTS)
        return self._template.render(
            stats=self._reading.stats(),
            phones=totals,
            twice=self._phones.twice(_TWICE),
            surveys=self._surveys(search),
            search=search,
            texts=[self._text(message, now) for message in found.texts],
            older=found.before,
            batches=self._reading.batches(_BATCHES),
            rejected=self._reading.rejected(_REJECTED),
            faults=self._faults.to_come(),
        )

    def _surveys(self, search: Search) -> list[tuple[str, int]]:
        surveys = self._phones.surveys(_SURVEYS)
        if search.survey and search.survey not in dict(surveys):
            surveys.append((search.survey, 0))
        return surveys

    def _text(self, message: Message, now: str) -> _Text:
        of_phone, of_survey = self._phones.of(message.destination, message.survey_id)
        return _Text(message, message.state(now), list(_pieces(message.text)), of_phone, of_survey)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a text, and whether each is its survey link: that is to look like one, but leads nowhere."""
    position = 0
    for link in SHORT_LINK.finditer(text):
        yield text[position : link.start()], False
        yield link.group(), True
        position = link.end()
    yield text[position:], False


def _clock(moment: str) -> str:
    return moment[:19].replace("T", " ") + " UTC"
