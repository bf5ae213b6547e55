"""Every recipe of docs/sources.md, run as it stands there against an API of its convention."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api2db import Collector
from api2db.sources import payload
from tests.sources.rest_server import RestServer

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
CODE = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
HOST = "https://api.example.org"
# Those whose API isn't of the convention they are called after.
CONVENTIONS = {
    **dict.fromkeys(("by_link_header", "with_a_place", "declared", "link_header"), "link"),
    "next_url": "url",
    "children": "accounts",
}
RECORDS = [{"id": str(number), "total": number / 2, "placed_at": "2026-02-01T10:00:00Z"} for number in range(1, 8)]


def collectors(root: str) -> dict[str, Collector]:
    """The collectors of the page, by name, asking ``root``."""
    namespace: dict[str, object] = {}
    exec(compile(CODE.replace(HOST, root), "docs/sources.md", "exec"), namespace)
    return {found.name: found for found in namespace.values() if isinstance(found, Collector)}


NAMES = sorted(collectors(HOST))


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with RestServer(RECORDS, size=3) as api:
        yield api


@pytest.fixture(scope="module")
def declared(server: RestServer) -> dict[str, Collector]:
    return collectors(server.root)


def test_each_recipe_declares_a_collector() -> None:
    recipes = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert len(NAMES) == len(recipes) + 3


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_everything_its_api_has(server: RestServer, declared: dict[str, Collector], name: str) -> None:
    server.only = CONVENTIONS.get(name, name)
    server.size = len(RECORDS) if name in ("map", "table", "parallel", "headless") else 3
    collector = declared[name]
    rows = []
    for item in payload.items(collector.poll(None)):
        shaped = payload.shape(payload.take_cursor(item)[0], collector.api_form() or _found())
        rows += shaped.table.to_pylist() if shaped is not None else []
    if name == "children":
        assert [row["order"] for row in rows] == [f"{n}-{at}" for n in range(1, 8) for at in range(n)]
    else:
        assert [(row["id"], row["total"]) for row in rows] == [(one["id"], one["total"]) for one in RECORDS]


def _found() -> object:
    from api2db.form import InferredForm

    return InferredForm({})
