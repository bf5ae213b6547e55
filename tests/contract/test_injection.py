"""Names that payloads bring are names, whatever they say: in no place do they become statements or paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.form.inferred import InferredForm
from api2db.sources import payload
from tests.contract.conftest import MakeSink
from tests.contract.doors import MODES, FileDoor, table
from tests.contract.places import Place, batch, load

# What statements, format strings, paths and terminals are made of.
PIECES = [
    "'",
    '"',
    "`",
    ";",
    "--",
    "/*",
    "*/",
    "\\",
    "%",
    "%s",
    "%(a)s",
    "{0}",
    "{a}",
    ":a",
    "?",
    "$1",
    "$$",
    "\n",
    "\r",
]
PIECES += [
    "\t",
    "\x1b[31m",
    "\u202e",
    "[",
    "]",
    "(",
    ")",
    ",",
    ".",
    "..",
    "/",
    " ",
    "é",
    "DROP TABLE witness",
    "a",
    "A",
]
NAMES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
RECORDS = st.dictionaries(
    NAMES, st.one_of(NAMES, st.dictionaries(NAMES, NAMES, min_size=1, max_size=2)), min_size=5, max_size=20
)
SHOWN = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    "duckdb": "SELECT table_name FROM duckdb_tables()",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()",
    "mariadb": "SELECT table_name FROM information_schema.tables WHERE table_schema = database()",
}


def leaves(record: dict[str, Any]) -> list[str]:
    """The texts in it, also those of its objects."""
    found: list[str] = []
    for value in record.values():
        found += leaves(value) if isinstance(value, dict) else [value]
    return found


def shaped(record: dict[str, Any]) -> Any:
    result = payload.shape([{"the_key": 1, **record}], InferredForm())
    assert result is not None
    return result.table


def test_names_of_columns_and_tables_and_values_are_never_statements(place: Place, make_sink: MakeSink) -> None:
    place.query("CREATE TABLE IF NOT EXISTS witness (n INTEGER)")

    @given(record=RECORDS, table_named=NAMES, merges=st.booleans())
    @settings(max_examples=2 if place.name == "duckdb" else 5)
    def are_names(record: dict[str, Any], table_named: str, merges: bool) -> None:
        known = {name for (name,) in place.query(SHOWN[place.name])}
        options = {"key": "the_key"} if merges else {}
        sink = make_sink(table=f"t{len(known)} {table_named}"[:40].rstrip(), **options)
        rows = shaped(record)
        quarantine = load(sink, batch(rows))
        assert not quarantine.kept
        load(sink, batch(rows))  # again, as another batch: a merge finds its row
        made = {name for (name,) in place.query(SHOWN[place.name])} - known - {"_api2db_ledger"}
        assert "witness" in known
        assert len(made) == 1
        (name,) = made
        quoted = f"`{name.replace('`', '``')}`" if place.name == "mariadb" else '"' + name.replace('"', '""') + '"'
        loaded = place.query(f"SELECT * FROM {quoted}")
        assert len(loaded) == (1 if merges else 2)
        for row in loaded:
            assert sorted(map(str, row)) == sorted(["1", *leaves(record)])

    are_names()


@pytest.mark.parametrize("mode", MODES)
def test_a_column_of_any_name_arrives_in_files_and_makes_no_path(tmp_path: Path, mode: str) -> None:
    names = ["../../injected", "/injected", "a/b", "%s{0}\n\x1b[31m", "'; DROP TABLE t; --"]
    door = FileDoor(tmp_path, mode)
    door.load(table({"id": [1], **{name: [name] for name in names}}))
    assert door.rows(*names) == [tuple(names)]
    assert not [*tmp_path.parent.glob("injected*"), *tmp_path.rglob("injected*")]
