"""A value that nothing prints by accident, and the cleaning of text that may hold one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from sqlalchemy import URL

HIDDEN = "***"

_IN_URL = re.compile(r"(\w[\w+.-]*://[^\s:/@]*):[^\s]*@")
# Query parameters that carry a credential, as databases' drivers and APIs spell them; requests quotes addresses.
_IN_QUERY = re.compile(r"([?&][^\s=&]*(?:pass|pwd|secret|token|key|auth|sig)[^\s=&]*=)[^\s&'\")]*", re.IGNORECASE)
# A line of source in a traceback: the user's own code may say its password in a call.
_SOURCE = re.compile(r"^(  +File .*\n)(?: {4,}.*\n)+", re.MULTILINE)
_IN_HEADER = re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}", re.IGNORECASE)


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


def redact(text: str, secrets: Iterable[Secret | str] = ()) -> str:
    """``text`` with every secret as ``***``, as written, URL-quoted or escaped, and every URL's password too.

    For drivers' messages, which may quote the URL or the statement they failed on.
    """
    forms: set[str] = set()
    for secret in secrets:
        value = secret.reveal() if isinstance(secret, Secret) else secret
        forms |= {value, quote(value, safe=""), quote(value), quote_plus(value), repr(value)[1:-1]}
        forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    # Longest first, so that a secret that is part of another leaves nothing of it behind.
    for form in sorted(forms - {""}, key=lambda form: (-len(form), form)):
        text = text.replace(form, HIDDEN)
    text = _IN_HEADER.sub(rf"\1{HIDDEN}", text)
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _IN_URL.sub(rf"\1:{HIDDEN}@", text))


def without_source(traceback: str) -> str:
    """A traceback's text with its places and its error, but no lines of source: those may hold a password."""
    return _SOURCE.sub(r"\1", traceback)


def redact_url(url: URL | str) -> str:
    """The URL as people may read it: user, host and database, but no password and no secret parameter."""
    return redact(url if isinstance(url, str) else url.render_as_string(hide_password=True))
