"""What of a request and of its answer a tape may hold: no credential."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

from requests import PreparedRequest

from api2db import spelling
from api2db.credentialname import is_credential, may_be_records
from api2db.secret import HIDDEN, is_number_or_date
from api2db.sources.answer import basic_pair
from api2db.sources.tape import fields

_UNKEPT_HEADERS: Final = re.compile(
    r"(?i)(proxy-.*|set-cookie2?|www-authenticate|content-(encoding|length|security-policy)|transfer-encoding|connection"
    r"|keep-alive|te|trailer|upgrade|strict-transport-security|alt-svc)"
)
_IN_ADDRESS: Final = re.compile(r"([?&])([^=&\s\"'<>]{1,80})=([^&\s\"'<>]*)")
_LONGEST_TOKEN_ANSWER: Final = 65_536
_TOKENS: Final = re.compile(r"(?i)(access|refresh|id|auth|session)_?token|jwt|client_secret|password")
_SHORTEST_SECRET, _SHORTEST_WORD = 4, 8


def credentials(request: PreparedRequest, secrets: Iterable[str]) -> list[str]:
    """What was sent as a credential: by name, as user and password, as a cookie, or said to be one.

    What may be a word, or is a number, isn't taken if it is short.
    """
    sure, likely = list(secrets), []
    user, _, password = urlsplit(str(request.url)).netloc.rpartition("@")[0].partition(":")
    likely.append(unquote(user))
    sure.append(unquote(password))
    for name, value in (*parse_qsl(urlsplit(str(request.url)).query), *fields.named(fields.read(request))):
        if is_credential(name):
            (likely if may_be_records(name) else sure).append(str(value))
    for name, header in request.headers.items():
        text = header.decode("latin-1") if isinstance(header, bytes) else str(header)
        if name.lower() == "cookie":
            likely += [text, *(one.partition("=")[2].strip() for one in text.split(";"))]
        elif is_credential(name):
            user, password = basic_pair(text)[:2] or ("", "")
            sure += [text, text.rpartition(" ")[2], password]
            likely.append(user)
    likely += [one for one in sure if is_number_or_date(one)]
    taken = {one for one in sure if len(one) >= _SHORTEST_SECRET and not is_number_or_date(one)}
    taken |= {one for one in likely if len(one) >= _SHORTEST_WORD}
    return sorted(taken)


def headers(given: Mapping[str, str], secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Of an answer: without cookies, what was of the way, and credentials."""
    return [
        (name, hidden(without_secrets(value), secrets))
        for name, value in given.items()
        if not _UNKEPT_HEADERS.fullmatch(name) and not is_credential(name)
    ]


def without_secrets(text: str) -> str:
    """Addresses in a text without the values of parameters that are credentials."""
    return _IN_ADDRESS.sub(lambda m: f"{m[1]}{m[2]}={HIDDEN}" if is_credential(unquote_plus(m[2])) else m[0], text)


def url(address: str, secrets: Iterable[str]) -> str:
    parts = urlsplit(address)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return hidden(without_secrets(plain), secrets)


def hidden(text: str, secrets: Iterable[str]) -> str:
    """However it is spelled."""
    return spelling.without(text, [place for secret in secrets for place in spelling.spans(secret, text)], HIDDEN)


def body(request: PreparedRequest, data: bytes, secrets: Iterable[str]) -> bytes:
    """An answer's body as it is kept: as it came, but for credentials that were sent, or asked for."""
    data = spelling.replaced(secrets, data, HIDDEN)
    if len(data) > _LONGEST_TOKEN_ANSWER or data.lstrip()[:1] != b"{":
        return data
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    asked = any(name == "grant_type" for name, _ in fields.named(fields.read(request)))
    tokens = {name for name in value if _TOKENS.fullmatch(name) or (asked and is_credential(name))}
    if not tokens:
        return data
    return json.dumps({name: HIDDEN if name in tokens else each for name, each in value.items()}).encode()
