import os

import requests

from api2db import Run
from api2db.ingest import *
from api2db.stream import *


def readings_import():
    answer = requests.get(f"{os.environ['API']}/readings", timeout=10)
    answer.raise_for_status()
    return [answer.json()]


def readings_form():
    pre_process = [ListExtract(lambda x: x["rows"])]
    data_features = [
        Feature("id", lambda x: x["id"], int),
        Feature("order", lambda x: x["order"], str),
        Feature("value", lambda x: x["value"], float),
    ]
    return ApiForm(name="readings", pre_process=pre_process, data_features=data_features)


def readings_streams():
    return [Stream2Omnisci(name="readings", db_name="heavyai", auth_path="AUTH/omnisci_auth.json")]


readings_info = Collector(
    name="readings",
    seconds=0.1,
    import_target=readings_import,
    api_form=readings_form,
    streams=readings_streams,
    stores=lambda: [],
    debug=True,
)

if __name__ == "__main__":
    Run([readings_info]).run()
