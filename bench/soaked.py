"""The ten collectors of the soak: copied into its project."""

from __future__ import annotations

import itertools

from api2db import Cursor, Page, collector
from api2db.stream import Stream2Sql

NUMBERS = itertools.count()


def rows(count):
    return [
        {"id": n, "text": f"row {n}", "value": n / 7, "nest": {"even": n % 2 == 0}}
        for n in itertools.islice(NUMBERS, count)
    ]


def declare(number):
    @collector(every=1, name=f"appends{number}")
    def appends():
        return rows(5)

    return appends


appends0, appends1, appends2 = map(declare, range(3))


@collector(every=1, to=["database", "files"])
def two_places():
    return rows(5)


@collector(every=1, key="id", version="version")
def merges():
    return [{"id": row["id"] % 500, "version": row["id"]} for row in rows(20)]


@collector(
    every=1, to=[Stream2Sql(name="replaces", db_name="STORE/database.sqlite", dialect="sqlite", if_exists="replace")]
)
def replaces():
    yield rows(5)
    yield rows(5)


@collector(every=1)
def pages(cursor):
    for _ in range(3):
        cursor = (cursor or 0) + 1
        yield Page([{"page": cursor}], cursor)


@collector(every=1)
def filters(since=Cursor("id", start=0)):
    return [{"id": since + 1, "text": "x" * 1000}]


@collector(every=1)
def fails():
    number = next(NUMBERS)
    if number % 3 == 0:
        raise RuntimeError(f"failure {number}")
    return number if number % 3 == 1 else rows(1)  # a number is no data: it is kept in quarantine


KEPT = []


@collector(every=1, isolate=True, memory="64 MiB")
def leaks():
    """Beyond its limit after some 600 polls; then another process goes on."""
    KEPT.append(bytearray(100_000))
    if len(KEPT) % 100 == 0:
        print("keeps", len(KEPT))  # noqa: T201 - into the daemon's log
    return rows(2)
