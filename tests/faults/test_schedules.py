"""Polls by the clock of a place: over a kill, days of downtime, a day of 25 hours, and a clock that is turned."""

from __future__ import annotations

import datetime as dt
import json
import signal

from tests.faults.test_clock import clock
from tests.project_kit import Project, eventually

__all__ = ["clock"]

DAILY = """
    import time
    from api2db import collector, due_time

    @collector(every=0.1)
    def looks():
        return [{"at": time.time()}]

    def due():
        return [{"due": due_time().isoformat()}]

    when = {"cron": "30 2 * * *", "zone": "Europe/Berlin"}
    left_out = collector(name="left_out", catch_up="skip", **when)(due)
    caught_up = collector(name="caught_up", **when)(due)
    each = collector(name="each", catch_up="all", isolate=True, **when)(due)
"""
MISTAKEN = """
    from api2db import collector

    @collector(at="06:00", zone="Europe/Brelin")
    def mistaken():
        return [{"n": 1}]
"""
NAMES = ("left_out", "caught_up", "each")


def utc(text):
    return dt.datetime.fromisoformat(f"{text}+00:00").timestamp()


def test_due_times_missed_over_days_and_a_kill_are_caught_up_as_asked_and_none_is_repeated(clock, tmp_path):
    project = Project(tmp_path / "project", daily=DAILY, mistaken=MISTAKEN)

    def dues(name):
        return [due for (due,) in project.sqlite(f"SELECT due FROM {name} ORDER BY _rowid_")]

    def known(name):
        path = project.store / "state" / "due" / f"{name}.json"
        return json.loads(path.read_text())["until_s"] if path.exists() else 0

    try:
        clock.set(utc("2026-10-23T12:00"))
        process = project.start()
        project.ready(process)
        eventually(lambda: all(map(known, NAMES)), what="what is done written down")
        assert project.stop(process, signal.SIGKILL) < 0

        clock.set(utc("2026-10-26T12:00"))
        process = project.start()
        project.ready(process)
        missed = ["2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        eventually(lambda: dues("each") == missed and dues("caught_up") == missed[-1:], what="what was missed")

        clock.set(utc("2026-10-27T01:29:59"))
        now = [*missed, "2026-10-27T02:30:00+01:00"]
        eventually(lambda: dues("each") == now and all(dues(name)[-1:] == now[-1:] for name in NAMES), what="the next")
        for turned in ("2026-10-27T00:29:00", "2026-10-27T01:29:59"):
            ((before,),) = project.sqlite("SELECT max(_rowid_) FROM looks")
            clock.set(utc(turned))
            looked = (
                f"SELECT 1 FROM looks WHERE _rowid_ > {before} AND at BETWEEN {utc(turned) + 2} AND {utc(turned) + 60}"
            )
            eventually(lambda looked=looked: project.sqlite(looked), what=f"the daemon at {turned}")
        clock.set(utc("2026-10-28T01:29:59"))
        now.append("2026-10-28T02:30:00+01:00")
        eventually(lambda: all(dues(name)[-1:] == now[-1:] for name in NAMES), what="the one after it")
        assert [dues(name) for name in NAMES] == [now[3:], now[2:], now]

        _, status = project.status()
        told = {each["collector"]: each for each in status["collectors"]}
        assert {name: told[name]["schedule"] for name in NAMES} == dict.fromkeys(NAMES, "cron 30 2 * * * Europe/Berlin")
        assert {told[name]["next_run_ns"] // 10**10 for name in NAMES} == {int(utc("2026-10-29T01:30")) // 10}
        assert "mistaken.py" in told["mistaken"]["cause"]
        assert (
            "collector mistaken: zone='Europe/Brelin' is no time zone; did you mean 'Europe/Berlin'?"
            in told["mistaken"]["cause"]
        )
        assert project.stop(process) == 0
    finally:
        project.close()
