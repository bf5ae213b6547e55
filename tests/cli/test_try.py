"""``api2db try`` shows what a poll would bring, and changes nothing."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from api2db import Children
from api2db.batch import Batch, new_batch_id
from api2db.cli.main import main
from api2db.form import InferredForm
from api2db.place import parse_url
from api2db.sinks.sql import SqlSink
from tests.http_api import SERVER_ERROR, Answer, HttpApi
from tests.legacy import kit
from tests.log_kit import Bench
from tests.project_kit import Project

FEED = """
    import os
    from api2db import Cursor, Http, Incremental, Page, Rest, collector
    from api2db.app.log import get_logger
    from api2db.sources.rest import Single
    from api2db.stream import Stream2Bigquery, Stream2Local, Stream2Omnisci, Stream2Sql

    class Counted(Stream2Sql):
        def stream(self, data):
            raise AssertionError("nothing is delivered")

    def ask(page, **more):
        with Http(headers={"X-Api-Key": "unspeakable"}) as http:
            return http.get(os.environ["URL"], params={"page": page, "size": 2, **more}).json()

    streams = [
        Stream2Local("feed", mode="update", path="feed.parquet"),
        Stream2Bigquery("feed", pid="project-1", did="d", key="id"),
        Stream2Omnisci("feed", db_name="o", username="u", password="unspeakable", host="h"),
        Counted("feed", db_name="counted.sqlite", dialect="sqlite"),
    ]

    @collector(every="5m", key="id", to=["warehouse", "database", "files", *streams])
    def feed(since=Cursor("updated", start="2026-01-01", lag="1h")):
        get_logger("feed").info("asking since %s", since)
        print("printed")
        for page in (1, 2, 3):
            yield ask(page, since_=since, token="unspeakable-token")

    @collector(every="5m")
    def whole(cursor):
        return Page([{"n": 1.5, "none": None, "asked": cursor, "odd": float("inf")}], cursor={"at": 2})

    @collector(cron="0 6 * * *", timeout=0.001, isolate=True)
    def failing():
        yield [{"n": 1}]
        with Http() as http:
            http.get(os.environ["URL"] + "/failing", params={"key": "unspeakable"})

    @collector(every=0)
    def raising():
        raise RuntimeError("no such thing")

    @collector(every="5m", to=["nowhere"])
    def nonsense():
        return "text"

    @collector(every="5m")
    def changing():
        yield [{"n": 1}]
        yield [{"n": "one"}, {"n": 2}]

    @collector(every="5m")
    def changed(cursor):
        new = Incremental("updated:iso", "since", format="iso")
        for page in Rest(os.environ["URL"]).pages(paging=Single(), incremental=new, cursor=cursor):
            yield page.rows(id="id")

    @collector(every="5m")
    def without_parameter():
        return None
