"""What an API says in an answer of status 200 that holds an error in place of records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_ERRORS: Final = frozenset(("error", "errors", "fault", "exception", "errormessage", "errordescription", "faultstring"))
_MESSAGES: Final = frozenset(("message", "messages", "msg", "detail", "details", "reason"))
_BESIDE: Final = frozenset(
    (
        *("code", "documentationurl", "errorcode", "faultcode", "ok", "path", "requestid", "status", "statuscode"),
        *("success", "timestamp", "title", "type"),
    )
)
"""What an object that is nothing but an error message may have besides."""
_FLAGS: Final = ("ok", "success")
_DEPTH: Final = 4

_encode = msgspec.json.Encoder(enc_hook=str).encode


def complaint(body: object) -> str | None:
    """As JSON what the answer has under the usual names of errors, at its top or the only way down; None without."""
    for _ in range(_DEPTH):
        if isinstance(body, list):
            if len(body) != 1:
                return None
            body = body[0]
            continue
        if not isinstance(body, Mapping):
            return None
        said = _said(body)
        if said:
            return _encode(said).decode()
        further = [value for value in body.values() if isinstance(value, (Mapping, list))]
        if len(further) != 1:
            return None
        body = further[0]
    return None


def is_complaint(body: object) -> bool:
    """Is it an error message, and no record: a flag says so, or it has nothing else?"""
    if not isinstance(body, Mapping) or not _said(body):
        return False
    names = {_name(key): value for key, value in body.items()}
    return any(names.get(flag) is False for flag in _FLAGS) or names.keys() <= _ERRORS | _MESSAGES | _BESIDE


def is_listed_complaint(body: list[Any]) -> bool:
    """Is it a list of nothing but an error: ``[{"message": [{"id": "120"}]}]``? A message of text may be a record."""
    if len(body) != 1 or not isinstance(body[0], Mapping) or len(body[0]) != 1:
        return False
    (said,) = _said(body[0]).items() or [("", None)]
    return _name(said[0]) in _ERRORS or isinstance(said[1], (Mapping, list))


def _said(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value and _name(key) in _ERRORS | _MESSAGES}


def _name(key: object) -> str:
    """Without a namespace, in one spelling: ``soap:Fault``, ``error_message``, ``errorMessage``."""
    return str(key).rpartition(":")[2].lower().replace("_", "").replace("-", "")
