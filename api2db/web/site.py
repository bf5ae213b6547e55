"""The pages: ``/healthz``, ``/readyz`` and ``/metrics``, as a WSGI application."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from api2db.errors import StoreError
from api2db.layout import Layout
from api2db.runtime.sparing import Sparing
from api2db.runtime.status import Status
from api2db.runtime.vitals import Vitals
from api2db.settings import Settings
from api2db.web.metrics import expose
from api2db.web.readiness import reasons_against

log = logging.getLogger(__name__)

StartResponse = Callable[[str, list[tuple[str, str]]], object]
STATUSES = {
    200: "200 OK",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Site:
    """Answers requests from any thread; what it tells is found at most once a second, however many ask.

    A page is asked for by its exact path, and nothing of a request is ever a file's name.
    """

    def __init__(self, settings: Settings, vitals: Vitals, status: Sparing[Status]) -> None:
        self._token = settings.http_token
        self._vitals = vitals
        self._pages: dict[str, Callable[[], Answer]] = {
            "/healthz": self._health,
            "/readyz": self._ready,
            "/metrics": self._metrics,
        }
        self._reasons = Sparing(lambda: reasons_against(vitals, Layout(settings.store).root))
        self._exposed = Sparing(lambda: expose(status.get(), vitals, settings))

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = self._refusal(environ) or self._page(environ["PATH_INFO"])
        except Exception:
            # The supervisor of a request: a bug of ours must not end the thread, nor be shown to whoever asks.
            log.exception("request can't be answered")
            answer = _said(500, "something went wrong here; the log of the daemon says what")
        length = ("Content-Length", str(len(answer.body)))
        kinds = [("Content-Type", answer.content_type), ("Cache-Control", "no-store"), length, *answer.headers]
        start_response(STATUSES[answer.status], [*kinds, ("X-Content-Type-Options", "nosniff")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _refusal(self, environ: dict[str, Any]) -> Answer | None:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _said(405, "only GET and HEAD", ("Allow", "GET, HEAD"))
        if self._token:
            given = environ.get("HTTP_AUTHORIZATION", "").encode("latin-1")
            if not hmac.compare_digest(given, f"Bearer {self._token.reveal()}".encode()):
                return _said(401, "the header Authorization: Bearer <http_token> is missing", _BEARER)
        elif _name(environ.get("HTTP_HOST", "")) not in LOCAL_NAMES:
            # A page of somebody else, in a browser of this machine, whose name was made to lead here (DNS rebinding).
            return _said(403, "ask as 127.0.0.1 or localhost: other names aren't answered")
        return None

    def _page(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            return _said(404, f"there are {', '.join(self._pages)}")
        try:
            return page()
        except (TimeoutError, StoreError) as error:
            return _said(503, str(error))

    def _health(self) -> Answer:
        return _verdict([self._vitals.trouble] if self._vitals.trouble else [], self._vitals)

    def _ready(self) -> Answer:
        return _verdict(self._reasons.get(), self._vitals)

    def _metrics(self) -> Answer:
        return Answer(200, self._exposed.get(), CONTENT_TYPE_LATEST)


_BEARER = ("WWW-Authenticate", "Bearer")


def _verdict(reasons: list[str], vitals: Vitals) -> Answer:
    body = {"ok": not reasons, "phase": vitals.phase.value, "reasons": reasons}
    return Answer(503 if reasons else 200, json.dumps(body).encode() + b"\n")


def _said(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, json.dumps({"error": text}).encode() + b"\n", headers=headers)


def _name(host: str) -> str:
    """The name of a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()
