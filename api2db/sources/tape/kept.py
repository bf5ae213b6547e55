"""What of a request and its answer is kept on a tape: no credential."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from requests import PreparedRequest

from api2db.secret import HIDDEN
from api2db.sources.tape.identity import fields, is_secret

_UNKEPT_HEADERS: Final = re.compile(
    r"(?i)(proxy-.*|set-cookie2?|www-authenticate|content-(encoding|length|security-policy)|transfer-encoding|connection"
    r"|keep-alive|te|trailer|upgrade|strict-transport-security|alt-svc)"
)
_IN_ADDRESS: Final = re.compile(r"([?&])([^=&\s\"'<>]{1,80})=([^&\s\"'<>]*)")
_LONGEST_TOKEN_ANSWER: Final = 65_536
_TOKENS: Final = re.compile(r"(?i)(access|refresh|id|auth|session)_?token|jwt|client_secret|password")
_SHORTEST_SECRET: Final = 8


def credentials(request: PreparedRequest, secrets: Iterable[str]) -> list[str]:
    """What was sent as a credential: by name, as user and password, or said to be one. Longest first."""
    parts = urlsplit(str(request.url))
    found = [*secrets, *parts.netloc.rpartition("@")[0].split(":")]
    found += [value for name, value in parse_qsl(parts.query) if is_secret(name)]
    found += [str(value) for name, value in fields(request) or () if is_secret(name)]
    for name, value in request.headers.items():
        if is_secret(name):
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            found += [text, text.rpartition(" ")[2]]
    return sorted({one for one in found if len(one) >= _SHORTEST_SECRET}, key=lambda one: (-len(one), one))


def headers(answered: Mapping[str, str], secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Of an answer: without cookies, what was of the way, and credentials."""
    return [
        (name, hidden(without_secrets(value), secrets))
        for name, value in answered.items()
        if not _UNKEPT_HEADERS.fullmatch(name) and not is_secret(name)
    ]


def without_secrets(text: str) -> str:
    """Addresses in a text without the values of parameters that are credentials."""
    return _IN_ADDRESS.sub(lambda m: f"{m[1]}{m[2]}={HIDDEN}" if is_secret(m[2]) else m[0], text)


def url(address: str, secrets: Iterable[str]) -> str:
    """An address without user, password and parameters that are credentials."""
    parts = urlsplit(address)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return hidden(without_secrets(plain), secrets)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """A text without credentials that were sent, as ``credentials`` gives them."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def body(request: PreparedRequest, answered: bytes, secrets: Iterable[str]) -> bytes:
    """An answer's body as it is kept: as it came, but for credentials that were sent, or asked for."""
    for secret in secrets:
        answered = answered.replace(secret.encode(), HIDDEN.encode())
    if len(answered) > _LONGEST_TOKEN_ANSWER or answered.lstrip()[:1] != b"{":
        return answered
    try:
        value = json.loads(answered)
    except (ValueError, RecursionError):
        return answered
    asked = any(name == "grant_type" for name, _ in fields(request) or ())
    tokens = {name for name in value if _TOKENS.fullmatch(name) or (asked and is_secret(name))}
    if not tokens:
        return answered
    return json.dumps({name: HIDDEN if name in tokens else each for name, each in value.items()}).encode()
