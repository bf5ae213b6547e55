"""An HTTP API in a process of its own: ``python -m bench.server ROWS``. Its answers are encoded before it starts.

It says its port on the first line. ``/<page>`` answers ROWS rows of that page, with ids of their own;
``/linked/<page>?of=<pages>`` the same, with a link to the next one; ``/first`` when the first page was asked for, in
seconds since 1970.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import click
import numpy as np

from bench import rows
from bench.context import REPOSITORY


class Pages:
    """Pages of one size: a template in which the upper digits of each id are written over."""

    DIGITS = 6

    def __init__(self, page_rows: int) -> None:
        body = rows.body(page_rows)
        self.row_bytes = len(body) / page_rows
        self._body = np.frombuffer(body, np.uint8)
        self._ids = np.array([match.end() for match in re.finditer(rb'"id":', body)])

    def page(self, number: int) -> bytes:
        body = self._body.copy()
        for place, digit in enumerate(f"{number + rows.FIRST_ID // rows.PAGE_ROWS:0{self.DIGITS}}"):
            body[self._ids + place] = ord(digit)
        return body.tobytes()


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pages: Pages
    first_s: float | None = None

    def do_GET(self) -> None:
        if self.path == "/first":
            return self._answer(json.dumps(Api.first_s).encode())
        if Api.first_s is None:
            Api.first_s = time.time()
        if self.path.startswith("/linked/"):
            url = urlsplit(self.path)
            number, pages = int(url.path.rpartition("/")[2]), int(parse_qs(url.query)["of"][-1])
            following = f'</linked/{number + 1}?of={pages}>; rel="next"' if number + 1 < pages else ""
            return self._answer(self.pages.page(number), following)
        return self._answer(self.pages.page(int(self.path[1:])))

    def _answer(self, body: bytes, following: str = "") -> None:
        self.send_response(200)
        if following:
            self.send_header("Link", following)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a request shall not cost a line of text."""


class Server:
    """The process, seen from outside."""

    def __init__(self, page_rows: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.server", str(page_rows)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def first_s(self) -> float:
        """When the first page was asked for."""
        with urllib.request.urlopen(f"{self.url}/first") as answer:
            return float(json.load(answer))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Listener(ThreadingHTTPServer):
    # A thousand collectors may come at once; one whose call is dropped calls again only after a second.
    request_queue_size = 1024


@contextmanager
def serving(page_rows: int) -> Iterator[Server]:
    server = Server(page_rows)
    try:
        yield server
    finally:
        server.close()


def main(page_rows: int) -> None:
    Api.pages = Pages(page_rows)
    # Small answers leave at once: no waiting for the acknowledgement of their headers.
    Api.wbufsize = -1
    with _Listener(("127.0.0.1", 0), Api) as server:
        click.echo(server.server_port)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
