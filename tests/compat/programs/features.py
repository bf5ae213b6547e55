"""Weather of several towns: a list extracted, features of every type, into PostgreSQL and parquet shards."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *


def weather_import():
    return [requests.get(f"{os.environ['API']}/weather", timeout=10).json()]


def weather_form():
    pre_process = [ListExtract(lam=lambda x: x["data"]["rows"])]
    data_features = [
        Feature(key="id", lam=lambda x: x["id"], dtype=int),
        Feature(key="temp", lam=lambda x: x["temp"], dtype=float, nan_float=-1.5),
        Feature(key="stations", lam=lambda x: x["meta"]["stations"], dtype=int, nan_int=-1),
        Feature(key="rain", lam=lambda x: x["rain"], dtype=bool, nan_bool=True),
        Feature(key="snow", lam=lambda x: x["snow"], dtype=bool),
        Feature(key="town", lam=lambda x: x["town"], dtype=str, nan_str="unknown"),
        Feature(key="note", lam=lambda x: x["note"], dtype=str),
        Feature(key="wind", lam=lambda x: x["wind"], dtype=float),
    ]
    return ApiForm(name="weather", pre_process=pre_process, data_features=data_features)


def weather_streams():
    return [
        Stream2Local(name="weather"),
        Stream2Sql(name="weather", db_name=os.environ["DB"], dialect="postgresql", auth_path="AUTH/sql_auth.json",
                   port=os.environ["PORT"]),
    ]  # fmt: skip


def weather_stores():
    return []


weather_info = Collector(
    name="weather",
    seconds=0.1,
    import_target=weather_import,
    api_form=weather_form,
    streams=weather_streams,
    stores=weather_stores,
    debug=True,
)

if __name__ == "__main__":
    Run([weather_info]).run()
