"""``python -m bench.unchanged``: what a poll that finds nothing new costs the daemon's process in processor time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.sources.net.kit import Polls, get, quick, records

POLLS = 500
# In a process of its own: its time isn't the daemon's.
SERVER = """
import sys
from tests.http_api import Answer, HttpApi
api = HttpApi([{"id": number, "place": "somewhere"} for number in range(500)])
tag = (("ETag", '"1"'),)
api.script(Answer(headers=tag))
if sys.argv[1] == "304":
    api.always(Answer(304, b"", headers=tag))
print(api.url, flush=True)
sys.stdin.read()
"""


def main() -> None:
    for answer, what in (("304", "304 Not Modified"), ("body", "the same 18 kB again, without ETag")):
        click.echo(f"{_cost_ms(answer):.2f} ms  a poll that is answered {what}")


def _cost_ms(answer: str) -> float:
    command = [sys.executable, "-c", SERVER, answer]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        fetcher = quick(rate="1000000/min")
        with tempfile.TemporaryDirectory() as folder:
            polls = Polls(Path(folder), lambda: records(fetcher.fetch(get(url))))
            polls.poll()
            polls.poll()
            began_s = time.process_time()
            for _ in range(POLLS):
                polls.poll()
            spent_s = time.process_time() - began_s
            assert polls.job.unchanged, polls.outcome
            polls.close()
        return spent_s / POLLS * 1e3
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
