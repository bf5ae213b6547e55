"""The answer that a written collector is tested against: the first one, cut to some records where that can be done."""

from __future__ import annotations

import base64
from typing import Any, Final

from api2db.probing.endpoint import Findings
from api2db.secret import shown_url
from api2db.sources.rest.records import At

_KEPT_HEADERS: Final = ("Content-Type", "Link", "ETag", "Last-Modified")
_RECORDED: Final = 25
"""So many records of the first page are kept."""


def recording(found: Findings) -> tuple[dict[str, Any], int]:
    """The first answer as the test reads it, cut to some records where that can be done; and how many it has."""
    kept = len(found.records)
    if found.body.format == "json":
        body = found.body.of(found.answer)
        if isinstance(found.selection.select, At):
            body, kept = cut(body, found.selection.select.path, _RECORDED), min(kept, _RECORDED)
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


def cut(body: Any, path: str, most: int) -> Any:
    """The same with at most so many items in the list at a path."""
    if not path:
        return body[:most] if isinstance(body, list) else body
    key, _, rest = path.partition(".")
    if not isinstance(body, dict) or key not in body:
        return body
    return {**body, key: cut(body[key], rest, most)}
