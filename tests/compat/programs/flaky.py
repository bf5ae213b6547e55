"""An API that isn't always there: nothing this time, several answers, errors; a disabled collector; logs and keys."""

import os

import requests

from api2db import Run
from api2db.app.auth_manager import auth_manage
from api2db.app.log import get_logger
from api2db.ingest import *
from api2db.stream import *

keys = auth_manage("AUTH/api_keys.json")
assert auth_manage("AUTH/missing.json") is None
polls = 0


def tickets_import():
    global polls
    polls += 1
    logger = get_logger("tickets")
    if polls % 5 == 2:
        return None
    if polls % 5 == 3:
        logger.error("about to fail, poll %d", polls)
        raise RuntimeError("the API said no")
    if polls % 5 == 4:
        return []
    answers = []
    for _ in range(2):
        answer = requests.get(f"{os.environ['API']}/tickets", headers={"X-Key": keys["key"]}, timeout=10)
        if answer.status_code != 200:
            logger.warning("answered with %d", answer.status_code)
            continue
        answers.append(answer.json())
    return answers


def tickets_form():
    return ApiForm("tickets", [
        GlobalExtract("answer", lambda x: x["answer"], int),
        ListExtract(lambda x: x["tickets"]),
    ], [
        Feature("id", lambda x: x["id"], int),
        Feature("title", lambda x: x["title"], str),
    ])  # fmt: skip


def tickets_streams():
    return [
        Stream2Sql("tickets", os.environ["DB"], "mariadb", auth_path="AUTH/sql_auth.json", port=os.environ["PORT"]),
        Stream2Local("tickets", drop_duplicate_keys=["id"]),
    ]


def never():
    raise AssertionError("a disabled collector was called")


Run([
    Collector("tickets", 0.05, tickets_import, tickets_form, tickets_streams, lambda: [], debug=False),
    Collector("disabled", 0, never, never, never, never, debug=True),
    Collector("loud", 0.1, lambda: [{"rows": requests.get(f"{os.environ['API']}/loud", timeout=10).json()}],
              lambda: ApiForm("loud", [ListExtract(lambda x: x["rows"])], [Feature("id", lambda x: x, int)]),
              lambda: [Stream2Local("loud")], lambda: [], debug=True),
]).run()  # fmt: skip
