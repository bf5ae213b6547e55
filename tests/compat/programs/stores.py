"""A stream that shards as data comes, and stores that load the shards every so often, as users of 1.0.1 have them."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.store import *
from api2db.stream import *


def tides_import():
    return [requests.get(f"{os.environ['API']}/tides", timeout=10).json()]


def tides_form():
    pre_process = [ListExtract(lambda x: x["rows"])]
    data_features = [
        Feature("id", lambda x: x["id"], int),
        Feature("level", lambda x: x["level"], float),
        Feature("port", lambda x: x["port"], str),
    ]
    post_process = [ColumnAdd("polled", lambda: os.getpid(), int)]
    return ApiForm("tides", pre_process, data_features, post_process)


def tides_streams():
    streams = [
        Stream2Local(name="tides", path="STORE/tides/parquet/"),
        Stream2Local(name="tides", path="shards/csv/", fmt="csv"),
    ]
    return streams


def tides_stores():
    stores = [
        Store2Sql(
            name="tides",
            seconds=0.5,
            db_name=os.environ["DB"],
            dialect="postgresql",
            auth_path="AUTH/sql_auth.json",
            port=os.environ["PORT"],
            path="STORE/tides/parquet/",
            drop_duplicate_exclude=["polled"],
            move_shards_path="shards/loaded/",
        ),
        Store2Sql(
            name="tides",
            seconds=0.7,
            db_name=os.environ["MY_DB"],
            dialect="mariadb",
            username=os.environ["MY_USER"],
            password=os.environ["MY_PASSWORD"],
            host=os.environ["MY_HOST"],
            port=os.environ["MY_PORT"],
            path="shards/csv/",
            fmt="csv",
            move_shards_path="shards/csv_loaded/",
            move_composed_path="shards/composed/",
            if_exists="append",
            chunk_size=0,
        ),
    ]
    return stores


tides_info = Collector(
    name="tides",
    seconds=0.2,
    import_target=tides_import,
    api_form=tides_form,
    streams=tides_streams,
    stores=tides_stores,
    debug=True,
)

if __name__ == "__main__":
    Run([tides_info]).run()
