"""The answer that a written collector is tested against: the first one, cut to some records where that can be done."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api2db.form.path import parse_path
from api2db.probing.endpoint import Findings
from api2db.secret import shown_url
from api2db.sources.rest.records import At

_KEPT_HEADERS: Final = ("Content-Type", "Link", "ETag", "Last-Modified")
_RECORDED: Final = 25
"""So many records of the first page are kept."""
_COUNTS: Final = re.compile(r"total|count|size|length|num|found|match|filtered|result|record|item|hits|returned", re.I)
"""In the name of what may say how many records there are, or in that of an object around it."""


def recording(found: Findings) -> tuple[dict[str, Any], int]:
    """The first answer as the test reads it, cut to some records where that can be done; and how many it has."""
    kept = len(found.records)
    if found.body.format == "json":
        body = found.body.of(found.answer)
        if isinstance(found.selection.select, At):
            path = found.selection.select.path
            body = cut(body, [part.key for part in parse_path(path or ".", ())[0].parts], _RECORDED)
            kept = len(found.selection.records(body))
            body = recounted(body, len(found.records), kept)
        content: dict[str, Any] = {"body": body}
    else:
        data, rows = cut_lines(found.answer.content, found.body.format, _RECORDED)
        content, kept = as_recorded(data), kept if rows is None else min(kept, rows)
    headers = {name: found.answer.headers[name] for name in _KEPT_HEADERS if name in found.answer.headers}
    return {"url": shown_url(found.url), "status": found.answer.status_code, "headers": headers, **content}, kept


def cut_lines(data: bytes, form: str, most: int) -> tuple[bytes, int | None]:
    """The first so many records, where each is a line; else all, and None."""
    lines = data.splitlines(keepends=True)
    start = b"".join(lines[: most + (form != "ndjson")])
    if (
        form == "xml"
        or b'"' in start * (form != "ndjson")
        or b"\0" in start
        or b"\x1e" in start
        or not all(map(bytes.strip, lines))
    ):
        return data, None
    return start, most


def as_recorded(data: bytes) -> dict[str, str]:
    """A body as a file of JSON holds it."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def cut(body: Any, keys: Sequence[str], most: int) -> Any:
    """The same with at most so many items in the list at the keys of a path."""
    if not keys:
        return body[:most] if isinstance(body, list) else body
    key, *rest = keys
    if isinstance(body, Mapping) and key in body:
        return {**body, key: cut(body[key], rest, most)}
    return body


def recounted(value: Any, was: int, now: int, name: str = "") -> Any:
    """The same where what counts the records, beside them or on the way to them, says how many are left of them.

    Else the collector would miss those that were cut off.
    """
    if isinstance(value, Mapping):
        return {key: recounted(inner, was, now, f"{name}.{key}") for key, inner in value.items()}
    if not _COUNTS.search(name) or isinstance(value, bool):
        return value
    return now if value == was else str(now) if value == str(was) else value
