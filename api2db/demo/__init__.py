"""The offline demo: the shipped collector polls a replay of a recorded week in place of the live feed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from api2db.demo.replay import Replay
from api2db.demo.report import report
from api2db.place import DATABASE_FILE
from api2db.settings import Settings

URL_VARIABLE = "EARTHQUAKES_URL"
EVERY_VARIABLE = "EARTHQUAKES_EVERY"
START_VARIABLE = "EARTHQUAKES_START"
# Some fifty minutes of replay time pass between two polls: a few new events and revisions each.
EVERY = "3s"
# The day the recording begins.
START = "2018-01-31"
# Tests can't watch for ten minutes. Not a setting: API2DB_TEST_* is never one.
FACTOR_VARIABLE = "API2DB_TEST_DEMO_FACTOR"
HISTORY_NAME = "demo.jsonl"
COLLECTOR = "earthquakes"


@contextmanager
def running(settings: Settings) -> Iterator[Replay | None]:
    """With ``demo = true``: run the replay, and point the earthquakes collector at it (by environment).

    Enter it before collectors are imported. Variables that are set already win; with EARTHQUAKES_URL set, as
    without the setting, there is no replay: None. The replay's memory is ``STORE/demo.jsonl``, so that it
    starts over exactly when the store does.
    """
    if not settings.demo or os.environ.get(URL_VARIABLE):
        yield None
        return
    factor = os.environ.get(FACTOR_VARIABLE)
    replay = Replay(settings.store / HISTORY_NAME, factor=float(factor) if factor else None)
    before = {name: os.environ.get(name) for name in (URL_VARIABLE, EVERY_VARIABLE, START_VARIABLE)}
    try:
        replay.start()
        os.environ[URL_VARIABLE] = replay.url
        os.environ[EVERY_VARIABLE] = before[EVERY_VARIABLE] or EVERY
        os.environ[START_VARIABLE] = START
        yield replay
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        replay.close()


def result(replay: Replay, settings: Settings) -> str:
    """What was served against what is stored, in words. For a daemon that has just stopped, or still runs."""
    store = settings.store
    # <stream>/<shard>.parquet; a stream's own folder is called something.parquet too.
    waiting = {path.name for path in (store / "queue" / COLLECTOR).glob("*/*.parquet")}
    waiting |= {path.name for path in (store / "upload_failed" / COLLECTOR).glob("*/*.parquet")}
    return report(
        replay.served(),
        database=store / DATABASE_FILE,
        table=COLLECTOR,
        files=store / COLLECTOR / "parquet",
        # One name in several streams' folders is one batch.
        waiting_batches=len(waiting),
        base=settings.project,
    ).text
