"""Classes of one's own: a pre-processor, a post-processor, a stream that changes frames, one that sends them itself."""

import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.ingest.post_process.post import Post
from api2db.ingest.pre_process.pre import Pre
from api2db.stream.stream import Stream
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql


class Unwrap(Pre):
    def __init__(self, *keys):
        self.keys = keys

    def lam_wrap(self, lam_arg):
        for key in self.keys:
            lam_arg = lam_arg[key]
        return lam_arg or None


class Double(Post):
    def __init__(self, key):
        self.key = key

    def lam_wrap(self, lam_arg):
        lam_arg[self.key] = lam_arg[self.key] * 2
        return lam_arg


class Masked(Stream2Sql):
    """Names don't leave the house, and rows of the test customer not at all."""

    def stream(self, data, retry_depth=5):
        data = data[data["name"] != "test"].copy()
        data["name"] = "***"
        super().stream(data, retry_depth)


class Tagged(Stream2Local):
    def stream(self, data):
        data["tag"] = self.name
        super().stream(data)


class Journal(Stream):
    """Writes lines to a file of its own, and flushes them before it returns."""

    def __init__(self, name, path):
        super().__init__(name=name, path=path, stream_type="journal")

    def stream(self, data):
        with open(self.path, "a") as file:
            for number in data["id"]:
                file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())


def customers_import():
    return [requests.get(f"{os.environ['API']}/customers", timeout=10).json()]


def customers_form():
    return ApiForm("customers", [Unwrap("answer", "customers")], [
        Feature("id", lambda x: x["id"], int),
        Feature("name", lambda x: x["name"], str),
        Feature("points", lambda x: x["points"], int),
    ], [Double("points")])  # fmt: skip


def customers_streams():
    return [
        Masked("customers", os.environ["DB"], "postgresql", auth_path="AUTH/sql_auth.json", port=os.environ["PORT"]),
        Tagged("customers"),
        Journal("customers", "journal.txt"),
    ]


Run([Collector("customers", 0.1, customers_import, customers_form, customers_streams, lambda: [])]).run()