"""
RECORDS = [{"id": n, "updated": f"2026-02-0{n}T00:00:00Z", "name": "a\x1b[31m name", "no": None} for n in range(1, 6)]
TOML = '[places.warehouse]\nurl = "postgresql://loader:unspeakable@192.0.2.1/metrics"\n'


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("tried"), toml=TOML, feed=FEED)
    project.write("mistaken", "import nothing_of_that_name")
    with HttpApi(RECORDS) as api:
        api.failing = {"/records/failing": SERVER_ERROR}
        os.environ["URL"] = api.url
        yield project
        del os.environ["URL"]


def tried(project, *arguments, status=0):
    done = CliRunner().invoke(main, ["-C", str(project.folder), "try", *arguments])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.output


def test_it_shows_requests_rows_columns_steps_and_what_would_be_made(project):
    told = tried(project, "feed", "--rows", "1")
    assert 'called with "2026-01-01" (the start)' in told
    assert "200         1" in told.replace(",", "")  # some hundred bytes
    assert "GET http://127.0.0.1" in told
    assert "2 rows of 4 columns in 1 item" in told
    assert "--pages 2 takes one more" in told
    assert "updated  text     2026-02-01T00:00:00Z" in told
    assert "a\\x1b[31m name" in told
    assert "infer: 2 → 2" in told
    assert 'go on behind "2026-02-02T00:00:00Z"' in told
    assert "sql.postgresql: postgresql://192.0.2.1:5432/metrics/feed" in told
    assert '"updated" text' in told
    assert "not yet, since nothing has come for them: no" in told
    assert str(project.store / "feed" / "parquet" / "<nanoseconds>.parquet") in told
    assert f"{project.folder / 'feed.parquet'}, one file, to which rows are added" in told
    assert "table project-1.d.feed (" in told
    assert "updated STRING" in told
    assert "CREATE TABLE feed_stream (" in told
    assert "Counted.stream(data) is called with each batch" in told
    assert "unspeakable" not in told
    assert "\x1b" not in told


def test_it_says_all_of_it_as_json_and_what_the_function_prints_goes_elsewhere(project):
    told = tried(project, "feed", "--pages", "2", "--rows", "9", "--json")
    assert [(each["method"], each["status"]) for each in told["requests"]] == [("GET", 200)] * 2
    assert [each["bytes"] > 50 and each["seconds"] > 0 for each in told["requests"]] == [True] * 2
    assert [row["id"] for row in told["first_rows"]] == [1, 2, 3, 4]
    assert [each["name"] for each in told["columns"]] == ["id", "updated", "name", "no"]
    assert [each["type"] for each in told["columns"]] == ["integer", "text", "text", "nothing"]
    assert (told["items"], told["stopped"], told["rows"], told["error"]) == (2, True, 4, None)
    assert [each["stream"] for each in told["places"]][:3] == ["sql.postgresql", "sql.sqlite", "local.parquet"]
    assert "unspeakable" not in json.dumps(told)


def test_nothing_is_stored_no_cursor_moves_and_no_log_is_written(project):
    for name in ("feed", "whole", "changing", "failing"):
        tried(project, name, "--pages", "9", status=int(name == "failing"))
    left = {path.name for path in project.folder.iterdir()}
    assert left == {"main.py", "api2db.toml", "collectors"}


def test_the_last_page_ends_it(project):
    told = tried(project, "feed", "--pages", "9", "--json")
    assert (told["items"], told["stopped"], told["rows"]) == (3, False, 5)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("failing", "failing?key=*** answered 500"),
        ("raising", "RuntimeError: no such thing ("),
        ("nonsense", "the source returned str (4 long)"),
    ],
)
def test_where_the_function_raises_it_says_what_the_daemon_would_and_ends_with_1(project, name, error):
    told = tried(project, name, "--pages", "2", status=1)
    assert error in told
    assert "the daemon would say" in told
    assert "unspeakable" not in told


def test_rows_that_would_be_held_are_shown_with_the_reason(project):
    told = tried(project, "changing", "--pages", "2")
    assert "Rows that would be held: 1" in told
    assert 'column "n"' in told
    assert "2 rows of 1 column in 2 items" in told


def test_a_page_of_its_own_cursor_and_values_that_json_has_not(project):
    told = tried(project, "whole", "--since", '{"at": 1}', "--json")
    assert (told["since"], told["since_from"], told["cursor"]) == ({"at": 1}, "given", {"at": 2})
    assert told["first_rows"][0]["odd"] == "inf"
    assert told["requests"] == []
    assert "none seen: only those of api2db's Http are" in tried(project, "whole")


def test_since_may_be_a_time_how_long_ago_or_the_start(project):
    given = [tried(project, "feed", "--since", text, "--json")["since"] for text in ("2026-03-01", "2d", "start")]
    assert given[0] == "2026-03-01"
    assert given[1].endswith("+00:00")
    assert given[2] == "2026-01-01"
    assert "takes no cursor" in tried(project, "without_parameter", "--since", "2d", status=1)


def test_how_long_ago_is_a_time_for_an_incremental_too(project):
    told = tried(project, "changed", "--since", "3d", "--json")
    asked = told["requests"][0]["url"].rpartition("since=")[2]
    assert told["since"][:16] == f"{asked[:13]}:{asked[16:18]}"
    assert tried(project, "whole", "--since", '"3d"', "--json")["since"] == "3d"  # in quotes it is a text


def test_without_since_it_goes_on_where_the_daemon_is(tmp_path):
    source = """
        from api2db import Cursor, collector

        @collector(every=1)
        def numbers(since=Cursor("n", start=0)):
            return [{"n": since + 1}]
    """
    bench = Bench(tmp_path, numbers=source)
    bench.collect("numbers", [{"n": 41}])
    with bench.open("numbers") as (part, _):
        part.shards.move_cursor("41")
    before = kit.files(bench.store)
    told = tried(bench, "numbers", "--json")
    assert (told["since"], told["since_from"], told["first_rows"]) == (41, "where the daemon is", [{"n": 42}])
    assert tried(bench, "numbers", "--since", "7", "--json")["first_rows"] == [{"n": 8}]
    assert "this cursor is a number" in tried(bench, "numbers", "--since", "monday", status=1)
    assert kit.files(bench.store) == before
    bench.close()


def test_a_name_that_is_none_and_a_module_that_can_not_be_used_are_told(project):
    assert "did you mean 'feed'?" in tried(project, "fead", status=1)
    told = tried(project, "mistaken", status=1)
    assert "mistaken.py can't be used: ModuleNotFoundError" in told


def test_a_place_that_can_not_be_used_is_told_and_the_rows_are_shown_all_the_same(tmp_path):
    source = """
        from api2db import collector

        @collector(every=1, to=["nowhere"])
        def one():
            return [{"n": 1}]
    """
    told = tried(Project(tmp_path, one=source), "one", status=1)
    assert "n       integer  1" in told
    assert "'nowhere'" in told


def test_a_redirect_is_a_request_of_its_own_and_an_answer_that_never_came_is_told(tmp_path, monkeypatch):
    source = """
        import os
        from api2db import Http, collector

        @collector(every=1)
        def moved():
            with Http() as http:
                yield http.get(os.environ["URL"]).json()
                with http.get(os.environ["URL"] + "/streamed", stream=True) as answer:
                    assert b"".join(answer.iter_content(5))
                http.get("http://127.0.0.1:9/gone")
    """
    with HttpApi([{"n": 1}]) as api:
        monkeypatch.setenv("URL", api.url + "/old")
        api.script(Answer(302, b"", headers=(("Location", f"{api.url}/new"),)))
        told = tried(Project(tmp_path, moved=source), "moved", "--pages", "2", "--json", status=1)
    assert [(each["status"], each["url"].rpartition("/")[2]) for each in told["requests"]] == [
        (302, "old"),
        (200, "new"),
        (200, "streamed"),
        (None, "gone"),
    ]
    assert [each["bytes"] for each in told["requests"]] == [0, 10, 10, None]


def test_a_program_of_1_0_1_is_tried_as_it_is(tmp_path):
    kit.run(tmp_path, "pmake", "orders")
    with open(tmp_path / "apis" / "orders.py", "a") as module:
        module.write("\norders_info.import_target = lambda: [{'id': 1}]\norders_info.api_form = lambda: None\n")
    before = kit.files(tmp_path)
    done = kit.run(tmp_path, "api2db", "try", "orders")
    assert done.returncode == 0, done.stderr
    assert "id      integer  1" in done.stdout
    assert kit.files(tmp_path) == before


@pytest.mark.parametrize("key", [(), ("id",)])
@pytest.mark.parametrize("lines", [None, [{"sku": "a", "qty": 1}]], ids=["alone", "with children"])
def test_the_statements_that_are_shown_are_those_that_are_run(tmp_path, key, lines):
    path: Path = tmp_path / "made.sqlite"
    sink = SqlSink(stream="c/s", url=parse_url(f"sqlite:///{path}", "test"), table="made", key=key)
    record = {"id": 1, "mag": 1.5, "at": "a", "none": None} | ({"lines": lines} if lines else {})
    form = InferredForm({}, {"lines": Children("lines")} if lines else {})
    batch = Batch(form.shape([record]).table, new_batch_id(), 1)
    shown = sink.sketch(batch)
    assert not path.exists()
    sink.load([batch], lambda *refused: None)
    sink.close()
    with closing(sqlite3.connect(path)) as db:
        made = db.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'made%'").fetchall()
    assert len(made) == (2 if lines else 1)
    assert " ".join(" ".join(shown).split()).replace("( ", "(").replace(" )", ")") == " ".join(sql for (sql,) in made)
