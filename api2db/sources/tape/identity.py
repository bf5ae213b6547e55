"""Which request is which on a tape, without its credentials."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl, urlsplit

from requests import PreparedRequest

from api2db.credentialname import is_credential
from api2db.sources.noticed import put_in
from api2db.sources.tape import fields


def identity(request: PreparedRequest, secrets: Iterable[str]) -> str:
    """A hex digest of method, address, parameters in any order, and body; credentials left out, headers too.

    So a request is the same after a key was changed; ``withheld`` tells apart what differs in those alone. What
    ``auth`` put into the address is left out whatever it is: a time and a number for once belong to a signature.
    """
    hidden = set(secrets)
    parts = urlsplit(str(request.url))
    told = [
        str(request.method).upper(),
        parts.scheme,
        parts.netloc.rpartition("@")[2].lower(),
        parts.path,
        sorted((name, value) for name, value in _asked(request) if not is_credential(name) and value not in hidden),
        _body(request, hidden),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def withheld(request: PreparedRequest, secrets: Iterable[str], key: Callable[[], bytes]) -> str:
    """A digest of what ``identity`` left out by its name alone, which may be a record's key; "" for nothing.

    Without what is known to be a credential. By ``key``, called if there is anything, nobody finds out the values.
    """
    hidden = set(secrets)
    pairs = [*_asked(request), *fields.named(fields.read(request), is_credential)]
    left_out = sorted(
        json.dumps([name, value], sort_keys=True)
        for name, value in pairs
        if is_credential(name) and str(value) not in hidden
    )
    return hmac.new(key(), json.dumps(left_out).encode(), hashlib.sha256).hexdigest() if left_out else ""


def _asked(request: PreparedRequest) -> list[tuple[str, str]]:
    put = put_in(request)
    pairs = parse_qsl(urlsplit(str(request.url)).query, keep_blank_values=True)
    return [pair for pair in pairs if pair not in put]


def _body(request: PreparedRequest, hidden: set[str]) -> str:
    body = request.body
    if body is None:
        return ""
    if not isinstance(body, (str, bytes)):
        return "a body that is sent as it is made"
    data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    value = fields.read(request)
    if value is not None:

        def is_left_out(name: str, each: object) -> bool:
            return is_credential(name) or (not isinstance(each, (dict, list)) and str(each) in hidden)

        try:
            kept = fields.without(value if fields.is_form(value) else [value], is_left_out)
            # A form's fields come in any order.
            data = json.dumps(sorted(kept) if fields.is_form(kept) else kept, sort_keys=True).encode()
        except RecursionError:
            return "a body that is nested too deep"
    return hashlib.sha256(data).hexdigest()
