"""What a table does with rows that are there: replaced by each poll, kept from us by if_exists="fail"."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *


def form(name):
    return lambda: ApiForm(name, [ListExtract(lambda x: x["rows"])], [
        Feature("id", lambda x: x["id"], int),
        Feature("poll", lambda x: x["poll"], int),
    ])  # fmt: skip


def get(name):
    return lambda: [requests.get(f"{os.environ['API']}/{name}", timeout=10).json()]


def sql(name, if_exists):
    return Stream2Sql(name=name, db_name=os.environ["DB"], dialect="postgresql", auth_path="AUTH/sql_auth.json",
                      port=os.environ["PORT"], if_exists=if_exists)  # fmt: skip


newest = Collector("newest", 0.1, get("newest"), form("newest"),
                   lambda: [sql("newest", "replace"), Stream2Local("newest")], lambda: [])  # fmt: skip
fresh = Collector("fresh", 0.1, get("fresh"), form("fresh"), lambda: [sql("fresh", "fail")], lambda: [])
taken = Collector("taken", 0.1, get("taken"), form("taken"),
                  lambda: [sql("taken", "fail"), Stream2Local("taken")], lambda: [])  # fmt: skip

Run([newest, fresh, taken]).run()
