"""What stands before the emulator in tests: what Google does and it doesn't, and everything that goes wrong there.

Tokens are given out and asked for; load jobs are counted by table; JSON columns in parquet are refused, in Google's
words, and so, where a test asks for it (``strict``), are jobs for another table than there is. ``fail`` has requests
meet a ``Trouble``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMEOUT_S = 60.0
_HOP = {"connection", "transfer-encoding", "content-length", "date", "server", "keep-alive"}


@dataclass(frozen=True)
class Trouble:
    """status, reason  the answer in place of the emulator's
    passes           the request is passed on all the same: what it asks for is done, and nobody hears of it
    status 0         the connection is cut instead of an answer
    also             called then: after the request was passed on, if it is, and before the answer
    """

    status: int
    reason: str = ""
    passes: bool = False
    also: Callable[[], object] | None = None


UNAVAILABLE = Trouble(503, "backendError")
RATE_LIMITED = Trouble(403, "rateLimitExceeded")
TOO_MANY = Trouble(429, "rateLimitExceeded")
FORBIDDEN = Trouble(403, "accessDenied")
DROPPED = Trouble(0)
ANSWER_LOST = Trouble(0, passes=True)


@dataclass(frozen=True)
class Seen:
    """A request. ``job`` of one that starts a job: its configuration and reference."""

    method: str
    path: str
    job: dict[str, Any]

    @property
    def is_load(self) -> bool:
        return "load" in self.job.get("configuration", {})

    @property
    def is_query(self) -> bool:
        return "query" in self.job.get("configuration", {})

    @property
    def starts_a_job(self) -> bool:
        return bool(self.job)

    @property
    def table(self) -> str:
        """Of a load."""
        at = self.job["configuration"]["load"]["destinationTable"]
        return f"{at['datasetId']}.{at['tableId']}"


class GoogleFront:
    """An HTTP server before ``host:port``. Any thread.

    seen   requests, in order
    loads  jobs that were started, by table
    strict jobs for columns of another type than the table's are refused; it costs a request more for each
    poison bytes that no job may load, as if the data were bad in a way that only Google sees; empty: none
    """

    def __init__(self, host: str, port: int) -> None:
        self.upstream = host, port
        self.seen: list[Seen] = []
        self.loads: Counter[str] = Counter()
        self._troubles: list[tuple[Callable[[Seen], bool], Trouble, list[int]]] = []
        self.poison = b""
        self.strict = False
        self._token = 1
        self._refuse_tokens = False
        self._lock = threading.Lock()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                front._handle(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_arguments: Any) -> None:
                """Tests look at ``seen``."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that was killed, or gave up, is no error of ours."""
                if not isinstance(sys.exception(), ConnectionError):
                    super().handle_error(request, client_address)  # type: ignore[arg-type]

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIMEOUT_S)

    def fail(self, trouble: Trouble, which: Callable[[Seen], bool] = lambda seen: True, times: int = 1) -> None:
        """The next so many of those requests meet it."""
        with self._lock:
            self._troubles.append((which, trouble, [times]))

    def calm(self) -> None:
        """No troubles any more, and nothing was seen."""
        with self._lock:
            self._troubles.clear()
            self.seen.clear()
            self._refuse_tokens = False
            self.poison = b""
            self.strict = False

    def expire_tokens(self) -> None:
        """Those given out so far are no longer good."""
        with self._lock:
            self._token += 1

    def refuse_tokens(self, refuse: bool = True) -> None:
        """The key is deleted: nobody gets a token for it."""
        with self._lock:
            self._refuse_tokens = refuse
            self._token += 1

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        size = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(size)
        if len(body) < size:
            request.close_connection = True  # a client that was killed: half a request is none
            return
        if request.path == "/token":
            self._give_token(request)
            return
        seen = Seen(request.command, request.path, _job_in(request, body))
        with self._lock:
            self.seen.append(seen)
            wanted = f"Bearer token-{self._token}"
            trouble = next((each for each in self._troubles if each[2][0] and each[0](seen)), None)
            if trouble is not None:
                trouble[2][0] -= 1
        if request.headers.get("Authorization") != wanted:
            _answer(request, 401, _error(401, "authError", "Request had invalid authentication credentials."))
            return
        if trouble is not None and not trouble[1].passes:
            self._meet(request, trouble[1])
            return
        refusal = _refusal(seen) or (self._changed(request, seen) if self.strict and seen.is_load else "")
        if seen.is_load and self.poison and self.poison in body:
            refusal = "Error while reading data, error message: there is poison in it"
        if refusal:
            _answer(request, 400, _error(400, "invalid", refusal))
            return
        status, headers, answer = self._passed_on(request, body)
        if seen.is_load and status == 200:
            self.loads[seen.table] += 1
        if trouble is not None:
            self._meet(request, trouble[1])
            return
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _give_token(self, request: BaseHTTPRequestHandler) -> None:
        with self._lock:
            number, refuse = self._token, self._refuse_tokens
        if refuse:
            _answer(request, 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        else:
            _answer(request, 200, {"access_token": f"token-{number}", "expires_in": 3600, "token_type": "Bearer"})

    def _meet(self, request: BaseHTTPRequestHandler, trouble: Trouble) -> None:
        if trouble.also is not None:
            trouble.also()
        if trouble.status:
            _answer(request, trouble.status, _error(trouble.status, trouble.reason, "made to fail by the test"))
            return
        request.close_connection = True
        with contextlib.suppress(OSError):
            request.connection.shutdown(2)

    def _changed(self, request: BaseHTTPRequestHandler, seen: Seen) -> str:
        """What Google says to a load whose columns are of other types than the table's; the emulator casts."""
        load = seen.job["configuration"]["load"]
        at = load["destinationTable"]
        path = f"/bigquery/v2/projects/{at['projectId']}/datasets/{at['datasetId']}/tables/{at['tableId']}"
        status, _, answer = self._passed_on(request, b"", ("GET", path))
        known = {} if status != 200 else {each["name"]: each["type"] for each in json.loads(answer)["schema"]["fields"]}
        for each in load.get("schema", {}).get("fields", []):
            was = known.get(each["name"], each["type"])
            if was != each["type"]:
                table = f"{at['projectId']}:{seen.table}"
                changed = f"Field {each['name']} has changed type from {was} to {each['type']}"
                return f"Provided Schema does not match Table {table}. {changed}"
        return ""

    def _passed_on(
        self, request: BaseHTTPRequestHandler, body: bytes, what: tuple[str, str] | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The emulator's answer, to ``what`` (method and path) instead of the request where it is given."""
        upstream = http.client.HTTPConnection(*self.upstream, timeout=TIMEOUT_S)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        headers["Accept-Encoding"] = "identity"
        try:
            method, path = what or (request.command, request.path)
            upstream.request(method, path, body or None, headers)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except (ConnectionError, http.client.HTTPException):
            return 502, [], json.dumps(_error(502, "backendError", "the emulator is away")).encode()
        finally:
            upstream.close()


def _answer(request: BaseHTTPRequestHandler, status: int, about: dict[str, Any]) -> None:
    body = json.dumps(about).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _error(status: int, reason: str, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


def _job_in(request: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
    """The job a request starts; of an upload it is the first part, or the request before the data."""
    if request.command != "POST" or not re.search(r"/projects/[^/]+/jobs(\?|$)", request.path):
        return {}
    if "uploadType=multipart" in request.path:
        body = body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
    job: dict[str, Any] = json.loads(body)
    return job


def _refusal(seen: Seen) -> str:
    """What Google says to a job that the emulator would take."""
    load = seen.job.get("configuration", {}).get("load", {})
    columns = load.get("schema", {}).get("fields", [])
    if load.get("sourceFormat") == "PARQUET" and any(column["type"] == "JSON" for column in columns):
        return "Unsupported field type: JSON"
    return ""
