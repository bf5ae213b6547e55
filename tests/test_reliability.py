"""docs/reliability.md names tests and commands that there are, and says of each fault what each sink does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
BY_SINK = "## Each fault, each sink"
# As the table's columns are called, and what the tests call them.
SINKS = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "duckdb": "DuckDB",
    "files": "files",
    "bigquery": "BigQuery",
    "generic": "others",
    "omnisci": "OmniSci",
}
# Shown by the row's tests; does not exist there, with why; nobody has shown it; or a figure, by the row's command.
CELL = re.compile(r"✓( .+)?|— .+|not shown|\d.*")


def rows_by_sink() -> list[list[str]]:
    """The table's lines as cells, its head first."""
    section = PAGE.partition(BY_SINK)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def faults_by_sink() -> dict[str, tuple[dict[str, str], list[str]]]:
    """Fault -> what is said of it by sink, and its tests."""
    _, *rows = rows_by_sink()
    return {
        cells[0]: (dict(zip(SINKS, cells[1:-1], strict=True)), re.findall(r"`(test_\w+)`", cells[-1])) for cells in rows
    }


def test_each_fault_is_answered_for_each_sink():
    head, *rows = rows_by_sink()
    assert head[1:-1] == list(SINKS.values())
    assert len(rows) > 15
    for cells in rows:
        assert len(cells) == len(head), cells[0]
        assert all(CELL.fullmatch(cell) for cell in cells[1:-1]), cells
    assert len({cells[0] for cells in rows}) == len(rows)


def test_what_is_shown_for_a_sink_has_a_test_or_a_command():
    for fault, (cells, tests) in faults_by_sink().items():
        (last,) = (row[-1] for row in rows_by_sink() if row[0] == fault)
        if any(cell.startswith("✓") for cell in cells.values()):
            assert tests, fault
        if any(cell[0].isdigit() for cell in cells.values()):
            assert "`python -m bench." in last, fault


def test_every_test_the_page_names_exists():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"^(?:def|class|\s+def) (\w+)", sources, re.M))
    named = set(re.findall(r"`(test_\w+|\w+Machine)`", PAGE))
    assert len(named) > 30
    missing = named - defined
    assert not missing
    assert not [path for path in re.findall(r"`(tests/[\w/.]+)`", PAGE) if not (ROOT / path).exists()]


def test_every_command_the_page_names_can_be_run():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", PAGE):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"`python -m ([\w.]+)", PAGE):
        assert importlib.util.find_spec(module), module
