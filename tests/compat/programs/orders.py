"""Orders with items inside: one row an item, the shop's name on each, swapped fields put right."""

import os

import requests

from api2db import Run
from api2db.ingest.api_form import ApiForm
from api2db.ingest.collector import Collector
from api2db.ingest.data_feature.feature import Feature
from api2db.ingest.pre_process.bad_row_swap import BadRowSwap
from api2db.ingest.pre_process.feature_flatten import FeatureFlatten
from api2db.ingest.pre_process.global_extract import GlobalExtract
from api2db.ingest.pre_process.list_extract import ListExtract
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql


def import_target():
    answer = requests.get(f"{os.environ['API']}/orders", timeout=10)
    answer.raise_for_status()
    return [answer.json()]


def form():
    return ApiForm(
        "orders",
        [
            GlobalExtract("shop", lambda x: x["shop"]["name"], str),
            GlobalExtract("round", lambda x: x["round"], int),
            GlobalExtract("region", lambda x: x["nowhere"], float),
            ListExtract(lambda x: x["orders"]),
            FeatureFlatten("items"),
            # Some rows have the name of the item where its price belongs.
            BadRowSwap("price", "item", lambda row: isinstance(row["items"]["price"], str)),
        ],
        [
            Feature("id", lambda x: x["items"]["id"], int),
            Feature("customer", lambda x: x["customer"], str),
            Feature("item", lambda x: x["items"]["item"], str),
            Feature("price", lambda x: x["items"]["price"], float),
        ],
    )


def streams():
    return [
        Stream2Sql(
            name="orders",
            db_name=os.environ["DB"],
            dialect="postgresql",
            username=os.environ["DB_USER"],
            password=os.environ["DB_PASSWORD"],
            host=os.environ["DB_HOST"],
            port=os.environ["PORT"],
            if_exists="append",
        ),
        Stream2Local("orders", "out/orders", "shard", "json"),
    ]


Run([Collector("orders", 0.1, import_target, form, streams, lambda: [], debug=False)]).run()
