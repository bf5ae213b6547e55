"""For the tests of a project: its collectors against answers that were recorded, without the API."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api2db.collector import Collector
from api2db.discovery import find_in
from api2db.errors import ConfigError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from requests import PreparedRequest

    from api2db.sources.answer import Answer

__all__ = ["poll_recorded"]

_CHARSET: Final = re.compile(r";\s*charset\s*=[^;]*", re.IGNORECASE)


def poll_recorded(collector: Collector | Path, recorded: Path) -> pa.Table:
    """The table that the first item of a poll becomes when ``recorded`` is what the API answers, whatever is asked.

    collector  or the file that declares it, and nothing else
    recorded   JSON: ``{"status": 200, "headers": {...}, "body": <what the API answered>}``; where that isn't JSON
               ``"text"``, or the bytes as ``"base64"``, in place of ``"body"``

    Columns are of the types the collector's form gives them. Nothing is stored, and no credentials are needed. For
    functions that ask by ``Rest`` or ``Http``. Raises what the collector raises, ConfigError for files that can't be
    used.
    """
    from api2db.sources.payload import items, shape, take_cursor
    from api2db.sources.tape.recorder import TAPE

    one = collector if isinstance(collector, Collector) else _only(collector)
    token = TAPE.set(_Recorded(json.loads(recorded.read_text(encoding="utf-8"))))
    try:
        item = next(items(one.poll(None if one.cursor is None else one.cursor.since(None))), None)
    finally:
        TAPE.reset(token)
    shaped = shape(take_cursor(item)[0], one.api_form() or one.found_form({}))
    if shaped is None:
        raise SourceError(f"collector {one.name}: the recorded answer has no rows")
    return shaped.table


def _only(path: Path) -> Collector:
    found = find_in(path)
    if len(found) != 1:
        raise ConfigError(f"{path} declares {len(found)} collectors: give the one that is meant")
    return found[0]


class _Recorded:
    """One answer for every request: a ``Tape``."""

    is_one_answer = True

    def __init__(self, recorded: dict[str, Any]) -> None:
        self._recorded = recorded

    def send(
        self, request: PreparedRequest, secrets: tuple[str, ...], ask: Callable[[], Answer], *, stream: bool
    ) -> Answer:
        from api2db.sources.tape.player import answer_of

        body = self._body()
        status, headers = self._recorded.get("status", 200), self._recorded.get("headers", {})
        if "body" in self._recorded:  # the charset that the API sent it in isn't this one's
            headers = {
                name: _CHARSET.sub("", value) if name.lower() == "content-type" else value
                for name, value in headers.items()
            }
        answer = answer_of(request, iter([body]), status=status, headers=headers, encoding="utf-8")
        if not stream:
            _ = answer.content
        return answer

    def _body(self) -> bytes:
        if "text" in self._recorded:
            return str(self._recorded["text"]).encode()
        if "base64" in self._recorded:
            return base64.b64decode(self._recorded["base64"])
        return json.dumps(self._recorded["body"]).encode()
