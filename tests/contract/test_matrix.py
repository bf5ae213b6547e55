"""The table of what every place is tested for, in docs/guarantees.md, is true: its tests exist and try those places."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = "## What every place is tested for"
PLACES = ("sqlite", "duckdb", "postgresql", "mariadb", "bigquery", "shard", "update", "replace")
FOLDERS = ("tests/contract", "tests/sinks", "tests/faults")
# What a module's tests are about where they don't say it themselves.
MODULES = {
    "test_bigquery": {"bigquery"},
    "test_my_faults": {"mariadb"},
    "test_my_encodings": {"mariadb"},
    "test_pg_encodings": {"postgresql"},
    "test_local": {"shard"},
    "test_file_kills": {"shard", "update", "replace"},
    "test_replace_kills": {"sqlite", "postgresql", "mariadb"},
}

# Else by what it uses.
SIGNS = {
    "sqlite": "SQLitePlace(",
    "postgresql": "postgres: Postgres",
    "update": "update(tmp_path",
    "replace": 'mode="replace"',
}


def matrix() -> dict[str, tuple[dict[str, str], list[str]]]:
    """Behaviour -> what its cells say by place, and the names of its tests."""
    section = (ROOT / "docs" / "guarantees.md").read_text().partition(HEADING)[2].partition("\n## ")[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(PLACES) + 2 and cells[0] and not cells[0].startswith("---"):
            tests = re.findall(r"`(test_\w+)`", cells[-1])
            rows[cells[0]] = dict(zip(PLACES, cells[1:-1], strict=True)), tests
    return rows


@pytest.fixture(scope="module")
def tried() -> dict[str, set[str]]:
    """Name of a test -> the places it is collected for."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *FOLDERS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True).stdout
    found: dict[str, set[str]] = {}
    for module, name, parameters in re.findall(r"^\S*?(\w+)\.py::(test_\w+)(?:\[(.*)\])?$", listed, re.M):
        named = {place for place in PLACES if place in re.split(r"[-\s]", parameters)}
        found.setdefault(name, set()).update(named or _places_of(module, name))
    return found


def _places_of(module: str, name: str) -> set[str]:
    if module in MODULES:
        return MODULES[module]
    (path,) = (path for folder in FOLDERS for path in (ROOT / folder).glob(f"{module}.py"))
    text = path.read_text().partition(f"def {name}(")[2].partition("\ndef ")[0]
    return {place for place, sign in SIGNS.items() if sign in text}


def test_the_matrix_names_tests_that_exist_and_try_the_places_it_says(tried: dict[str, set[str]]) -> None:
    rows = matrix()
    assert len(rows) > 10
    for behaviour, (cells, tests) in rows.items():
        assert tests, behaviour
        assert not [name for name in tests if name not in tried], behaviour
        reached = set().union(*(tried[name] for name in tests))
        claimed = {place for place, cell in cells.items() if cell == "✓"}
        assert claimed == reached & set(PLACES), behaviour
        assert all(cell in ("✓", "—") for cell in cells.values()), behaviour
