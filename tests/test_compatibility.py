"""docs/compatibility.md is true: names and defaults are those of the code, and every test it names exists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api2db.stream import Stream, Stream2Bigquery, Stream2Omnisci, Stream2Sql

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "compatibility.md"
KEPT, MORE, OTHERWISE = "as documented", "and more", "otherwise"
NAME = re.compile(r"`([A-Za-z_][\w.]*)(\((.*)\))?`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")

# For attributes that only an object has.
OBJECTS: dict[str, Callable[[], object]] = {
    "Stream": lambda: Stream("weather"),
    "Stream2Bigquery": lambda: Stream2Bigquery("weather", "AUTH/google.json", "my-project", "raw", "weather"),
    "Stream2Omnisci": lambda: Stream2Omnisci("weather", "db", "user", "password", "host"),
    "Stream2Sql": lambda: Stream2Sql("weather", "db", "postgresql", "user", "password", "host"),
}


@dataclass(frozen=True)
class Row:
    """One line of a table: under the heading of a module, or of something else."""

    heading: str
    documented: str
    here: str
    how: str
    shown_by: str

    @property
    def module(self) -> str | None:
        found = re.fullmatch(r"Module `([\w.]+)`", self.heading)
        return found[1] if found else None

    @property
    def name(self) -> tuple[str, str, str | None] | None:
        """Module, name in it and parameters (None for an attribute) of a line that is about a name."""
        found = NAME.fullmatch(self.documented)
        return (self.module, found[1], found[3] if found[2] else None) if self.module and found else None


def rows() -> list[Row]:
    found, heading = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        cells = [cell.strip() for cell in line[1:-1].split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0] != "documented" and not cells[0].startswith("---"):
            found.append(Row(heading, *cells))
    return found


ROWS = rows()
NAMES = [row for row in ROWS if row.name is not None]


def called(row: Row) -> str:
    assert row.name is not None
    return ".".join(row.name[:2])


def look(module: str, name: str) -> Any:
    """The object, by way of an instance for what only one of those has."""
    first, _, attribute = name.partition(".")
    owner = getattr(importlib.import_module(module), first)
    if not attribute:
        return owner
    return getattr(owner if hasattr(owner, attribute) else OBJECTS[first](), attribute)


def documented_parameters(text: str) -> list[tuple[str, Any]]:
    arguments = ast.parse(f"def f({text}): ...").body[0].args  # type: ignore[attr-defined]
    defaults = [ast.literal_eval(default) for default in arguments.defaults]
    names = [argument.arg for argument in arguments.args]
    none = [inspect.Parameter.empty] * (len(names) - len(defaults))
    return list(zip(names, [*none, *defaults], strict=True))


def test_the_page_says_of_everything_what_became_of_it():
    assert len(NAMES) > 70
    assert {row.here for row in ROWS} == {KEPT, MORE, OTHERWISE}
    unexplained = [row.documented for row in ROWS if row.here in (MORE, OTHERWISE) and not row.how]
    assert not unexplained


@pytest.mark.parametrize("row", NAMES, ids=called)
def test_a_name_that_is_kept_has_the_documented_parameters_and_defaults(row):
    module, name, text = row.name
    found = look(module, name)
    if text is None:
        return  # an attribute: it is there
    parameters = [p for p in inspect.signature(found).parameters.values() if p.name != "self"]
    documented = documented_parameters(text)
    ours = parameters[: len(documented)]
    assert [parameter.name for parameter in ours] == [name for name, _ in documented]
    for parameter, (_, default) in zip(ours, documented, strict=True):
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        if default is not parameter.empty or row.here == KEPT:
            assert parameter.default == default, parameter.name
    added = parameters[len(documented) :]
    assert all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in added)
    if row.here == KEPT:
        assert not added


def test_every_command_of_the_page_is_installed():
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    commands = [re.match(r"`(\w+)", row.documented) for row in ROWS if row.heading == "Commands"]
    named = {found[1] for found in commands if found}
    assert len(named) == 8
    assert named | {"api2db"} == scripts.keys()


@pytest.mark.parametrize("module", sorted({row.module for row in NAMES if row.module}))
def test_a_documented_module_gives_its_names_to_an_import_of_all(module):
    namespace: dict[str, object] = {}
    names = {row.name[1].partition(".")[0] for row in NAMES if row.module == module}
    if names and module != "api2db":
        exec(f"from {module} import *", namespace)
        assert names <= set(namespace)


def test_every_line_is_shown_by_tests_that_exist():
    for row in ROWS:
        shown = TEST.findall(row.shown_by)
        assert shown, row.documented
        assert TEST.sub("", row.shown_by).strip(", ") == "", row.shown_by
    for path, test in TEST.findall(PAGE.read_text()):
        assert re.search(rf"^def {test}\(", (REPOSITORY / path).read_text(), re.MULTILINE), (path, test)
