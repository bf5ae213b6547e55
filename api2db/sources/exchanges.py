"""What was asked over HTTP and answered, for somebody who watches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from requests import PreparedRequest, Response

from api2db.secret import redact, shown_url
from api2db.sources.noticed import secrets_in


@dataclass
class Exchange:
    """One request and its answer; each redirect is one of its own.

    url       as errors show it: no secrets
    seconds   until the answer was read, or its headers where the body is streamed; None while it is awaited
    answer    None where none came
    """

    method: str
    url: str
    began_s: float
    seconds: float | None = None
    answer: Response | None = None

    @property
    def status(self) -> int | None:
        return None if self.answer is None else self.answer.status_code

    @property
    def size(self) -> int | None:
        """Bytes of the body, decompressed; of one that was streamed, as they came; None without an answer."""
        if self.answer is None:
            return None
        content = getattr(self.answer, "_content", False)
        return len(content) if isinstance(content, bytes) else int(self.answer.raw.tell())


@dataclass
class Watch:
    """The requests of ``Http`` that begin while it is the context's ``WATCH``, in their order. One thread's."""

    exchanges: list[Exchange] = field(default_factory=list)

    def begins(self, request: PreparedRequest) -> Exchange:
        self.ends()
        shown = redact(shown_url(str(request.url)), secrets_in(request))
        self.exchanges.append(Exchange(str(request.method), shown, time.monotonic()))
        return self.exchanges[-1]

    def ends(self) -> None:
        """Of the last one that isn't yet, the time is up."""
        if self.exchanges and self.exchanges[-1].seconds is None:
            self.exchanges[-1].seconds = time.monotonic() - self.exchanges[-1].began_s


WATCH: ContextVar[Watch | None] = ContextVar("api2db_watch", default=None)


@contextmanager
def watched(request: PreparedRequest) -> Iterator[Exchange]:
    """A request goes out; whoever watches sees the exchange."""
    watch = WATCH.get()
    yield Exchange("", "", 0.0) if watch is None else watch.begins(request)


def read() -> None:
    """The answer is read, or its headers are."""
    watch = WATCH.get()
    if watch is not None:
        watch.ends()
