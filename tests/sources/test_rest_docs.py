"""Every recipe of docs/sources.md, run as it stands there against an API of its convention."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api2db import Collector
from api2db.sources import payload
from tests.http_api import Answer, Request
from tests.sources.rest_server import RestServer

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "sources.md").read_text()
CODE = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
HOST = "https://api.example.org"
# Those whose API isn't of the convention they are called after.
CONVENTIONS = {
    **dict.fromkeys(("by_link_header", "with_a_cursor", "declared", "link_header"), "link"),
    "next_url": "url",
    "next_cursor": "cursor",
    **dict.fromkeys(("children", "listed", "of_changed"), "accounts"),
}
WHOLE = ("map", "values", "table", "nameless", "parallel", "beside", "headless", "prefixed")
TIMES = dict.fromkeys(("placed_at", "updated_at"), "2026-02-01T10:00:00Z")
RECORDS = [{"id": str(number), "total": number / 2, **TIMES} for number in range(1, 8)]


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
    assert len(NAMES) == len(recipes) + 5


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_reads_everything_its_api_has(server: RestServer, declared: dict[str, Collector], name: str) -> None:
    server.only = CONVENTIONS.get(name, name)
    server.size = len(RECORDS) if name in WHOLE else 3
    collector = declared[name]
    rows = []
    for item in payload.items(collector.poll(None)):
        shaped = payload.shape(payload.take_cursor(item)[0], collector.api_form() or _found())
        rows += shaped.table.to_pylist() if shaped is not None else []
    if name in ("children", "nested", "listed", "of_changed"):
        column = "sku" if name == "nested" else "order"
        parents = (2, 5) if name == "listed" else range(1, 8)
        assert [row[column] for row in rows] == [f"{n}-{at}" for n in parents for at in range(n)]
    else:
        assert [(row["id"], row["total"]) for row in rows] == [(one["id"], one["total"]) for one in RECORDS]


def test_of_a_parent_that_asks_for_what_is_new_only_the_changed_records_have_their_children_asked_for() -> None:
    with RestServer(RECORDS, size=3) as server:
        server.only = "accounts"
        collector = collectors(server.root)["of_changed"]
        cursor = None
        for _ in range(2):
            before = len(server.paths)
            for item in payload.items(collector.poll(cursor)):
                carried = payload.take_cursor(item)[1]
                cursor = json.loads(carried) if carried is not None else cursor
            server.replace(
                [{**one, "updated_at": "2026-02-02T10:00:00Z"} if one["id"] == "2" else one for one in RECORDS]
            )
        assert {path.partition("{")[0] for path in server.paths[before:]} == {"/accounts", "/accounts/2/orders"}


def _found() -> object:
    from api2db.form import InferredForm

    return InferredForm({})


class Shop(RestServer):
    """``/orders`` gives those that were updated since, in pages, to who has the token."""

    def _at_orders(self, request: Request) -> Answer:
        if request.headers.get("Authorization") != "Bearer t0k3n-of-the-shop":
            return Answer(401, b"{}")
        with self._changed:
            found = [one for one in self._records if one["updated_at"] >= request.params["updated_since"]]
        at = int(request.params.get("at", 0))
        since = request.params["updated_since"]
        further = f"/orders?updated_since={since}&at={at + self.size}" if at + self.size < len(found) else None
        body = {"orders": found[at : at + self.size], "next": further}
        return Answer(body=json.dumps(body).encode())


def test_the_ten_lines_of_the_readme_read_an_api_with_its_lists_and_then_what_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (REPOSITORY / "README.md").read_text().partition("## Any REST API in ten lines")[2]
    code = text.split("```")[1].removeprefix("python\n")
    assert len(code.splitlines()) <= 10
    monkeypatch.setenv("API2DB_AUTH_SHOP_TYPE", "bearer")
    monkeypatch.setenv("API2DB_AUTH_SHOP_TOKEN", "t0k3n-of-the-shop")
    orders = [
        {"id": at, "total": at / 2, "updated_at": f"2026-02-0{at}T00:00:00Z", "lines": [{"sku": "a", "quantity": at}]}
        for at in range(1, 9)
    ]
    with Shop(orders, size=3) as server:
        namespace: dict[str, Collector] = {}
        exec(compile(code.replace(HOST, server.root), "README.md", "exec"), namespace)
        cursor, rows = None, []
        for poll in range(2):
            for item in payload.items(namespace["orders"].poll(cursor)):
                records, carried = payload.take_cursor(item)
                shaped = payload.shape(records, _found())
                rows += shaped.table.to_pylist() if shaped is not None else []
                cursor = json.loads(carried) if carried is not None else cursor
            assert [row["id"] for row in rows] == list(range(1, 9 + poll))
            server.add({"id": 9, "total": 4.5, "updated_at": "2026-02-09T00:00:00Z", "lines": []})
        assert rows[6]["lines"] == [{"sku": "a", "quantity": 7}]
        asked = [request.params["updated_since"] for request in server.requests]
        assert (asked[0], asked[-1]) == ("2026-01-01T00:00:00Z", "2026-02-07T23:50:00Z")
