"""SIGKILL in a backfill: the table equals the source, and no page is asked for more than once more a kill."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from api2db.chaos.victim import Victim
from tests import warm
from tests.project_kit import REPOSITORY, TIMEOUT_S, Project, eventually

FIRST_S = 1_577_836_800  # 2020-01-01
COLLECTOR = """
    import os
    from api2db import Incremental, RestSource, collector

    events = RestSource(
        os.environ["URL"],
        params={"since": Incremental("at:s", start="2020-01-01", lag="10m", format="s", order="ascending")},
        records="items",
    )
    events = collector(every=3600, name="events", to=["database", "files"])(events)
"""
POINTS = (
    "spool.written",
    "spool.renamed",
    "spool.fanned_out",
    "journal.accepted",
    "seen.begun",
    "seen.written",
    "sink.committed",
)


class Feed:
    """Pages of events in ascending order, and how often each page of the backfill was asked for."""

    def __init__(self, pages: int, size: int, fetched: dict[int, int] | None = None) -> None:
        self.pages, self.size = pages, size
        self.fetched: Counter[int] = Counter(fetched or {})
        self.asked = threading.Condition()
        feed = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                params = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                body = json.dumps(feed.answer(params)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that was killed is what this is about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/events"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, params: dict[str, str]) -> dict[str, Any]:
        since = max(int(params["since"]) - FIRST_S, 0)
        page, last = int(params.get("page", 0)), self.pages * self.size
        if since == 0:
            with self.asked:
                self.fetched[page] += 1
                self.asked.notify_all()
        first = since + page * self.size
        rows = [{"id": n, "at": FIRST_S + n, "text": f"row {n}"} for n in range(first, min(first + self.size, last))]
        further = f"{self.url}?since={params['since']}&page={page + 1}" if first + self.size < last else None
        return {"items": rows, "next": further}

    def wait_for(self, fetches: int, ended: Any) -> None:
        """Until so many pages were asked for in all, or ``ended``."""
        with self.asked:
            while self.fetched.total() < fetches and not ended():
                self.asked.wait(0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Backfill:
    """A project that reads all of a feed, and is killed meanwhile."""

    def __init__(self, folder: Path, feed: Feed, seed: str) -> None:
        self.feed = feed
        self.hits: Counter[str] = Counter()
        self.project = Project(folder, events=COLLECTOR)
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "URL": feed.url}
        self.victim = Victim([sys.executable, "main.py"], folder, folder / "console.txt", env, warm.Popen)
        self._chance = random.Random(seed)

    def kill(self, about_page: int) -> None:
        """Start it, and kill it when about that page is asked for: at a moment, or at a point, after it."""
        chance = self._chance
        pages = max(about_page - len(self.feed.fetched), 1)
        point = chance.choice(("", *POINTS))
        self.victim.start(f"{point}:{pages}" if point else "")
        if point:
            # Loads are fewer than pages: it is killed by hand then.
            self.feed.wait_for(self.feed.fetched.total() + 3 * pages, lambda: not self.victim.alive)
        else:
            self.feed.wait_for(self.feed.fetched.total() + pages, lambda: not self.victim.alive)
            self.victim.ended(chance.random() * 0.02)
        self.hits[point if not self.victim.alive else "a moment"] += 1
        self.victim.kill()

    def finish(self) -> None:
        """Start it once more, undisturbed, until everything is in."""
        count = self.feed.pages * self.feed.size
        self.victim.start()
        eventually(
            lambda: self.project.journal("SELECT sum(rows) FROM batches") == [(count,)] and not self.project.waiting(),
            timeout_s=30 * TIMEOUT_S,
            what=f"{count} rows accepted and delivered",
        )
        self.victim.close()

    def check(self, kills: int) -> None:
        everything = [(n, FIRST_S + n, f"row {n}") for n in range(self.feed.pages * self.feed.size)]
        assert self.project.sqlite("SELECT id, at, text FROM events ORDER BY id") == everything
        assert sorted(self.project.files("events", "id")) == [row[0] for row in everything]
        assert set(self.feed.fetched) == set(range(self.feed.pages))
        more = {page: times - 1 for page, times in self.feed.fetched.items() if times > 1}
        assert sum(more.values()) <= kills, f"asked for again, of {kills} kills: {more}"


def test_a_backfill_that_is_killed_again_and_again_equals_its_source_and_asks_for_no_page_twice_but_that_of_the_kill(
    tmp_path,
):
    kills, pages = 3, 40
    feed = Feed(pages, 100)
    backfill = Backfill(tmp_path, feed, "three")
    try:
        for number in range(kills):
            backfill.kill((number + 1) * pages // (kills + 1))
        backfill.finish()
        backfill.check(kills)
    finally:
        backfill.victim.close()
        feed.close()
    assert not list((backfill.project.store / "state" / "seen").glob("*.tmp"))
