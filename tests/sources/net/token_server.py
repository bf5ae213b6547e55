"""A server of OAuth 2 tokens, and an API that wants them, on 127.0.0.1."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qsl


class TokenServer:
    """``POST /token`` gives tokens, ``GET /records`` takes them. Any thread.

    A refresh token is good until the one that replaced it, or the access token given with it, was used: as with servers
    that allow for an answer that was lost. ``lifetime_s`` is what it says of new tokens; None: nothing.
    """

    def __init__(self) -> None:
        self.lifetime_s: float | None = 3600
        self.refresh_token = "refresh-0"
        self.extra: dict[str, Any] = {}  # what else is said with a token
        self.asked: list[dict[str, str]] = []  # token requests: their fields, user and password
        self.answers: list[int] = []  # of the API, their status
        self.refusing: tuple[int, dict[str, Any]] | None = None  # token requests
        self._lock = threading.Lock()
        self._good: dict[str, str] = {}  # access token -> the refresh token given with it
        self._before: str | None = None  # the last refresh token but one, as long as the last wasn't used
        self._count = 0
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> TokenServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def revoke(self) -> None:
        """No access token that was given out is good any more."""
        with self._lock:
            self._good.clear()

    def give(self, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.asked.append(asked)
            if self.refusing is not None:
                return self.refusing
            refreshes = asked["grant_type"] == "refresh_token"
            if refreshes and asked["refresh_token"] == self.refresh_token:
                self._before = self.refresh_token
            elif refreshes and asked["refresh_token"] != self._before:
                return 400, {"error": "invalid_grant", "error_description": f"used: {asked['refresh_token']}"}
            self._count += 1
            token = f"access-token-{self._count}"
            said: dict[str, Any] = {"access_token": token, "token_type": "Bearer", **self.extra}
            if self.lifetime_s is not None:
                said["expires_in"] = self.lifetime_s
            if refreshes:
                said["refresh_token"] = self.refresh_token = f"refresh-{self._count}"
            self._good[token] = self.refresh_token
            return 200, said

    def check(self, authorization: str) -> int:
        with self._lock:
            token = authorization.removeprefix("Bearer ")
            if self._good.get(token) == self.refresh_token:
                self._before = None
            self.answers.append(200 if token in self._good else 401)
            return self.answers[-1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ClassVar[TokenServer]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        asked = dict(parse_qsl(body))
        basic = self.headers.get("Authorization", "")
        if basic:
            asked["basic"] = base64.b64decode(basic.removeprefix("Basic ")).decode()
        self._send(*self.server_of.give(asked))

    def do_GET(self) -> None:
        status = self.server_of.check(self.headers.get("Authorization", ""))
        self._send(status, [{"id": 1}] if status == 200 else {"error": "invalid_token"})

    def _send(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted, not printed."""
