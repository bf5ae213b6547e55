"""Rows of pages that have children become two tables, whichever way that is said."""

from __future__ import annotations

from pathlib import Path

from tests.project_kit import Project, eventually
from tests.sources.rest_server import RestServer

ORDERS = [
    {"id": str(number), "total": number / 2, "items": [{"sku": f"{number}-{at}", "n": at} for at in range(number % 3)]}
    for number in range(8)
]
MODULE = """
    from api2db import Children, Rest, RestSource, collector

    api = Rest({root!r})
    LINES = Children("items", shape={{"sku": "sku:str", "quantity": "n:int"}})


    @collector(every="1h", key="id")
    def rows():
        for page in api.pages("/url"):
            yield page.rows("data.items", id="id", total="total:float", lines=LINES)


    @collector(every="1h", key="id", shape={{"id": "id", "total": "total:float"}}, children={{"lines": LINES}})
    def without_columns(cursor):
        for page in api.pages("/link", cursor=cursor):
            yield page.rows()


    declared = collector(every="1h", key="id", name="declared", children={{"lines": Children("items")}})(
        RestSource(api, "/cursor")
    )
"""


def test_children_of_pages_are_a_table_beside_that_of_their_rows(tmp_path: Path) -> None:
    with RestServer(ORDERS, size=3) as server:
        project = Project(tmp_path, orders=MODULE.format(root=server.root))
        try:
            process = project.start()
            ended = "SELECT count(DISTINCT collector) FROM runs WHERE outcome IS NOT NULL"
            eventually(lambda: project.journal(ended) == [(3,)] and not project.waiting(), what=project.console)
            project.stop(process)
            assert set(project.journal("SELECT outcome FROM runs")) == {("ok",)}
            for name in ("rows", "without_columns", "declared"):
                assert project.sqlite(f"SELECT id, total FROM {name} ORDER BY id") == [
                    (order["id"], order["total"]) for order in ORDERS
                ]
                quantity = "n" if name == "declared" else "quantity"
                lines = project.sqlite(f"SELECT {name}_id, _position, sku, {quantity} FROM {name}_lines ORDER BY 1, 2")
                assert lines == [
                    (order["id"], at, item["sku"], item["n"])
                    for order in ORDERS
                    for at, item in enumerate(order["items"])  # type: ignore[arg-type, var-annotated]
                ]
        finally:
            project.close()
