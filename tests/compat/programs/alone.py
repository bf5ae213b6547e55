"""Streams without collectors: a script that fetches, hands frames over, and mends what failed the last time."""

import os
import threading
import time

import pandas as pd
import requests

from api2db.stream import *

DB = dict(dialect="postgresql", auth_path="AUTH/sql_auth.json", port=os.environ["PORT"])


def fetch(path):
    rows = requests.get(f"{os.environ['API']}/{path}", timeout=10).json()
    return pd.DataFrame({"id": pd.array(rows, dtype="Int64")})


called = Stream2Sql(name="called", db_name=os.environ["DB"], **DB)
assert called.stream_type == "sql.postgresql"
assert isinstance(called.lock, type(threading.Lock()))
called.check_failures()

queued = Stream2Sql(name="queued", db_name=os.environ["DB"], **DB)
queued.start()
files = Stream2Local(name="filed", path="shards/")
assert not files.lock.locked()

while not os.path.exists("stop"):
    # On its way until the call returns.
    frame = fetch("called")
    if len(frame):
        called.stream(frame)
    frame = fetch("queued")
    if len(frame):
        queued.q.put(frame)
    frame = fetch("filed")
    if len(frame):
        files.q.put(frame)
    # The next is asked for once these are taken.
    while not (queued.q.empty() and files.q.empty()):
        time.sleep(0.01)
assert called.connected
