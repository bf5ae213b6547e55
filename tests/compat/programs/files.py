"""Everything Stream2Local does: three modes, four formats, duplicates dropped by keys."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *

FORMATS = ["parquet", "json", "pickle", "csv"]


def levels_import():
    return [requests.get(f"{os.environ['API']}/levels", timeout=10).json()]


def levels_form():
    return ApiForm("levels", [ListExtract(lambda x: x)], [
        Feature("id", lambda x: x["id"], int),
        Feature("level", lambda x: x["level"], float),
        Feature("river", lambda x: x["river"], str),
        Feature("high", lambda x: x["high"], bool),
    ])  # fmt: skip


def levels_streams():
    streams = []
    for fmt in FORMATS:
        streams.append(Stream2Local(name="levels", mode="shard", fmt=fmt))
        streams.append(Stream2Local(name="levels", mode="update", fmt=fmt))
        streams.append(Stream2Local(name="levels", path=f"out/newest.{fmt}", mode="replace", fmt=fmt))
        streams.append(
            Stream2Local(name="levels", path=f"out/rivers.{fmt}", mode="update", fmt=fmt, drop_duplicate_keys=["river"])
        )
    return streams


Run([Collector("levels", 0.2, levels_import, levels_form, levels_streams, lambda: [], debug=False)]).run()
