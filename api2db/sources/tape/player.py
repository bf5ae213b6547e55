"""A poll's tape instead of the network: each request gets what it got then, and none is sent."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from api2db.errors import StoreError
from api2db.sources.answer import Answer, HttpError, asked
from api2db.sources.tape.frames import Head, body_at, frames
from api2db.sources.tape.identity import identity, withheld
from api2db.sources.tape.storekey import kept_key


@dataclass
class _Taped:
    """One request's answer. ``whole``: its body was read to the end; ``broke``: why it wasn't."""

    head: Head
    bodies: list[int] = field(default_factory=list)
    whole: bool = False
    broke: str = ""


class Player:
    """One poll, played back. Any thread. Raises StoreError for what is no tape.

    since    what the function was called with: a JSON value
    outcome  of the poll, "ok" or "failed"; "" where the tape was cut short
    missing  the first request that isn't on it, as people may read it; "" while there was none
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._left: dict[str, dict[str, deque[_Taped]]] = defaultdict(dict)  # by identity, and what was withheld
        self._taken_for: dict[str, str] = {}  # identity -> what is withheld now, where it was changed since
        self.since: object = None
        self.outcome = ""
        self.missing = ""
        by_number: dict[int, _Taped] = {}
        try:
            self._key = kept_key(path)
            for head, at in frames(path):
                self._take(head, at, by_number)
        except OSError as error:
            raise StoreError(f"the tape {path} can't be read: {error.strerror}") from error

    def _take(self, head: Head, at: int, by_number: dict[int, _Taped]) -> None:
        kind = head["kind"]
        if kind == "poll":
            self.since = head["since"]
        elif kind == "ended":
            self.outcome = head["outcome"]
        elif kind in ("answer", "failed"):
            taped = by_number[head["n"]] = _Taped(head)
            self._left[head["identity"]].setdefault(head.get("withheld", ""), deque()).append(taped)
        elif kind == "body":
            by_number[head["n"]].bodies.append(at)
        elif kind == "end":
            by_number[head["n"]].whole = True
        elif kind == "broke":
            by_number[head["n"]].broke = head["error"]

    def send(
        self, request: PreparedRequest, secrets: tuple[str, ...], ask: Callable[[], Answer], *, stream: bool
    ) -> Answer:
        """What this request got then; of equal ones in their order. ``ask`` isn't called.

        Raises HttpError where it failed then, and where it isn't on the tape.
        """
        with self._lock:
            taped = self._next(identity(request, secrets), withheld(request, secrets, lambda: self._key))
            if taped is None and not self.missing:
                self.missing = asked(request)
        if taped is None:
            raise HttpError(
                f"{asked(request)}: this request isn't on the tape of the poll, and"
                " nothing is asked of the API while it is rebuilt",
                request=request,
            )
        if taped.head["kind"] == "failed":
            failed = HttpError(str(taped.head["error"]), request=request)
            failed.transient = True  # as far as anybody knows; what didn't try again then has nothing more on its tape
            raise failed
        answer = self._answer(request, taped)
        if not stream:
            _ = answer.content
        return answer

    def _next(self, same: str, held_back: str) -> _Taped | None:
        """Of just this request; or of all that differ in a credential alone, if that was one then, and is one now."""
        left = self._left[same]
        if left and held_back not in left:
            if len(left) > 1 or self._taken_for.setdefault(same, held_back) != held_back:
                return None
            held_back = next(iter(left))
        queue = left.get(held_back)
        return queue.popleft() if queue else None

    def _answer(self, request: PreparedRequest, taped: _Taped) -> Answer:
        head = taped.head
        return answer_of(
            request,
            self._body(request, taped),
            status=head["status"],
            reason=head["reason"],
            headers=head["headers"],
            encoding=head["encoding"],
            url=head["url"],
        )

    def _body(self, request: PreparedRequest, taped: _Taped) -> Iterator[bytes]:
        for at in taped.bodies:
            yield body_at(self._path, at)
        if not taped.whole:
            raise HttpError(
                taped.broke or f"{asked(request)}: the tape has only a part of its body",
                request=request,
            )


def answer_of(
    request: PreparedRequest,
    pieces: Iterator[bytes],
    *,
    status: int,
    headers: Mapping[str, str],
    encoding: str | None,
    reason: str = "",
    url: str | None = None,
) -> Answer:
    """An answer made of what is known of one. ``pieces``: its body, as it is read; ``url``: the request's if None."""
    answer = Answer()
    answer.status_code = status
    answer.reason = reason
    answer.headers = CaseInsensitiveDict(headers)
    answer.encoding = encoding
    answer.url = str(request.url) if url is None else url
    answer.request = request
    answer.raw = _Raw(pieces)
    return answer


class _Raw:
    """A body as requests reads it, a piece of the tape at a time. Without ``stream`` requests calls ``read``."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int | None = None, **_: Any) -> bytes:
        if size is None:
            return self._held + b"".join(self._pieces)
        data = self._held or next(self._pieces, b"")
        self._held = data[size:]
        return data[:size]

    def close(self) -> None:
        """Nothing is held open."""

    release_conn = close
