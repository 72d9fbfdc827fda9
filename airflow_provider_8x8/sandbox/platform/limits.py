"""
8x8's limits as its own side of the wire states them: lengths, patterns, times.

The one place of the sandbox for them. They are stated a second time, apart from the client's, on purpose: a sandbox
that shared the client's limits could never find them wrong.
"""

from __future__ import annotations

import re
from datetime import timedelta

MAX_MESSAGES = 10_000
MAX_CLIENT_BATCH_ID_LENGTH = 20
MAX_CLIENT_MESSAGE_ID_LENGTH = 350
MAX_SOURCE_LENGTH = 16
MAX_SCHEDULED_AHEAD = timedelta(days=7)
MAX_E164_DIGITS = 15

ENCODINGS = ("AUTO", "GSM7", "UCS2")

# Without anchors, for fullmatch: "$" would let a trailing newline pass.
SUBACCOUNT_ID = re.compile(r"[A-Za-z0-9\-._&]{3,50}")
DESTINATION = re.compile(r"\+{0,1}[1-9]{1}[0-9]{6,14}")
ACCOUNT_ID = re.compile(r"[0-9A-Fa-f]{8}[-]?(?:[0-9A-Fa-f]{4}[-]?){3}[0-9A-Fa-f]{12}")

SURVEY_LINK_LENGTH = 21
"""Characters of the short link, always."""

MAX_PARTS = 10
"""Parts of one text: what is longer is cut off, and sent."""

REQUESTS_PER_SECOND = 1800
"""Requests to one sub-account; above it 429."""

GET_MESSAGE_PER_SECOND = 1
"""Reads of one message's details, for one sub-account; above it 429."""

LOG_EXPORT_LIFETIME = timedelta(days=30)
"""How long the links of a log export can be used."""
