"""Which request is which on a tape, without its credentials."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from requests import PreparedRequest

from api2db.credentialname import is_credential


def identity(request: PreparedRequest, secrets: Iterable[str]) -> str:
    """A hex digest of method, address, parameters in any order, and body; credentials left out, headers too.

    So a request is the same after a key was changed; ``withheld`` tells apart what differs in those alone.
    """
    hidden = set(secrets)
    parts = urlsplit(str(request.url))
    pairs = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not is_credential(name) and value not in hidden
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
    pairs = [*parse_qsl(urlsplit(str(request.url)).query, keep_blank_values=True), *(fields(request) or ())]
    left_out = sorted(
        json.dumps([name, value]) for name, value in pairs if is_credential(name) and str(value) not in hidden
    )
    return hmac.new(key(), json.dumps(left_out).encode(), hashlib.sha256).hexdigest() if left_out else ""


def _body(request: PreparedRequest, hidden: set[str]) -> str:
    body = request.body
    if body is None:
        return ""
    if not isinstance(body, (str, bytes)):
        return "a body that is sent as it is made"
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    named = fields(request)
    if named is not None:
        kept = sorted((name, value) for name, value in named if not is_credential(name) and str(value) not in hidden)
        data = json.dumps(kept, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def fields(request: PreparedRequest) -> list[tuple[str, Any]] | None:
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
