"""A value that nothing prints by accident, and the cleaning of text that may hold one."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote_plus, urlsplit

from api2db.credentialname import may_be_credential, resembles_credential

if TYPE_CHECKING:
    from sqlalchemy import URL

HIDDEN = "***"

# Every repetition is bounded: causes hold what servers sent, and no text may take for ever.
_IN_URL = re.compile(r"\b\w[\w+.-]{0,30}://[^\s:/@]{0,200}:([^\s]{0,500})@")
# Of web addresses the name too: there it often is a token.
_IN_WEB_URL = re.compile(r"\bhttps?://([^\s/?#@'\"]{0,500})@", re.IGNORECASE)
_PARAMETER = re.compile(r"[?&]([^\s=&?]{1,200})=([^\s&'\")]*)")
# Of databases' drivers and APIs; hidden where a message is only shown.
_SHOWN_HIDDEN = re.compile(r"auth|sig|app_?id|client|session|user", re.IGNORECASE)
# Numbers, dates and words are shown; what is this long and none of them may be a key, whatever it is called.
_LONG_CHARS = 16
_NUMBER_OR_DATE = re.compile(r"(?:[\d.,:TZ+\- ]{0,35}|true|false)", re.IGNORECASE)
# A line of source in a traceback: the user's own code may say its password in a call.
_SOURCE = re.compile(r"^(  +File .*\n)(?: {4,}.*\n)+", re.MULTILINE)
_IN_HEADER = re.compile(r"\b(?:bearer|basic)\s+([\w.~+/=-]{6,})", re.IGNORECASE)


# Shorter ones stand in ordinary words.
_KNOWN_CHARS = 8


class Secret:
    """Text that shows as ``***`` wherever it is printed, logged or formatted; ``reveal()`` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)


class _Known:
    """The credentials this process has read. Process-wide, since whatever logs may quote them: users' code too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, values: Iterable[str]) -> None:
        forms = {form for value in values if len(value) >= _KNOWN_CHARS for form in spellings(value)}
        with self._lock:
            if not forms <= self._forms:
                self._forms |= forms
                longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
                # Not inside a word: a password may well be a part of our own names.
                either = "|".join(map(re.escape, longest_first))
                self._pattern = re.compile(rf"(?<![A-Za-z0-9])(?:{either})(?![A-Za-z0-9])")

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """From where to where one of them stands in the text."""
        pattern = self._pattern
        if pattern is not None:
            yield from (match.span() for match in pattern.finditer(text))


_known = _Known()


def remember(*values: Secret | str) -> None:
    """Have ``redact`` hide these from now on, in all of this process: credentials just read. Any thread."""
    _known.add(value.reveal() if isinstance(value, Secret) else value for value in values)


def remember_named(values: Mapping[str, object]) -> None:
    """``remember`` those whose name says password, token, key or the like; a path is none."""
    remember(
        *(
            value
            for name, value in values.items()
            if isinstance(value, str) and resembles_credential(name) and not value.startswith(("/", "./"))
        )
    )


def is_remembered(value: str) -> bool:
    """Is a credential that this process has read in it?"""
    return any(_known.spans(value))


def spellings(value: str) -> set[str]:
    """As written, URL-quoted or escaped."""
    forms = {value, quote(value, safe=""), quote(value), quote_plus(value), repr(value)[1:-1]}
    return forms | {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}


def folded(text: str) -> str:
    """As what stands in addresses is compared: ``+`` is a plus to some, and a space to others."""
    return text.replace("+", " ")


def redact(text: str, secrets: Iterable[Secret | str] = ()) -> str:
    """``text`` with every secret as ``***``, as written, URL-quoted or escaped, and every URL's password too.

    Hidden are ``secrets``, what ``remember`` was told, and what looks like a credential.

    For drivers' messages, which may quote the URL or the statement they failed on.
    """
    # All are looked for in the text as it came: what hides the word "password" would else keep
    # ?password=... from being told for what it is.
    spans: list[tuple[int, int]] = []
    spans += _known.spans(text)
    for secret in secrets:
        value = secret.reveal() if isinstance(secret, Secret) else secret
        for form in spellings(value) - {""}:
            spans += (match.span() for match in re.finditer(re.escape(form), text))
    for pattern in (_IN_HEADER, _IN_URL, _IN_WEB_URL):
        spans += (match.span(1) for match in pattern.finditer(text))
    spans += (match.span(2) for match in _PARAMETER.finditer(text) if not _may_be_shown(match))
    return _without(text, spans)


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """``text`` with ``***`` in place of each span; of those that overlap one for all."""
    parts: list[str] = []
    shown_until = 0
    for start, end in sorted(spans):
        if start >= shown_until:
            parts += (text[shown_until:start], HIDDEN)
        shown_until = max(shown_until, end)
    return "".join((*parts, text[shown_until:]))


def _may_be_shown(parameter: re.Match[str]) -> bool:
    name, value = unquote_plus(parameter[1]), parameter[2]  # requests quotes addresses
    if may_be_credential(name) or _SHOWN_HIDDEN.search(name) is not None:
        return False
    return len(value) < _LONG_CHARS or is_number_or_date(unquote_plus(value))


def is_number_or_date(value: str) -> bool:
    """Whether a query's value is one that people need to see, and no key looks like."""
    return _NUMBER_OR_DATE.fullmatch(value) is not None


def shown_url(url: str) -> str:
    """A web address as people may read it: no user, and of its parameters only numbers and dates have their value."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    shown = [
        f"{name}={value if is_number_or_date(unquote_plus(value)) else HIDDEN}" if equals else HIDDEN
        for name, equals, value in pairs
    ]
    query = f"?{'&'.join(shown)}" if shown else ""
    return redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}")


def without_source(traceback: str) -> str:
    """A traceback's text with its places and its error, but no lines of source: those may hold a password."""
    return _SOURCE.sub(r"\1", traceback)


def redact_url(url: URL | str) -> str:
    """The URL as people may read it: user, host and database, but no password and no secret parameter."""
    return redact(url if isinstance(url, str) else url.render_as_string(hide_password=True))
