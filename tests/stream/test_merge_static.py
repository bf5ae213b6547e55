"""MergeStatic with a file that a Stream2Local keeps fresh, both collectors in one daemon."""

from __future__ import annotations

import json

import pytest

from tests.project_kit import Project, eventually

COLLECTORS = """
    import json
    from pathlib import Path

    from api2db.ingest import ApiForm, Collector, Feature, ListExtract, MergeStatic
    from api2db.stream import Stream2Local

    def stations():
        return [json.loads(Path("stations.json").read_text())]

    def stations_form():
        return ApiForm("stations", [ListExtract(lambda data: data["rows"])],
                       [Feature("station", lambda x: x["station"], str), Feature("town", lambda x: x["town"], str)])

    def readings():
        return [{"rows": [{"station": "a", "temp": 20}, {"station": "b", "temp": 21}]}]

    def readings_form():
        return ApiForm("readings", [ListExtract(lambda data: data["rows"])],
                       [Feature("station", lambda x: x["station"], str), Feature("temp", lambda x: x["temp"], int)],
                       [MergeStatic("station", "CACHE/stations_static.pickle")])

    first = Collector("stations", SECONDS, stations, stations_form,
                      lambda: [Stream2Local("stations", mode="MODE", fmt="pickle" KEYS)])
    second = Collector("readings", 0.05, readings, readings_form, None, to="database")
"""


@pytest.mark.parametrize(
    ("mode", "keys"), [("replace", ""), ("update", ', drop_duplicate_keys=["station"], keep="last"')]
)
def test_readings_are_joined_with_the_newest_stations(tmp_path, mode, keys):
    def write(**towns):
        rows = [{"station": station, "town": town} for station, town in towns.items()]
        temporary = tmp_path / "stations.new"
        temporary.write_text(json.dumps({"rows": rows}))
        temporary.rename(tmp_path / "stations.json")

    def towns():
        newest = "SELECT station, town FROM readings ORDER BY rowid DESC LIMIT 2"
        return dict(project.sqlite(newest))

    source = COLLECTORS.replace("MODE", mode).replace("KEYS", keys).replace("SECONDS", "0.05")
    project = Project(tmp_path, both=source)
    write(a="Aachen", b="Bonn")
    try:
        process = project.start()
        eventually(lambda: towns() == {"a": "Aachen", "b": "Bonn"}, what="the first towns")
        write(b="Berlin")
        # A replacement has no a any more; an update still has it.
        expected = {"a": None if mode == "replace" else "Aachen", "b": "Berlin"}
        eventually(lambda: towns() == expected, what="the newest towns")
        assert project.stop(process) == 0
        # Each poll found each station once: nothing was joined with two of a kind.
        assert project.sqlite("SELECT count(*) FROM readings WHERE station = 'a'") == project.sqlite(
            "SELECT count(*) FROM readings WHERE station = 'b'"
        )
    finally:
        project.close()


def test_readings_wait_until_there_are_stations(tmp_path):
    source = COLLECTORS.replace("MODE", "replace").replace("KEYS", "").replace("SECONDS", "0")
    project = Project(tmp_path, both=source)
    runs = "SELECT outcome FROM runs WHERE collector = 'readings'"
    try:
        process = project.start()
        eventually(lambda: ("waiting",) in project.journal(runs), what="a poll that waits")
        assert project.stop(process) == 0
        assert project.sqlite("SELECT count(*) FROM readings") == []
    finally:
        project.close()
