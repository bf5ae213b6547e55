"""docs/types.md as its test reads it: the cells of its table, what each says, and the places it speaks of."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from api2db.sinks.sql import SqlSink
from tests.bigquery import Emulator
from tests.contract.places import Place, Quarantine, batch, load, table_name
from tests.sinks.bigquery_kit import Table
from tests.sinks.local_kit import Queue

PAGE = Path(__file__).parents[2] / "docs" / "types.md"
PLACES = ("sqlite", "duckdb", "postgresql", "mariadb", "bigquery", "parquet", "json", "pickle", "csv")
REFUSED = "quarantine"


@dataclass(frozen=True)
class Cell:
    """What one place makes of one row's values: its type there, None where the row above says it, and the rule."""

    declared: str | None
    rule: str


def read_page() -> dict[str, dict[str, Cell]]:
    """Label of a row -> "form" or a place -> the cell; those with a dash are left out."""
    rows: dict[str, dict[str, Cell]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == len(PLACES) + 2 and not cells[0].startswith(("arrives", "---")):
            rows[cells[0]] = {
                place: _cell(text) for place, text in zip(("form", *PLACES), cells[1:], strict=True) if text != "—"
            }
    return rows


def _cell(text: str) -> Cell:
    found = re.fullmatch(r"(?:`([^`]+)`)?[ ,]*(.*)", text)
    assert found is not None
    return Cell(found[1], found[2].strip("*"))


def same(found: Any, given: Any) -> bool:
    """Equal, of one type, and to the last digit: NaN is NaN, -0.0 isn't 0.0, 1.10 isn't 1.1."""
    if isinstance(given, (float, Decimal)):
        return repr(found) == repr(given)
    return type(found) is type(given) and found == given


def _json(given: str) -> Any:
    return json.loads(given)


def _sql_text(given: Any) -> str:
    if type(given) is dt.date:
        return given.isoformat()
    return str(given.isoformat(*(() if type(given) is dt.time else (" ",)), timespec="microseconds"))


def _iso(given: Any) -> str:
    if isinstance(given, dt.datetime):
        return given.replace(tzinfo=None).isoformat(timespec="microseconds") + ("Z" if given.tzinfo else "")
    return str(given.isoformat())


def _to_places(given: Decimal) -> Decimal:
    sign, digits, exponent = given.as_tuple()
    assert isinstance(exponent, int)
    return Decimal((sign, digits + (0,) * (30 + exponent), -30)) if given else Decimal("0E-30")


def no_zeros(given: Decimal) -> Decimal:
    text = format(given, "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


RULES: dict[str, Callable[[Any], Any]] = {
    "kept": lambda given: given,
    "NULL": lambda _: None,
    "0, 1": int,
    "0.0": lambda _: 0.0,
    "digits": lambda given: str(given) if isinstance(given, int) else format(given, "f"),
    "to 30 places": _to_places,
    "no zeros": no_zeros,
    "text": _sql_text,
    "ISO 8601": _iso,
    "in UTC": lambda given: given.replace(tzinfo=None),
    "µs": lambda given: given // dt.timedelta(microseconds=1),
    "days and time": lambda given: str(pd.Timedelta(given)),
    "JSON text": lambda given: given,
    "value": _json,
    "base64": lambda given: base64.b64encode(given).decode(),
    "Infinity": lambda given: "Infinity" if given > 0 else "-Infinity",
    "inf": lambda given: given,
}
"""What a place holds, in its driver's words, by what the form gave it."""


@dataclass
class Held:
    """What a place holds after a load: columns' types and values, each row's in the order of its ``id``."""

    declared: dict[str, str]
    columns: dict[str, list[Any]]


def held_by_database(place: Place, table: str) -> Held:
    declared = dict(place.query(_CATALOG[place.name].format(table=table)))
    if place.name == "mariadb":
        # An older server's width of an integer says nothing; JSON is text with a check.
        ((_, created),) = place.query(f"SHOW CREATE TABLE {table}")
        checked = set(re.findall(r'json_valid\(["`](\w+)["`]\)', created))
        declared = {
            name: "json" if name in checked else re.sub(r"(int)\((?!1\))\d+\)", r"\1", kind)
            for name, kind in declared.items()
        }
    names = list(declared)
    rows = place.query(f"SELECT {', '.join(names)} FROM {table} ORDER BY id")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    for name, kind in declared.items():
        if kind == "time(6)":
            # Its driver has no other word for a time of day.
            columns[name] = [None if v is None else (dt.datetime.min + v).time() for v in columns[name]]
    return Held(declared, columns)


_CATALOG = {
    "sqlite": "SELECT name, type FROM pragma_table_info('{table}')",
    "duckdb": "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{table}'",
    "postgresql": "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
    "WHERE attrelid = '{table}'::regclass AND attnum > 0",
    "mariadb": "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}'",
}


def into_database(place: Place, table: pa.Table, **options: Any) -> tuple[Held, Quarantine]:
    """Load through the sink into a new table; what it holds then, and what was refused."""
    name = table_name()
    sink = SqlSink(stream="types/sql", url=place.url, table=name, **options)
    try:
        quarantine = load(sink, batch(table))
    finally:
        sink.close()
    return held_by_database(place, name), quarantine


def into_bigquery(emulator: Emulator, folder: Path, table: pa.Table) -> tuple[Held, Quarantine]:
    """The same for BigQuery's emulator, as Google's client shows it."""
    into = Table(emulator, folder)
    into.load(table)
    declared = into.types()
    rows = into.rows(*declared)
    columns = {name: [_in_bigquery(row[at]) for row in rows] for at, name in enumerate(declared)}
    return Held(declared, columns), into.quarantine


def _in_bigquery(value: Any) -> Any:
    return no_zeros(value) if isinstance(value, Decimal) else value


def into_file(folder: Path, fmt: str, table: pa.Table) -> Held:
    """Load through the sink into a file; what another program finds in it."""
    queue = Queue(folder, fmt=fmt, drop_duplicate_keys=[])
    queue.deliver(table)
    (path,) = queue.target.iterdir()
    return _READERS[fmt](path)


def _read_parquet(path: Path) -> Held:
    table = pq.read_table(path)
    return Held({field.name: str(field.type) for field in table.schema}, table.to_pydict())


def _read_feather(path: Path) -> Held:
    table = pyarrow.feather.read_table(path)
    return Held({field.name: str(field.type) for field in table.schema}, table.to_pydict())


def _read_pickle(path: Path) -> Held:
    frame = pd.read_pickle(path)
    columns = {name: [_python(value) for value in frame[name].tolist()] for name in frame.columns}
    return Held({name: str(frame[name].dtype) for name in frame.columns}, columns)


def _python(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    if isinstance(value, pd.Timedelta):
        assert value.unit == "us"
        return dt.timedelta(microseconds=int(value.asm8.view("i8")))
    if value is pd.NA or value is pd.NaT:
        return None
    return value.item() if isinstance(value, np.generic) else value


_JSON_TYPES = {bool: "boolean", int: "number", float: "number", str: "string"}


def _read_json(path: Path) -> Held:
    records = json.loads(path.read_text())
    columns = {name: [record[name] for record in records] for name in records[0]}
    return Held({}, columns)


def json_type(value: Any) -> str:
    return _JSON_TYPES.get(type(value), "any")


_CELL = re.compile(r'("(?:[^"]|"")*"|[^,\n]*)(,|\n|\Z)')


def _read_csv(path: Path) -> Held:
    """Cells as they stand there, quotes included; None for an empty one."""
    lines: list[list[str | None]] = [[]]
    text = path.read_bytes().decode()
    for cell in _CELL.finditer(text):
        lines[-1].append(cell[1] or None)
        if cell[2] == "\n":
            lines.append([])
    header, rows = next(csv.reader(io.StringIO(text))), [line for line in lines[1:] if len(line) > 1]
    return Held({}, {name: [row[at] for row in rows] for at, name in enumerate(header)})


def csv_type(cell: str) -> str:
    return "quoted" if cell.startswith('"') else "bare"


def csv_value(cell: str, given: Any) -> Any:
    """A bare cell as the type that was given; of a quoted one its text."""
    if cell.startswith('"'):
        return cell[1:-1].replace('""', '"')
    if isinstance(given, bool):
        return {"true": True, "false": False}[cell]
    return type(given)(cell) if isinstance(given, (int, float)) else cell


_READERS: dict[str, Callable[[Path], Held]] = {
    "parquet": _read_parquet,
    "feather": _read_feather,
    "json": _read_json,
    "pickle": _read_pickle,
    "csv": _read_csv,
}
