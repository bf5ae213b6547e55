"""Each place has a page with its options, types, guarantees and errors; none that the code knows is left out."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import duckdb
import pytest

from api2db.sinks import duck_errors, my_errors, pg_errors, sqlite
from api2db.sinks.bigquery import refusals
from api2db.stream import Stream2Bigquery, Stream2Local, Stream2Omnisci, Stream2Sql

PAGES = Path(__file__).parents[2] / "docs" / "sinks"
SQL = ("sqlite", "duckdb", "postgresql", "mariadb")


def text(page: str) -> str:
    return (PAGES / f"{page}.md").read_text()


@pytest.mark.parametrize("page", [*SQL, "local", "bigquery", "omnisci"])
def test_a_page_has_options_types_guarantees_and_errors(page: str) -> None:
    headings = " ".join(re.findall(r"^## (.*)", text(page), re.M)).lower()
    assert "| option | meaning |" in text(page)
    assert "](../types.md)" in text(page)
    assert "guarantees" in headings
    assert "errors" in headings


@pytest.mark.parametrize(
    ("page", "stream"),
    [
        *((page, Stream2Sql) for page in SQL),
        ("local", Stream2Local),
        ("bigquery", Stream2Bigquery),
        ("omnisci", Stream2Omnisci),
    ],
    ids=[*SQL, "local", "bigquery", "omnisci"],
)
def test_every_parameter_of_a_stream_is_on_its_page(page: str, stream: type) -> None:
    table = text(page).partition("| option | meaning |")[2].partition("\n\n")[0]
    missing = [name for name in inspect.signature(stream).parameters if f"`{name}`" not in table]
    assert not missing


def test_every_class_of_postgresqls_errors_is_on_its_page() -> None:
    page = text("postgresql").partition("## Errors")[2]
    missing = [code for code in pg_errors._RULES if not re.search(rf"`[^`]*\b{code}", page)]
    assert not missing


def test_every_kind_of_mysqls_errors_is_on_its_page() -> None:
    page = text("mariadb").partition("## Errors")[2]
    missing = [numbers for _, _, numbers in my_errors._RULES if not any(f"`{number}`" in page for number in numbers)]
    assert not missing


def test_every_error_of_duckdb_has_a_meaning_and_is_on_its_page() -> None:
    page = text("duckdb").partition("## Errors")[2]
    assert not [name for name in duck_errors._CAUSES if name not in page]
    # Those that no load can meet: of the web, of a query that is stopped, of sequences we don't use.
    others = {"HTTPException", "InterruptException", "SequenceException"}
    there = {name for name in dir(duckdb) if name.endswith("Exception")}
    assert there - others <= set(duck_errors._CAUSES)


def test_every_result_code_of_sqlite_that_means_something_is_on_its_page() -> None:
    page = text("sqlite").partition("## Errors")[2]
    known = re.findall(r"sqlite3\.(SQLITE_[A-Z]+):", inspect.getsource(sqlite))
    assert len(known) == len(sqlite._CAUSES)
    assert not [name for name in known if name not in page]


def test_every_reason_of_bigquery_that_means_something_is_on_its_page() -> None:
    page = text("bigquery").partition("## Errors")[2]
    assert not [reason for reason in (*refusals._RETRYABLE, *refusals._FATAL) if f"`{reason}`" not in page]
