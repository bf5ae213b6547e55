"""docs/types.md is true, cell by cell: each is tried on the real database or file, with values of its own domain."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api2db.form import from_arrow
from tests.bigquery import Emulator
from tests.contract.places import Place, PostgresPlace, Quarantine
from tests.contract.type_cases import CASES, KEYS, OTHER, Case
from tests.contract.types_page import (
    PLACES,
    REFUSED,
    RULES,
    Cell,
    Held,
    csv_type,
    csv_value,
    into_bigquery,
    into_database,
    into_file,
    json_type,
    read_page,
    same,
)
from tests.servers import Postgres

ROWS = read_page()
COLUMNS = {label: f"c{at}" for at, label in enumerate([*CASES, *OTHER, *KEYS])}
ANY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
# Not shrunk: what fails names its row and its value.
VALUES = 2
tried = settings(max_examples=8, suppress_health_check=ANY, phases=[Phase.reuse, Phase.generate])


def tried_on(place: Place, examples: int = 8) -> settings:
    """So many examples; fewer for DuckDB, which opens its file anew for each."""
    return settings(tried, max_examples=-(-examples // 3) if place.name == "duckdb" else examples)


# It keeps a BIGNUMERIC in 38 digits, some of them places, Google in 76; and reads none of that size from parquet.
BEYOND_THE_EMULATOR = (
    *("`decimal128(38, 0)`, 38 digits", "`decimal128(38, 0)`, 35 digits"),
    *("`decimal128(38, 10)`", "`decimal128(38, 31)`", "`decimal256` up to 38 digits"),
)


@dataclass
class Drawn:
    """A table with a column for each case, and in each row one value of one of them.

    owners  the label of the row's value
    raw     the value, as the case has it
    table   as the form gives it
    given   the value, as the form gives it
    counted how many values of a column the form has changed
    """

    owners: list[str]
    raw: list[Any]
    table: pa.Table
    given: list[Any]
    counted: dict[str, int]

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """For hypothesis: the values are too long to show."""
        printer.text(f"a table of {self.table.num_rows} rows and {self.table.num_columns} columns")


@st.composite
def tables(draw: st.DrawFn, cases: dict[str, Case], values: int = VALUES) -> Drawn:
    owners = [label for label in cases for _ in range(values)]
    raw = [draw(cases[label].values) for label in owners]
    fields, arrays = [pa.field("id", pa.int64())], [pa.array(range(len(owners)), pa.int64())]
    for label, case in cases.items():
        cells = [value if owner == label else None for owner, value in zip(owners, raw, strict=True)]
        fields.append(pa.field(COLUMNS[label], case.arrow, metadata=case.metadata))
        arrays.append(case.build(cells, case.arrow))
    shaped = from_arrow(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))
    table = shaped.table
    columns = {label: table.column(COLUMNS[label]).to_pylist() for label in cases}
    given = [columns[label][at] for at, label in enumerate(owners)]
    return Drawn(owners, raw, table, given, dict(shaped.steps[0].by_column))


def refusals(quarantine: Quarantine) -> dict[int, str]:
    return {row["id"]: why for row, why in zip(quarantine.rows, quarantine.reasons, strict=True)}


def check(place: str, drawn: Drawn, held: Held, refused: dict[int, str]) -> None:
    """Each value where its cell says it is, as what it says; and NULL wherever there was none."""
    kept = [row for row in range(len(drawn.owners)) if row not in refused]
    for row, label in enumerate(drawn.owners):
        cell, column = ROWS[label][place], COLUMNS[label]
        if cell.rule == REFUSED:
            assert row in refused, (label, drawn.given[row])
            assert f'column "{column}"' in refused[row] or f"column '{column}'" in refused[row]
            continue
        assert row not in refused, (label, refused[row])
        if cell.rule == "no column yet":
            assert column not in held.columns
            continue
        check_value(place, cell, label, held.columns[column][kept.index(row)], drawn.given[row])
        if cell.declared is not None and place not in ("json", "csv"):
            assert held.declared[column] == cell.declared, label
    for label, column in COLUMNS.items():
        if column in held.columns:
            others = [at for at, row in enumerate(kept) if drawn.owners[row] != label]
            assert {held.columns[column][at] for at in others} <= {None}


def check_value(place: str, cell: Cell, label: str, found: Any, value: Any) -> None:
    if place in ("json", "csv") and found is not None and cell.declared is not None:
        assert (json_type if place == "json" else csv_type)(found) == cell.declared, label
    expected = None if value is None else RULES[cell.rule](value)
    if place == "csv" and found is not None:
        found = csv_value(found, expected)
        if ROWS[label]["parquet"].declared == "float":
            found = float(np.float32(found))
    if place in ("postgresql", "bigquery") and isinstance(found, Decimal) and isinstance(expected, int):
        found = int(found)
    if cell.rule == "digits" and isinstance(value, Decimal) and place != "sqlite":
        # In files perhaps with an exponent.
        found, expected = Decimal(found), value
    assert same(found, expected), (place, label, value, found, expected)


def test_the_page_has_the_rows_that_are_tried_and_no_others() -> None:
    assert list(ROWS) == [*CASES, *OTHER, *KEYS]
    assert all(set(ROWS[label]) == {"form", *PLACES} for label in [*CASES, *OTHER])
    assert {cell.rule for row in ROWS.values() for place, cell in row.items() if place != "form"} <= {
        *RULES,
        REFUSED,
        "no column yet",
    }


@tried
@given(tables({**CASES, **OTHER}))
def test_the_form_makes_of_each_type_what_the_page_says(drawn: Drawn) -> None:
    cases = {**CASES, **OTHER}
    for row, label in enumerate(drawn.owners):
        case, cell, field = cases[label], ROWS[label]["form"], drawn.table.schema.field(COLUMNS[label])
        expected = case.form(drawn.raw[row]) if case.form is not None else drawn.raw[row]
        assert same(drawn.given[row], expected), (label, drawn.raw[row], drawn.given[row])
        is_json = bool(field.metadata)
        assert is_json == (cell.rule == "JSON" or label.startswith("JSON"))
        if cell.declared is not None:
            assert str(field.type) == cell.declared
        elif not is_json:
            assert field.type == case.arrow
        counted = drawn.counted.get(COLUMNS[label], 0)
        if cell.rule.startswith("cut off"):
            assert counted <= VALUES
        else:
            assert counted == (VALUES if cell.rule.endswith("counted") else 0), label


def test_a_database_holds_each_type_as_the_page_says(place: Place) -> None:
    @tried_on(place)
    @given(drawn=tables({**CASES, **OTHER}))
    def holds(drawn: Drawn) -> None:
        held, quarantine = into_database(place, drawn.table)
        check(place.name, drawn, held, refusals(quarantine))

    holds()


@tried
@given(drawn=tables({label: case for label, case in CASES.items() if ROWS[label]["postgresql"].declared != "numeric"}))
def test_what_postgresql_is_given_in_binary_is_as_the_page_says(
    postgres: Postgres, contract_database: str, drawn: Drawn
) -> None:
    place = PostgresPlace.new_schema(postgres.url(contract_database))
    held, quarantine = into_database(place, drawn.table)
    check(place.name, drawn, held, refusals(quarantine))


def test_a_merge_stores_what_an_append_stores(place: Place) -> None:
    @tried_on(place, 4)
    @given(drawn=tables({**CASES, **OTHER}, values=1))
    def stores(drawn: Drawn) -> None:
        appended, left = into_database(place, drawn.table)
        merged, left_by_merge = into_database(place, drawn.table, key="id")
        assert {**merged.declared, "id": ""} == {**appended.declared, "id": ""}
        assert {name: list(map(repr, values)) for name, values in merged.columns.items()} == {
            name: list(map(repr, values)) for name, values in appended.columns.items()
        }
        assert refusals(left_by_merge).keys() == refusals(left).keys()

    stores()


# A table with a JSON column is loaded from lines of JSON, another from parquet.
@pytest.mark.parametrize("form", ["JSON", "parquet"])
@settings(tried, max_examples=2)
@given(data=st.data())
def test_bigquery_holds_each_type_as_the_page_says(
    bigquery: Emulator, tmp_path_factory: Any, form: str, data: st.DataObject
) -> None:
    without = ("JSON", "BIGNUMERIC") if form == "parquet" else ()
    cases = {
        label: case
        for label, case in {**CASES, **OTHER}.items()
        if label not in BEYOND_THE_EMULATOR and ROWS[label]["bigquery"].declared not in without
    }
    drawn = data.draw(tables(cases))
    held, quarantine = into_bigquery(bigquery, tmp_path_factory.mktemp(form), drawn.table)
    check("bigquery", drawn, held, refusals(quarantine))


@pytest.mark.parametrize("fmt", ["parquet", "feather", "json", "pickle", "csv"])
@tried
@given(drawn=tables({**CASES, **OTHER}))
def test_a_file_holds_each_type_as_the_page_says(tmp_path_factory: Any, fmt: str, drawn: Drawn) -> None:
    folder: Path = tmp_path_factory.mktemp(fmt)
    column = "parquet" if fmt == "feather" else fmt  # the page has one for both
    check(column, drawn, into_file(folder, fmt, drawn.table), {})


@pytest.mark.parametrize("label", KEYS)
def test_a_key_is_kept_or_refused_as_the_page_says(place: Place, label: str) -> None:
    @tried_on(place, 3)
    @given(drawn=tables({label: KEYS[label]}, values=1))
    def is_kept(drawn: Drawn) -> None:
        held, quarantine = into_database(place, drawn.table, key=COLUMNS[label])
        cell = ROWS[label][place.name]
        if cell.rule == REFUSED:
            assert [row["id"] for row in quarantine.rows] == [0]
            assert quarantine.reasons[0]
            assert held.columns["id"] == []
        else:
            assert not quarantine.kept
            assert held.declared[COLUMNS[label]] == cell.declared
            assert held.columns[COLUMNS[label]] == drawn.given

    is_kept()
