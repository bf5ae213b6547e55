"""Which request is which, and what of it and of its answer a tape may hold: no credential."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from requests import PreparedRequest

from api2db.secret import HIDDEN, is_number_or_date, spellings
from api2db.sources.answer import basic_pair

# A parameter's, a field's or a header's name that means a credential; a page's token is none.
_SECRET: Final = re.compile(
    r"(?i)(^|[\W_])(api_?key|app_?id|app_?key|(access|refresh|id|auth|bearer|session)[\W_]?token|token|authorization|auth"
    r"|key|pass(word|wd|phrase)?|pwd|(client|api|app)?_?secret|sig(nature)?|jwt|session(_?id)?|credentials?|assertion"
    r"|code_verifier)$"
)
_PLACE: Final = re.compile(r"(?i)page|next|cursor|contin|sync|start|after|scroll")
_UNKEPT_HEADERS: Final = re.compile(
    r"(?i)(proxy-.*|set-cookie2?|www-authenticate|content-(encoding|length|security-policy)|transfer-encoding|connection"
    r"|keep-alive|te|trailer|upgrade|strict-transport-security|alt-svc)"
)
_IN_ADDRESS: Final = re.compile(r"([?&])([^=&\s\"'<>]{1,80})=([^&\s\"'<>]*)")
_LONGEST_TOKEN_ANSWER: Final = 65_536
_TOKENS: Final = re.compile(r"(?i)(access|refresh|id|auth|session)_?token|jwt|client_secret|password")
_SHORTEST_SECRET, _SHORTEST_WORD = 4, 8
# What is called so is often the key of a record.
_RECORDS_TOO: Final = re.compile(r"(?i)key|token|session(_?id)?|auth|app_?id")


def is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None and _PLACE.search(name) is None


def identity(request: PreparedRequest, secrets: Iterable[str]) -> str:
    """A hex digest of method, address, parameters in any order, and body; credentials left out, headers too.

    So a request is the same after a key was changed; ``withheld`` tells apart what differs in those alone.
    """
    hidden = set(secrets)
    parts = urlsplit(str(request.url))
    pairs = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not is_secret(name) and value not in hidden
    ]
    told = [
        str(request.method).upper(),
        parts.scheme,
        parts.netloc.rpartition("@")[2].lower(),
        parts.path,
        sorted(pairs),
        _body(request, hidden),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def withheld(request: PreparedRequest, secrets: Iterable[str], key: Callable[[], bytes]) -> str:
    """A digest of what ``identity`` left out by its name alone, which may be a record's key; "" for nothing.

    Without what is known to be a credential. By ``key``, called if there is anything, nobody finds out the values.
    """
    hidden = set(secrets)
    pairs = [*parse_qsl(urlsplit(str(request.url)).query, keep_blank_values=True), *(_fields(request) or ())]
    left_out = sorted(
        json.dumps([name, value]) for name, value in pairs if is_secret(name) and str(value) not in hidden
    )
    return hmac.new(key(), json.dumps(left_out).encode(), hashlib.sha256).hexdigest() if left_out else ""


def _body(request: PreparedRequest, hidden: set[str]) -> str:
    body = request.body
    if body is None:
        return ""
    if not isinstance(body, (str, bytes)):
        return "a body that is sent as it is made"
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    fields = _fields(request)
    if fields is not None:
        kept = sorted((name, value) for name, value in fields if not is_secret(name) and str(value) not in hidden)
        data = json.dumps(kept, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _fields(request: PreparedRequest) -> list[tuple[str, Any]] | None:
    """Those of a form or of a JSON object; None for another body."""
    body = request.body
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    kind = str(request.headers.get("Content-Type", "")).lower()
    if "x-www-form-urlencoded" in kind:
        return parse_qsl(text, keep_blank_values=True)
    if "json" in kind:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return list(value.items()) if isinstance(value, dict) else None
    return None


def credentials(request: PreparedRequest, secrets: Iterable[str]) -> list[str]:
    """What was sent as a credential: by name, as user and password, as a cookie, or said to be one.

    As written, quoted and escaped; longest first. What may be a word, or is a number, isn't taken if it is short.
    """
    sure, likely = list(secrets), []
    user, _, password = urlsplit(str(request.url)).netloc.rpartition("@")[0].partition(":")
    likely.append(unquote(user))
    sure.append(unquote(password))
    for name, value in (*parse_qsl(urlsplit(str(request.url)).query), *_named_in(request)):
        if is_secret(name):
            (likely if _RECORDS_TOO.fullmatch(name) else sure).append(value)
    for name, header in request.headers.items():
        text = header.decode("latin-1") if isinstance(header, bytes) else str(header)
        if name.lower() == "cookie":
            likely += [text, *(one.partition("=")[2].strip() for one in text.split(";"))]
        elif is_secret(name):
            user, password = basic_pair(text)[:2] or ("", "")
            sure += [text, text.rpartition(" ")[2], password]
            likely.append(user)
    likely += [one for one in sure if is_number_or_date(one)]
    taken = {one for one in sure if len(one) >= _SHORTEST_SECRET and not is_number_or_date(one)}
    taken |= {one for one in likely if len(one) >= _SHORTEST_WORD}
    return sorted({form for one in taken for form in spellings(one)}, key=lambda one: (-len(one), one))


def _named_in(request: PreparedRequest) -> Iterator[tuple[str, str]]:
    """Fields of a form or of a JSON object, of objects in it too, whose values are texts or numbers."""
    left = list(_fields(request) or ())
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left += value.items()
        elif isinstance(value, list):
            left += [(name, each) for each in value]
        elif value is not None and not isinstance(value, bool):
            yield name, str(value)


def kept_headers(headers: Mapping[str, str], secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Of an answer: without cookies, what was of the way, and credentials."""
    return [
        (name, hidden(without_secrets(value), secrets))
        for name, value in headers.items()
        if not _UNKEPT_HEADERS.fullmatch(name) and not is_secret(name)
    ]


def without_secrets(text: str) -> str:
    """Addresses in a text without the values of parameters that are credentials."""
    return _IN_ADDRESS.sub(lambda m: f"{m[1]}{m[2]}={HIDDEN}" if is_secret(m[2]) else m[0], text)


def kept_url(url: str, secrets: Iterable[str]) -> str:
    parts = urlsplit(url)
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return hidden(without_secrets(plain), secrets)


def hidden(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def kept_body(request: PreparedRequest, body: bytes, secrets: Iterable[str]) -> bytes:
    """An answer's body as it is kept: as it came, but for credentials that were sent, or asked for."""
    for secret in secrets:
        body = body.replace(secret.encode(), HIDDEN.encode())
    if len(body) > _LONGEST_TOKEN_ANSWER or body.lstrip()[:1] != b"{":
        return body
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body
    asked = any(name == "grant_type" for name, _ in _fields(request) or ())
    tokens = {name for name in value if _TOKENS.fullmatch(name) or (asked and is_secret(name))}
    if not tokens:
        return body
    return json.dumps({name: HIDDEN if name in tokens else each for name, each in value.items()}).encode()
