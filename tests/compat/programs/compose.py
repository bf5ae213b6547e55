"""A collector shards into a folder; every now and then the shards are put together into one file."""

import os
import threading

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *
from api2db.stream.file_converter import FileConverter


def numbers_import():
    return [{"rows": requests.get(f"{os.environ['API']}/numbers", timeout=10).json()}]


def numbers_form():
    return ApiForm("numbers", [ListExtract(lambda x: x["rows"])], [Feature("id", lambda x: x, int)])


def compose():
    while True:
        for fmt in ["parquet", "csv"]:
            frame = FileConverter.static_compose_df_from_dir(
                path=f"STORE/numbers/{fmt}/",
                fmt=fmt,
                move_shards_path=f"sharded/{fmt}/",
                move_composed_path=f"composed/{fmt}/",
                force=True,
            )
            assert frame is None or list(frame.columns) == ["id"]
        threading.Event().wait(0.05)


os.makedirs("STORE/numbers/parquet", exist_ok=True)
os.makedirs("STORE/numbers/csv", exist_ok=True)
threading.Thread(target=compose, daemon=True).start()
Run([Collector("numbers", 0.05, numbers_import, numbers_form,
               lambda: [Stream2Local("numbers"), Stream2Local("numbers", fmt="csv")], lambda: [])]).run()  # fmt: skip
