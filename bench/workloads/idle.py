"""A daemon with little to do: 10 collectors, each polled every 10 s for 10 rows. And one with 1,000 of them."""

from __future__ import annotations

import time

from bench import measure, rows
from bench.context import Context, say
from bench.daemon import project
from bench.server import serving
from bench.table import Line

WARM_UP_S = 20.0
MEASURED_S = 60.0
MANY = 1_000
_COLLECTORS = f"""
import requests

from api2db import collector
from api2db.sources.decode import decode

session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=16))  # a connection for each polling thread


def declare(number):
    @collector(every=10, shape={rows.SHAPE!r}, name=f"events{{number}}")
    def events():
        return decode(session.get(f"API/{{number}}").content)

    return events


for number in range(COUNT):
    globals()[f"events{{number}}"] = declare(number)
"""


def run(context: Context) -> list[Line]:
    few = watch(context, 10)
    say(f"idle 10: {few}")
    many = watch(context, MANY)
    say(f"idle {MANY}: {many}")
    what = "collectors at 10 s, 10 rows a poll"
    return [
        Line(f"10 {what}: of a core", [few["cpu"]], "%", 1),
        Line(f"10 {what}: resident", [few["rss_mb"]], "MB", 190),
        Line(f"{MANY:,} {what}: threads", [many["threads"]], "", 64),
        Line(f"{MANY:,} {what}: of a core", [many["cpu"]], "%"),
        Line(f"{MANY:,} {what}: resident", [many["rss_mb"]], "MB"),
        Line(f"{MANY:,} {what}: polls skipped, of those due", [many["skipped"]], "%"),
        Line(f"{MANY:,} {what}: accepted, not yet loaded: polls of", [many["behind_s"]], "s"),
    ]


def watch(context: Context, count: int) -> dict[str, float]:
    """What a daemon takes once it has warmed up: the most of threads and memory, the mean of processor time."""
    with serving(10) as api:
        source = _COLLECTORS.replace("API", api.url).replace("COUNT", str(count))
        with project(context.folder, many=source) as made:
            process = made.start()
            made.ready(process)
            time.sleep(WARM_UP_S)
            cpu_s, start = measure.cpu_s(process.pid), time.monotonic()
            threads, rss_mb = 0, 0.0
            while time.monotonic() - start < MEASURED_S:
                time.sleep(0.5)
                threads = max(threads, measure.status(process.pid, "Threads"))
                rss_mb = max(rss_mb, measure.rss_mb(process.pid))
            cpu = 100 * (measure.cpu_s(process.pid) - cpu_s) / (time.monotonic() - start)
            collectors = made.status()[1]["collectors"]
            polls, skips, failures = (sum(one[name] for one in collectors) for name in ("polls", "skips", "failures"))
            loaded = made.sqlite("SELECT sum(rows) FROM _api2db_ledger")[0][0]
            made.stop(process)
    if failures or polls < 5 * count:
        raise AssertionError(f"{polls} polls, {failures} of them failed")
    behind_s = (polls - loaded / 10) / (count / 10)
    return {
        "cpu": cpu,
        "rss_mb": rss_mb,
        "threads": threads,
        "skipped": 100 * skips / (polls + skips),
        "behind_s": behind_s,
    }
