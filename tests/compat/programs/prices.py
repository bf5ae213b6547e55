"""Prices: every post-processor there is, into MariaDB and csv shards."""

import os
from datetime import datetime

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *


def prices_import():
    return [requests.get(f"{os.environ['API']}/prices", timeout=10).json()]


def both(frame):
    frame["gross"] = frame["net"] * 1.5
    frame["label"] = frame["name"] + "!"
    return frame[["gross", "label"]]


def prices_form():
    api_form = ApiForm(name="prices")
    api_form.add_pre(ListExtract(lambda x: x["prices"]))
    api_form.add_feature(Feature("id", lambda x: x["id"], int))
    api_form.add_feature(Feature("name", lambda x: x["name"], str))
    api_form.add_feature(Feature("net", lambda x: x["net"], float))
    api_form.add_feature(Feature("day", lambda x: x["day"], str))
    api_form.add_post(ColumnAdd("year", lambda: datetime(2026, 5, 4).year, int))
    api_form.add_post(ColumnApply("name", lambda x: x.upper(), str))
    api_form.add_post(ColumnsCalculate(["gross", "label"], both, [float, str]))
    api_form.add_post(DateCast("day", "%d.%m.%Y"))
    api_form.add_post(DropNa(["net", "day"]))
    return api_form


def prices_streams():
    return [
        Stream2Sql("prices", os.environ["DB"], "mariadb", auth_path="AUTH/sql_auth.json", port=os.environ["PORT"]),
        Stream2Local("prices", fmt="csv"),
    ]


assert prices_form().pandas_typecast() == {"id": "Int64", "name": "string", "net": "Float64", "day": "string"}
Run([Collector("prices", 0.1, prices_import, prices_form, prices_streams, lambda: [])]).run()
