"""The tables of what every place is tested for, and of faults by sink, are true: their tests try those places.

In docs/guarantees.md and docs/reliability.md. Of the latter, tests/test_reliability.py holds the form.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_reliability import SINKS, faults_by_sink

ROOT = Path(__file__).parents[2]
HEADING = "## What every place is tested for"
FILES = {"shard", "update", "replace"}
PLACES = ("sqlite", "duckdb", "postgresql", "mariadb", "generic", "bigquery", "omnisci", "shard", "update", "replace")
FOLDERS = ("tests/contract", "tests/sinks", "tests/faults", "tests/omnisci", "tests/runtime", "tests/power")
# What a module's tests are about whatever their parameters are called.
ALWAYS = {"test_generic": {"generic"}}
TESTS = {
    "test_a_database_restored_from_a_backup_is_whole_after_one_command": {"sqlite"},
    "test_of_files_only_those_that_are_gone_are_published_again": {"shard"},
    "test_what_our_sink_has_loaded_into_duckdb_outlives_a_cut_at_any_of_its_flushes": {"duckdb"},
}
# And where they don't say it themselves: of a module, or of a folder.
MODULES = {
    "omnisci": {"omnisci"},
    "test_bigquery": {"bigquery"},
    "test_bigquery_altered": {"bigquery"},
    "test_bigquery_fresh": {"bigquery"},
    "test_bigquery_kills": {"bigquery"},
    "test_duckdb_kills": {"duckdb"},
    "test_my_faults": {"mariadb"},
    "test_my_encodings": {"mariadb"},
    "test_pg_encodings": {"postgresql"},
    "test_local": {"shard"},
    "test_kills": {"sqlite", "postgresql", "mariadb", "shard"},
    "test_file_kills": FILES,
    "test_disk": {"sqlite", "shard"},
    "test_replace_kills": {"sqlite", "postgresql", "mariadb"},
}

# Else by what it uses.
SIGNS = {
    "sqlite": ("SQLitePlace(", 'dialect = \\"sqlite\\"', "older.sqlite"),
    "postgresql": ("postgres: Postgres", 'getfixturevalue("postgres")'),
    "shard": ("project.files(", '"files"'),
    "update": ("update(tmp_path",),
    "replace": ('mode="replace"',),
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
    named = {name for _, tests in [*matrix().values(), *faults_by_sink().values()] for name in tests}
    defines = re.compile(rf"^def ({'|'.join(named)})\(", re.M)
    modules = [path for folder in FOLDERS for path in (ROOT / folder).glob("test_*.py")]
    wanted = [str(path.relative_to(ROOT)) for path in modules if defines.search(path.read_text())]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *wanted]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True).stdout
    found: dict[str, set[str]] = {}
    for path, name, parameters in re.findall(r"^(\S+\.py)::(test_\w+)(?:\[(.*)\])?$", listed, re.M):
        said = {place for place in PLACES if place in re.split(r"[-\s]", parameters)}
        module = ROOT / path
        always = TESTS.get(name) or ALWAYS.get(module.stem)
        found.setdefault(name, set()).update(always or said or _places_of(module, name))
    return found


def _places_of(module: Path, name: str) -> set[str]:
    for known in (module.stem, module.parent.name):
        if known in MODULES:
            return MODULES[known]
    text = module.read_text().partition(f"def {name}(")[2].partition("\ndef ")[0]
    return {place for place, signs in SIGNS.items() if any(sign in text for sign in signs)}


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


def test_a_fault_is_shown_for_the_sinks_whose_tests_try_it_and_no_others(tried: dict[str, set[str]]) -> None:
    for fault, (cells, tests) in faults_by_sink().items():
        reached = set().union(*(tried[name] for name in tests))
        reached = {"files" if place in FILES else place for place in reached}
        claimed = {sink for sink, cell in cells.items() if cell.startswith("✓")}
        assert claimed == reached & set(SINKS), fault
