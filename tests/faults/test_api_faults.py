"""APIs that hang, drip, reset or send nonsense: their collectors fail in time, the others don't notice."""

from __future__ import annotations

import json

import pytest

from api2db.form import ApiForm, Feature
from api2db.form.inferred import InferredForm
from api2db.layout import Layout
from api2db.quarantine import keep_payload
from api2db.sources import payload
from tests.http_api import HANG, RESET, SLOW_BODY, HttpApi
from tests.project_kit import Project, eventually

COLLECTORS = """
    import os
    import requests
    from api2db import Cursor, Http, collector

    @collector(every=0.05)
    def numbers(since=Cursor("id", start=0)):
        with Http() as http:
            yield http.get(os.environ["FINE"], params={"since": since, "page": 1, "size": 10}).json()

    @collector(every=0.05, to=["files"])
    def limited(since=Cursor("id", start=0)):
        with Http(deadline_s=0.3) as http:
            yield http.get(os.environ["BROKEN"], params={"since": since}).json()

    @collector(every=0.05, to=["files"], timeout=0.3)
    def plain():
        return requests.get(os.environ["DRIPS"], timeout=10).json()
"""


def test_an_api_that_hangs_drips_or_resets_fails_its_own_poll_and_is_asked_again(tmp_path):
    records = [{"id": n} for n in range(1, 51)]
    with (
        HttpApi(records, since_field="id") as fine,
        HttpApi(records, since_field="id") as broken,
        HttpApi() as drips,
    ):
        drips.always(SLOW_BODY)
        broken.script(HANG, SLOW_BODY, RESET)
        project = Project(tmp_path, collectors=COLLECTORS)
        try:
            process = project.start(env={"FINE": fine.url, "BROKEN": broken.url, "DRIPS": drips.url})
            project.ready(process)
            eventually(lambda: project.sqlite("SELECT count(*), count(DISTINCT id) FROM numbers") == [(50, 50)])
            eventually(lambda: "poll recovered collector=limited after_failures=3" in project.console)
            eventually(lambda: sorted(project.files("limited", "id")) == list(range(1, 51)))
            # Of plain requests each byte is in time, and the answer never is: the poll is given up, its thread is left.
            eventually(
                lambda: (
                    project.journal("SELECT state, failures FROM collectors WHERE collector = 'plain'")
                    == [("abandoned", 1)]
                )
            )
            assert project.stop(process) == 0
        finally:
            project.close()
        causes = [cause for (cause,) in project.journal("SELECT cause FROM runs WHERE collector = 'limited'") if cause]
        assert [word for cause in causes for word in ("deadline of 0.3 s", "reset by peer") if word in cause] == [
            "deadline of 0.3 s", "deadline of 0.3 s", "reset by peer",
        ]  # fmt: skip


def deep(kind: type, depth: int = 100_000) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("kind", [list, dict])
def test_a_payload_nested_a_hundred_thousand_deep_costs_its_value_and_nothing_else(tmp_path, kind):
    """Whatever a collector's own decoder has let through: counted as nulled, and the rows beside it are accepted."""
    records = [{"id": 1, "x": deep(kind)}, {"id": 2, "x": 5}]
    form = ApiForm(name="n", data_features=[Feature("id", "id", int), Feature("x", lambda row: row["x"], str)])
    for each in (InferredForm(), form):
        shaped = payload.shape(records, each)
        assert shaped.table.column("id").to_pylist() == [1, 2]
        assert sum(step.nulled for step in shaped.steps) == 1
    kept = keep_payload(Layout(tmp_path), "deep", 1, records, "why", durable=False)
    assert "RecursionError" in json.loads(kept.read_text())["payload"]
