"""What a request's body says by name: of a form, of a form with files, and of JSON at any depth."""

from __future__ import annotations

import email
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from requests import PreparedRequest

Pair = tuple[str, Any]


def read(request: PreparedRequest) -> Any:
    """The pairs of a form as a list of tuples, JSON's value, or None for another body.

    Of a form's part that is a file the value is a digest.
    """
    body = request.body
    if not isinstance(body, (str, bytes)):
        return None
    kind = str(request.headers.get("Content-Type", ""))
    if "x-www-form-urlencoded" in kind.lower():
        return parse_qsl(_text(body), keep_blank_values=True)
    if "multipart/form-data" in kind.lower():
        data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        return list(_parts(kind, data))
    if "json" in kind.lower():
        try:
            return json.loads(_text(body))
        except (ValueError, RecursionError):
            return None
    return None


def is_form(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, tuple) for one in value)


def named(value: Any, is_taken: Callable[[str], bool] = lambda name: False) -> Iterator[Pair]:
    """Every name in it with its value: texts and numbers, each of a list's; the whole where ``is_taken`` says so."""
    left: list[tuple[str | None, Any]] = [(None, value)]
    while left:
        name, each = left.pop()
        if name is not None and is_taken(name):
            yield name, each
        elif isinstance(each, dict):
            left += each.items()
        elif isinstance(each, list):
            left += [one if isinstance(one, tuple) else (name, one) for one in each]
        elif name is not None and each is not None and not isinstance(each, bool):
            yield name, each


def without(value: Any, is_taken: Callable[[str, Any], bool]) -> Any:
    """It without the names and values that are taken, at any depth; a list's values are asked about by no name.

    Raises RecursionError for what is nested too deep.
    """
    if isinstance(value, dict):
        return {name: without(each, is_taken) for name, each in value.items() if not is_taken(name, each)}
    if isinstance(value, list):
        pairs = [(*one, one) if isinstance(one, tuple) else ("", one, one) for one in value]
        return [without(one, is_taken) for name, each, one in pairs if not is_taken(name, each)]
    return value


def _text(body: str | bytes) -> str:
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else body


def _parts(kind: str, data: bytes) -> Iterator[Pair]:
    message = email.message_from_bytes(b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n" + data)
    for part in message.walk():
        if part.is_multipart():
            continue
        name = str(part.get_param("name", "", header="Content-Disposition"))
        content = part.get_payload(decode=True)
        content = content if isinstance(content, bytes) else b""
        if part.get_filename() is None:
            yield name, content.decode("utf-8", "replace")
        else:
            yield name, f"a file, {hashlib.sha256(content).hexdigest()}"
