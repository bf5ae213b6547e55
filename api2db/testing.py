"""For the tests of a project: its collectors against answers that were recorded, without the API."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from api2db.collector import Collector
from api2db.discovery import find_in
from api2db.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from requests import PreparedRequest
    from urllib3.response import HTTPResponse

__all__ = ["poll_recorded"]


def poll_recorded(collector: Collector | Path, recorded: Path) -> pa.Table:
    """The table that the first item of a poll becomes when ``recorded`` is what the API answers, whatever is asked.

    collector  or the file that declares it, and nothing else
    recorded   JSON: ``{"status": 200, "headers": {...}, "body": <what the API answered>}``

    Columns are of the types the collector's form gives them. Nothing is stored. For functions that ask by ``Rest`` or
    ``Http``. Raises what the collector raises, ConfigError for files that can't be used.
    """
    from api2db.form import InferredForm
    from api2db.sources.deadline import STAND_IN
    from api2db.sources.payload import items, shape, take_cursor

    one = collector if isinstance(collector, Collector) else _only(collector)
    cursor = one.cursor
    answer = json.loads(recorded.read_text(encoding="utf-8"))
    token = STAND_IN.set(lambda request: _answer(answer, request))
    try:
        item = next(items(one.poll(None if cursor is None else cursor.since(None))), None)
    finally:
        STAND_IN.reset(token)
    shaped = shape(take_cursor(item)[0], one.api_form() or InferredForm({}))
    if shaped is None:
        raise SourceError(f"collector {one.name}: the recorded answer has no rows")
    return shaped.table


def _only(path: Path) -> Collector:
    found = find_in(path)
    if len(found) != 1:
        raise ConfigError(f"{path} declares {len(found)} collectors: give the one that is meant")
    return found[0]


def _answer(recorded: dict[str, object], request: PreparedRequest) -> HTTPResponse:
    from urllib3.response import HTTPResponse

    body = json.dumps(recorded["body"]).encode()
    headers = recorded.get("headers")
    return HTTPResponse(
        io.BytesIO(body),
        headers=headers if isinstance(headers, dict) else {},
        status=int(str(recorded.get("status", 200))),
        preload_content=False,
        request_url=request.url,
        request_method=request.method,
    )
