"""One collector, five streams: two databases of one server, one of another, and two folders."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *


def events_import():
    return [requests.get(f"{os.environ['API']}/events", timeout=10).json()]


def events_form():
    return ApiForm("events", [ListExtract(lambda x: x["events"])], [
        Feature("id", lambda x: x["id"], int),
        Feature("what", lambda x: x["what"], str),
    ])  # fmt: skip


def events_streams():
    postgres = dict(dialect="postgresql", auth_path="AUTH/postgres.json", port=os.environ["PG_PORT"])
    return [
        Stream2Sql(name="events", db_name=os.environ["PG_DB_1"], **postgres),
        Stream2Sql(name="events", db_name=os.environ["PG_DB_2"], **postgres),
        Stream2Sql(
            name="events",
            db_name=os.environ["MY_DB"],
            dialect="mysql",
            username=os.environ["MY_USER"],
            password=os.environ["MY_PASSWORD"],
            host=os.environ["MY_HOST"],
            port=os.environ["MY_PORT"],
        ),
        Stream2Local(name="events"),
        Stream2Local(name="events", path="archive/"),
    ]


apis = [Collector("events", 0.1, events_import, events_form, events_streams, lambda: [])]
Run(apis).run()
