"""HTTP pages to PostgreSQL as the first api2db did it: ``original.py API PAGES DATABASE``.

``response.json()``, a dict of lambdas called for each row, a DataFrame of each page; when all are collected they
are put together and ``DataFrame.to_sql`` inserts them over psycopg2.
"""

import sys
from datetime import UTC, datetime

import pandas as pd
import requests
from sqlalchemy import create_engine

FEATURES = {
    "id": lambda row: row["id"],
    "kind": lambda row: row["kind"],
    "mag": lambda row: row["mag"],
    "depth": lambda row: row["depth"],
    "felt": lambda row: row["felt"],
    "place": lambda row: row["place"],
    "net": lambda row: row["net"],
    "title": lambda row: row["title"],
    "updated": lambda row: datetime.fromtimestamp(row["updated"] / 1000, UTC),
    "lat": lambda row: row["lat"],
    "lon": lambda row: row["lon"],
}


def main(api: str, pages: int, database: str) -> None:
    frames = []
    session = requests.Session()
    for number in range(pages):
        records = session.get(f"{api}/{number}").json()
        frames.append(pd.DataFrame([{name: feature(row) for name, feature in FEATURES.items()} for row in records]))
    engine = create_engine(database)
    pd.concat(frames).to_sql("events", engine, if_exists="append", index=False, chunksize=10_000)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
