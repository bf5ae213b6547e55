"""Asks: a request in, its answer out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.http import Http
    from api2db.sources.rest.ask import Ask


@dataclass
class Fetched:
    """``answer`` is None where nothing changed since a poll that was accepted whole; ``memo`` is what it remembered."""

    answer: Answer | None
    memo: object = None

    def remember(self, memo: object) -> None:
        """A JSON value to be given with the answer that says nothing changed."""
        self.memo = memo


@dataclass
class Fetcher:
    """Sends each thread's requests through a session of its own. Raises HttpError."""

    auth: object = None
    home: str | None = None
    rate: str | None = None
    concurrency: int | None = None
    conditional: bool = True
    retry: object = None
    http: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sessions = threading.local()

    def fetch(self, ask: Ask, *, conditional: bool = True, repeatable: bool | None = None) -> Fetched:
        params, headers = list(ask.params), dict(ask.headers)
        answer = self._http().request(ask.method, ask.url, params=params, headers=headers, data=ask.body)
        return Fetched(answer)

    def _http(self) -> Http:
        from api2db.sources.http import Http

        if not hasattr(self._sessions, "http"):
            self._sessions.http = Http(**self.http)
        made: Http = self._sessions.http
        return made
