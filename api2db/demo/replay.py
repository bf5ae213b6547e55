"""A local API that replays a recorded week of earthquakes over real HTTP, about a thousand times as fast.

It speaks the part of the USGS event service that a collector needs
(https://earthquake.usgs.gov/fdsnws/event/1/): ``GET /fdsnws/event/1/query?format=geojson`` with
``updatedafter``, ``starttime``, ``endtime``, ``orderby``, ``limit``, ``offset``. Unlike the service, it
doesn't leave out events older than 30 days, and an answer may hold any number of events.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from api2db.demo.history import History, Start
from api2db.demo.query import BadRequest, answer, parse_query
from api2db.demo.recording import Recording, Version, load

PATH = "/fdsnws/event/1/query"
# The week passes while somebody is still watching.
DURATION_S = 600.0
# Replay starts half a day into the week, so that the first poll has something to show.
LEAD_IN_MS = 12 * 3_600_000


@dataclass(frozen=True)
class Served:
    """What the API answered since the demo first started, as (id, updated in epoch milliseconds).

    taken    in answers whose newest ``updated`` a later query asked to go on from: the client has them safely
    offered  only in other answers: the last one, or one that a kill cut off, or another client's
    """

    taken: frozenset[tuple[str, int]]
    offered: frozenset[tuple[str, int]]


class Replay:
    """The API. ``history`` is a file; with the same one, replay time goes on where a killed process left it.

    ``factor`` is seconds of replay time in a second; None lets the week pass in ten minutes. A history that
    exists keeps its own.
    """

    def __init__(self, history: Path, *, factor: float | None = None) -> None:
        self.recording: Recording = load()
        begin_ms = self.recording.first_event_ms + LEAD_IN_MS
        factor = factor or (self.recording.end_ms - begin_ms) / (DURATION_S * 1000)
        self._history = History(history, Start(time.time(), begin_ms, factor))
        handler = type("Handler", (_Handler,), {"replay": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """What takes the place of the live service's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"

    @property
    def factor(self) -> float:
        return self._history.start.factor

    @property
    def versions(self) -> tuple[Version, ...]:
        """Every version there is, of all events."""
        return self.recording.versions

    @property
    def ended(self) -> bool:
        """Nothing new will come: the recording is at its end."""
        return self.now_ms() >= self.recording.end_ms

    def now_ms(self) -> int:
        """Replay time in epoch milliseconds; it stands still at the end of the recording."""
        return min(self._history.now_ms(), self.recording.end_ms)

    def start(self) -> None:
        """Answer requests, in threads of its own."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="earthquake-replay", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._history.close()

    def respond(self, parameters: list[tuple[str, str]]) -> bytes:
        """The GeoJSON of a query that arrives now; remembered first. Raises BadRequest."""
        query = replace(parse_query(parameters), at_ms=self.now_ms())
        versions = answer(self.recording, query)
        self._history.append(query)
        metadata = self.recording.metadata | {
            "generated": query.at_ms,
            "url": self.url,
            "title": "USGS Earthquakes, replayed from a recording",
            "count": len(versions),
        }
        features = [version.feature for version in versions]
        return json.dumps({"type": "FeatureCollection", "metadata": metadata, "features": features}).encode()

    def served(self) -> Served:
        """What was answered, in this process and those before it that had the same history."""
        taken: set[tuple[str, int]] = set()
        offered: set[tuple[str, int]] = set()
        gone_on_from: set[int | None] = set()
        # From the newest back, so that each answer meets the queries that came after it.
        for query in reversed(self._history.queries):
            keys = {version.key for version in answer(self.recording, query)}
            if keys and max(updated_ms for _, updated_ms in keys) in gone_on_from:
                taken |= keys
            else:
                offered |= keys
            gone_on_from.add(query.updatedafter_ms)
        return Served(frozenset(taken), frozenset(offered - taken))

    def served_versions(self) -> set[tuple[str, int]]:
        """(id, updated in epoch milliseconds) of every version in any answer."""
        served = self.served()
        return set(served.taken | served.offered)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed in mid-answer is what the demo is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    replay: Replay

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path != PATH:
            self._send(404, "text/plain", f"Error 404: Not Found\n\nTry {self.replay.url}?format=geojson\n".encode())
            return
        try:
            body = self.replay.respond(parse_qsl(address.query, keep_blank_values=True))
        except BadRequest as refusal:
            text = f"Error 400: Bad Request\n\n{refusal}\n\nRequest:\n{self.path}\n\nService version:\nreplay\n"
            self._send(400, "text/plain", text.encode())
            return
        self._send(200, "application/json; charset=utf-8", body)

    def log_message(self, format: str, *args: object) -> None:
        """The daemon's console belongs to the daemon."""

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
