"""Imports go one way: what is kept knows nothing of who runs, what runs nothing of commands."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "api2db"

# Each layer may import from itself and from those above it in this list.
LAYERS = (
    ("_version", "credentialname", "errors", "failpoint", "nearest", "printable", "spelling"),
    ("durations", "due", "sizes", "files", "retry", "secret", "batch", "address", "children"),
    ("credentials", "place", "telling", "settings", "shard", "layout", "state", "schema", "childrows"),
    ("usage", "recent", "shardlog", "tapes"),
    ("spool", "journal", "quarantine", "ledger", "upgrade"),
    ("form", "sources", "formats", "sinks", "collector", "composing"),
    ("discovery", "ingest", "probing", "testing"),
    ("runtime", "audit"),
    ("stream", "store"),
    ("web", "tell"),
    ("app",),
    ("demo", "chaos", "cli", "legacy"),
)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def imports_of(path: Path) -> list[str]:
    """The parts of our package a module imports, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("api2db"):
            parts = node.module.split(".")
            found += [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("api2db.")]
    return found


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_layer_and_those_before_it(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in LEVEL, f"{part} has no place in LAYERS"
    wrong = [name for name in imports_of(path) if LEVEL.get(name, -1) > LEVEL[part]]
    assert not wrong


def test_a_collectors_own_process_imports_nothing_heavy_but_what_its_module_does():
    code = """
import sys
import api2db.app.child
print(sorted({"numpy", "pandas", "pyarrow", "sqlalchemy", "requests"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_heavy_packages_are_imported_when_first_needed():
    code = """
import sys
import api2db, api2db.cli.main, api2db.runtime.status
heavy = {"pandas", "google.cloud.bigquery", "heavydb", "psycopg", "prometheus_client", "pymysql", "requests"}
heavy |= {"waitress"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
