"""A JSON API on 127.0.0.1 that a test scripts: records by page or ``since``, and ways to misbehave."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

Record = dict[str, Any]
DRIP_BYTES = 1_000_000  # announced of a body that drips


@dataclass(frozen=True)
class Request:
    path: str
    params: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """One scripted answer.

    truncated  the connection ends half-way through the body that Content-Length announced
    reset      the connection is reset instead of answered
    hang       nothing is sent until ``HttpApi.release``; then the rest of this answer
    drip       "headers" or "body" come byte by byte, without end in sight: as slowly as one likes to wait for
    announced  the Content-Length that is sent, whatever the body's; -1: none, the body ends with the connection
    parts      the body, part by part as it is made, however much it is
    """

    status: int = 200
    body: bytes | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    truncated: bool = False
    reset: bool = False
    hang: bool = False
    drip: Literal["", "headers", "body"] = ""
    announced: int | None = None
    parts: Callable[[], Iterable[bytes]] | None = None


OK = Answer()
SERVER_ERROR = Answer(500, b'{"error": "out of order"}')
TOO_MANY = Answer(429, b'{"error": "slow down"}', headers=(("Retry-After", "1"),))
HTML = Answer(200, b"<html><body>Sign in</body></html>", "text/html")
TRUNCATED = Answer(truncated=True)
RESET = Answer(reset=True)
HANG = Answer(hang=True)
SLOW_HEADERS = Answer(drip="headers")
SLOW_BODY = Answer(drip="body")


class HttpApi:
    """``GET <url>?page=1&size=100`` or ``GET <url>?since=<value>`` answers a JSON list of records.

    Pages count from 1; past the last one the list is empty. ``since`` gives the records whose ``field``
    (``updated``) is greater; compared as numbers where both are, else as text. Without either: all.
    Scripted answers are used up one a request, before the ordinary ones. Safe to use from any thread.
    """

    def __init__(self, records: list[Record] | None = None, *, since_field: str = "updated") -> None:
        self.since_field = since_field
        self.failing: dict[str, Answer] = {}  # path -> what it always gets; set before it is asked for
        self._records = list(records or [])
        self._script: deque[Answer] = deque()
        self._always: Answer | None = None
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._hold = threading.Event()
        self._closing = threading.Event()
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/records"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> HttpApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._changed:
            self._script.clear()
        self._closing.set()
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def requests(self) -> list[Request]:
        with self._changed:
            return list(self._requests)

    def count(self) -> int:
        """How many records there are."""
        with self._changed:
            return len(self._records)

    def add(self, *records: Record) -> None:
        with self._changed:
            self._records += records

    def replace(self, records: list[Record]) -> None:
        with self._changed:
            self._records = list(records)

    def script(self, *answers: Answer) -> None:
        """The next requests get these, one each."""
        with self._changed:
            self._script += answers

    def always(self, answer: Answer | None) -> None:
        """Every request gets this once the script is used up; None: ordinary answers again."""
        with self._changed:
            self._always = answer

    def hang(self) -> None:
        """Every request waits from now on, until ``release``."""
        self.always(HANG)

    def release(self) -> None:
        """What hangs is answered now; later requests hang only by a new ``hang`` or ``script(HANG)``."""
        with self._changed:
            if self._always is HANG:
                self._always = None
            self._hold.set()
            self._hold = threading.Event()

    def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> list[Request]:
        """Wait until ``count`` requests have arrived in all (answered or not)."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s):
                raise TimeoutError(f"{len(self._requests)} of {count} requests arrived in {timeout_s} s")
            return list(self._requests)

    def closing(self, timeout_s: float) -> bool:
        """For the handler: wait a moment, and whether the server closes meanwhile."""
        return self._closing.wait(timeout_s)

    def answer_to(self, request: Request) -> tuple[Answer, list[Record]]:
        """For the handler: note the request; its answer, and the records an ordinary one holds."""
        with self._changed:
            self._requests.append(request)
            answer = self.failing.get(request.path)
            if answer is None:
                answer = self._script.popleft() if self._script else self._always or OK
            hold = self._hold
            self._changed.notify_all()
        if answer.hang:
            hold.wait()
        with self._changed:
            return answer, self._select(request.params)

    def _select(self, params: dict[str, str]) -> list[Record]:
        chosen = list(self._records)
        if "since" in params:
            chosen = [record for record in chosen if _later(record.get(self.since_field), params["since"])]
        if "page" in params:
            size = int(params.get("size", "100"))
            start = (int(params["page"]) - 1) * size
            chosen = chosen[start : start + size]
        return chosen


def _later(value: object, since: str) -> bool:
    with contextlib.suppress(ValueError, TypeError):
        return float(value) > float(since)  # type: ignore[arg-type]
    return str(value) > since


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    api: ClassVar[HttpApi]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        params = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        answer, records = self.api.answer_to(Request(parts.path, params, dict(self.headers), self._body()))
        if answer.reset:
            # Lingering for 0 seconds makes close() send RST in place of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        body = json.dumps(records).encode() if answer.body is None else answer.body
        if answer.drip == "headers":
            self.send_response_only(answer.status)
            self.flush_headers()
            self._drip(b"X-Slow: ")
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        announced = len(body) if answer.announced is None else answer.announced
        if announced >= 0 and not answer.parts:
            self.send_header("Content-Length", str(DRIP_BYTES if answer.drip else announced))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if answer.drip:
            self._drip(b"")
            return
        for part in answer.parts() if answer.parts else ():
            self.wfile.write(part)
        self.wfile.write(body[: len(body) // 2] if answer.truncated else body)
        self.wfile.flush()
        ends = answer.truncated or announced != len(body) or answer.parts is not None
        self.close_connection = self.close_connection or ends

    def _drip(self, first: bytes) -> None:
        """One byte after the other, until the client has had enough or the server closes."""
        self.wfile.write(first)
        while not self.api.closing(0.02):
            self.wfile.write(b" ")
            self.wfile.flush()
        self.close_connection = True

    do_POST = do_GET  # a webhook: what is sent is in ``Request.body``

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted, not printed."""
