"""``python -m bench.decoding``: a body of 1 GB, streamed from a server on this machine; time and memory.

The server is a process of its own and makes the body as it sends it.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import click

from api2db import Http
from api2db.runtime.daemon import GC_THRESHOLD

RECORDS = 5000  # in one part of the body
FORMATS = ("json", "ndjson", "csv", "xml")
PATHS = {"json": "data.items", "xml": "rss.channel.item"}
_AROUND = {
    "json": (b'{"meta": {"page": 1}, "data": {"items": [', b","),
    "ndjson": (b"", b""),
    "csv": (b"id,place,mag,time,felt\n", b""),
    "xml": (b"<rss><channel>", b""),
}
_END = {"json": b'], "more": false}}', "ndjson": b"", "csv": b"", "xml": b"</channel></rss>"}


def record(number: int) -> dict[str, Any]:
    """One like those of the earthquake feed, flattened; about 200 bytes."""
    return {
        "id": f"us7000{number:08d}",
        "place": f'{number % 97} km NNW of "Somewhere", Alaska',
        "mag": number % 90 / 10,
        "time": 1_700_000_000_000 + number,
        "felt": None if number % 3 else number,
        "tags": ["a", "b"],
        "geometry": {"type": "Point", "coordinates": [-150.1, 61.2, number % 100]},
    }


def part(form: str) -> bytes:
    records = [record(number) for number in range(RECORDS)]
    if form == "csv":
        return b"".join(
            b'%s,"%d km, Alaska",%.1f,%d,\n' % (r["id"].encode(), n % 97, r["mag"], r["time"])
            for n, r in enumerate(records)
        )
    if form == "xml":
        return b"".join(
            b'<item id="%s"><mag>%.1f</mag><time>%d</time></item>' % (r["id"].encode(), r["mag"], r["time"])
            for r in records
        )
    return (b"," if form == "json" else b"\n").join(json.dumps(r).encode() for r in records) + (
        b"\n" if form == "ndjson" else b""
    )


def body(form: str, size: int) -> Iterator[bytes]:
    """A body of about ``size`` bytes."""
    begin, between = _AROUND[form]
    one = part(form)
    yield begin + one
    for _ in range(size // len(one) - 1):
        yield between + one
    yield _END[form]


def serve() -> None:
    """``/json/1000000``: such a body; the port is the first line of the output."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form, size = self.path.strip("/").split("/")
            self.send_response(200)
            kind = {"json": "application/json", "ndjson": "application/x-ndjson", "csv": "text/csv", "xml": "text/xml"}
            self.send_header("Content-Type", kind[form])
            self.end_headers()
            for piece in body(form, int(size)):
                self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to say."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        click.echo(server.server_address[1])
        server.serve_forever()


def measured(url: str, form: str, size: int) -> dict[str, Any]:
    """In a process of its own, so that the memory is this stream's; set up as the daemon is."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    with Http(deadline_s=3600) as http:
        http.get(url + "/json/1000").records("data.items")  # what is imported is imported
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, worked = time.perf_counter(), time.process_time()
        records = 0
        answer = http.get(f"{url}/{form}/{size}", stream=True, max_bytes=size * 2)
        for chunk in answer.stream(PATHS.get(form, "")):
            records += len(chunk)
        seconds, work_s = time.perf_counter() - started, time.process_time() - worked
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"records": records, "seconds": seconds, "work_s": work_s, "grown_kib": grown}


@click.command()
@click.argument("formats", nargs=-1, type=click.Choice(FORMATS))
@click.option("--size", default=1_000_000_000, show_default=True, help="Bytes of the body.")
@click.option("--url", hidden=True)
def main(formats: tuple[str, ...], size: int, url: str | None) -> None:
    """Stream a large body in each of the formats, or in those named."""
    if url is not None:
        click.echo(json.dumps(measured(url, formats[0], size)))
        return
    server = subprocess.Popen(
        [sys.executable, "-c", "from bench.decoding import serve; serve()"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        here = f"http://127.0.0.1:{int(server.stdout.readline())}"
        click.echo("| format | body | records | time | MB/s | of its own processor time | memory grown by |")
        click.echo("|---|---|---|---|---|---|---|")
        for form in formats or FORMATS:
            done = subprocess.run(
                [sys.executable, "-m", "bench.decoding", form, "--size", str(size), "--url", here],
                check=True,
                stdout=subprocess.PIPE,
            )
            got = json.loads(done.stdout)
            click.echo(
                f"| {form} | {size / 1e6:,.0f} MB | {got['records']:,} | {got['seconds']:.1f} s"
                f" | {size / 1e6 / got['seconds']:.0f} | {got['work_s']:.1f} s: {size / 1e6 / got['work_s']:.0f} MB/s"
                f" | {got['grown_kib'] / 1024:.0f} MiB |"
            )
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
