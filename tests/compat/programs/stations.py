"""Readings joined with the stations another collector keeps in CACHE/, by update and by replacement."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *


def get(path):
    return [requests.get(f"{os.environ['API']}/{path}", timeout=10).json()]


def towns_form():
    return ApiForm("towns", [ListExtract(lambda x: x["rows"])], [
        Feature("station", lambda x: x["station"], int),
        Feature("town", lambda x: x["town"], str),
    ])  # fmt: skip


def owners_form():
    return ApiForm("owners", [ListExtract(lambda x: x["rows"])], [
        Feature("station", lambda x: x["station"], int),
        Feature("owner", lambda x: x["owner"], str),
    ])  # fmt: skip


def readings_form():
    return ApiForm(
        "readings",
        [ListExtract(lambda x: x["rows"])],
        [
            Feature("id", lambda x: x["id"], int),
            Feature("station", lambda x: x["station"], int),
        ],
        [
            MergeStatic("station", "CACHE/towns_static.pickle"),
            MergeStatic("station", "CACHE/owners.pickle"),
        ],
    )


apis = [
    Collector("towns", 0.1, lambda: get("towns"), towns_form,
              lambda: [Stream2Local("towns", mode="update", fmt="pickle", drop_duplicate_keys=["station"])],
              lambda: []),
    Collector("owners", 0.1, lambda: get("owners"), owners_form,
              lambda: [Stream2Local("owners", "CACHE/owners.pickle", "replace", "pickle")],
              lambda: []),
    Collector("readings", 0.1, lambda: get("readings"), readings_form,
              lambda: [Stream2Local("readings", path="out/readings")],
              lambda: []),
]  # fmt: skip

if __name__ == "__main__":
    Run(apis).run()
