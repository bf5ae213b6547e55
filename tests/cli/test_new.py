"""``api2db new``: a collector, and its test, from an address alone."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from api2db.cli.main import main
from api2db.cli.new import _without_credentials
from api2db.discovery import find_in
from api2db.errors import SourceError
from api2db.sources import payload
from api2db.sources.answer import HttpError
from api2db.testing import poll_recorded
from tests.http_api import Answer
from tests.sources.rest_server import RestServer

KEY = "s3cr3t-0123456789"
NAMES = """accessToken authToken clientSecret pwd subscriptionKey apiToken userToken secretKey accessKey passwd pass jwt
 session sessionid hapikey api_key token appid signature"""
RECORDS: list[dict[str, Any]] = [
    {
        "id": f"q{number}",
        "updatedAt": 1_700_000_000_000 + number,
        "properties": {"mag": number / 4, "place": f"place {number}", "class": "quake"},
        "coordinates": [number / 2, -number],
        "tags": [{"name": "a"}] if number % 2 else [],
    }
    for number in range(230)
]


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with RestServer(RECORDS) as server:
        yield server  # type: ignore[misc]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "collectors").mkdir()
    (tmp_path / "AUTH").mkdir()
    return tmp_path


def new(project: Path, url: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["-C", str(project), "new", url, *options])


def polled(file: Path) -> list[dict[str, Any]]:
    """All rows that one poll of the written collector brings."""
    (collector,) = find_in(file)
    rows: list[dict[str, Any]] = []
    since = None if collector.cursor is None else collector.cursor.since(None)
    for item in payload.items(collector.poll(since)):
        shaped = payload.shape(payload.take_cursor(item)[0], collector.api_form())
        rows += [] if shaped is None else shaped.table.to_pylist()
    return rows


@pytest.mark.parametrize(
    "convention", ["link", "url", "cursor", "offset?limit=100", "offset", "number", "silent_number", "whole"]
)
def test_what_it_writes_brings_every_record_of_each_convention_once(
    convention: str, server: RestServer, project: Path
) -> None:
    said = new(project, f"{server.root}/{convention}", "--name", "quakes")
    assert said.exit_code == 0, said.output
    rows = polled(project / "collectors" / "quakes.py")
    assert [row["id"] for row in rows] == [record["id"] for record in RECORDS]
    assert rows[7]["mag"] == 1.75
    assert rows[7]["coordinates_1"] == -7
    assert rows[7]["updated_at"].timestamp() == pytest.approx(1_700_000_000.007)
    assert json.loads(rows[7]["tags"]) == [{"name": "a"}]


def test_it_says_how_sure_it_is_beside_each_line(server: RestServer, project: Path) -> None:
    assert new(project, f"{server.root}/number").exit_code == 0
    text = (project / "collectors" / "number.py").read_text()
    assert 'key="id",  # sure: 20 records, 20 different values' in text
    assert 'version="updated_at",  # likely' in text
    assert "# paging: sure: the second page has 10 other records." in text
    assert 'paging=PageNumber(pages="total_pages"), key="id"' in " ".join(text.split())


def test_the_test_it_writes_passes_without_the_api_and_fails_once_a_column_changes(project: Path) -> None:
    with RestServer(RECORDS) as server:
        assert new(project, f"{server.root}/cursor", "--name", "quakes").exit_code == 0

    def test() -> int:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "tests"],
            cwd=project,
            capture_output=True,
            check=False,
        ).returncode

    assert test() == 0
    file = project / "collectors" / "quakes.py"
    file.write_text(file.read_text().replace('"properties.mag"', '"properties.mag:str"'))
    assert test() == 1


def test_the_parameter_for_what_is_new_is_found_and_used(project: Path) -> None:
    with RestServer(RECORDS) as server:
        # Nothing is younger than tomorrow: as an API answers that knows the parameter.
        server.leaves_out = "since"
        assert new(project, f"{server.root}/whole", "--name", "quakes").exit_code == 0
    text = (project / "collectors" / "quakes.py").read_text()
    assert "def quakes(cursor):" in text
    assert 'new = Incremental(\n        "updatedAt:ms",\n' in text
    assert "inclusive=False,  # a guess, and the safe one" in text
    assert "since=new, cursor=cursor" in text


def test_by_a_time_that_not_every_record_has_nothing_is_asked(project: Path) -> None:
    """A page on which none had it would fail every poll."""
    with RestServer([*RECORDS[:20], RECORDS[20] | {"updatedAt": None}]) as server:
        server.leaves_out = "since"
        assert new(project, f"{server.root}/whole", "--name", "quakes").exit_code == 0
    text = (project / "collectors" / "quakes.py").read_text()
    assert "def quakes():" in text
    assert "# Not tried whether a parameter asks for what is new. updated_at: 1 of 21 records have none." in text


@pytest.mark.parametrize("how", ["killed", "failed"])
@pytest.mark.parametrize("is_newest_first", [False, True], ids=["by id", "newest first"])
def test_what_it_writes_brings_every_row_also_when_a_poll_ends_after_its_first_page(
    how: str, is_newest_first: bool, project: Path
) -> None:
    changed = [record | {"updatedAt": 1_700_000_000_000 + 97_000 * (n * 89 % 230)} for n, record in enumerate(RECORDS)]
    if is_newest_first:
        changed.sort(key=lambda record: -record["updatedAt"])
    with RestServer(changed) as server:
        assert new(project, f"{server.root}/changes", "--name", "quakes").exit_code == 0
        (collector,) = find_in(project / "collectors" / "quakes.py")
        cursor: Any = None
        brought: list[str] = []
        for poll in range(4):
            item: Any
            polled = collector.poll(cursor)
            with suppress(HttpError):
                for item in polled:
                    brought += item.records.table.column("id").to_pylist()
                    cursor = json.loads(json.dumps(item.cursor))
                    if poll == 0 and how == "killed":
                        polled.close()
                        break
                    if poll == 0:
                        server.script(Answer(400, b"{}"))
            if poll == 2:
                assert len(brought) == 230
                server.add(changed[0] | {"id": "late", "updatedAt": max(one["updatedAt"] for one in changed)})
        assert sorted(brought) == sorted([*(record["id"] for record in changed), "late"])


def test_a_key_in_the_address_goes_to_auth_and_nowhere_else(server: RestServer, project: Path) -> None:
    said = new(project, f"{server.root}/link?accessToken={KEY}", "--name", "quakes")
    assert said.exit_code == 0, said.output
    kept = project / "AUTH" / "quakes.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["key"] == KEY
    others = [path for path in project.rglob("*") if path.is_file() and path != kept]
    assert [path for path in others if KEY in path.read_text(errors="replace")] == []
    assert KEY not in said.output
    assert 'auth="quakes"' in (project / "collectors" / "quakes.py").read_text()


@pytest.mark.parametrize("value", [KEY, "short"])
def test_what_is_a_credential_of_the_address_goes_by_its_name_and_not_by_how_it_is_written(value: str) -> None:
    for name in NAMES.split():
        bare, credentials = _without_credentials(f"https://h/v1?{name}={value}&page_token=a&sort_key=b&session=2024")
        assert credentials == {"type": "key", "param": name, "key": value}
        assert bare == "https://h/v1?page_token=a&sort_key=b&session=2024"


def test_user_and_password_in_the_address_go_to_auth_too(server: RestServer, project: Path) -> None:
    said = new(project, f"http://someone:{KEY}@{server.root.removeprefix('http://')}/link", "--name", "quakes")
    assert said.exit_code == 0, said.output
    kept = json.loads((project / "AUTH" / "quakes.json").read_text())
    assert kept == {"type": "basic", "username": "someone", "password": KEY}
    assert "someone" not in (project / "collectors" / "quakes.py").read_text()


def test_a_key_that_the_server_repeats_is_not_recorded(project: Path) -> None:
    with RestServer(RECORDS) as server:
        quoting = json.dumps({"items": RECORDS[:3], "next": None, "asked": f"/x?api_key={KEY}"}).encode()
        server.always(Answer(body=quoting, headers=(("Link", f'</x?api_key={KEY}>; rel="self"'),)))
        assert new(project, f"{server.root}/whole?api_key={KEY}", "--name", "quakes").exit_code == 0
    assert KEY not in (project / "tests" / "recorded" / "quakes.json").read_text()


def test_one_record_has_no_key_and_a_guessed_key_is_only_proposed(project: Path) -> None:
    with RestServer(RECORDS) as server:
        server.always(Answer(body=b'{"temp": 3, "time": "2026-01-01T00:00:00Z"}'))
        assert new(project, f"{server.root}/whole", "--name", "one").exit_code == 0
        server.always(Answer(body=json.dumps([{"temp": n, "name_of": str(n % 3)} for n in range(12)]).encode()))
        assert new(project, f"{server.root}/whole", "--name", "many").exit_code == 0
    for name in ("one", "many"):
        (collector,) = find_in(project / "collectors" / f"{name}.py")
        assert collector.key == ()
    assert '# key="temp",' in (project / "collectors" / "many.py").read_text()


def test_where_what_it_looks_like_brings_the_first_page_again_another_way_is_tried(project: Path) -> None:
    with RestServer(RECORDS[:57]) as server:
        # A total, and a limit that is asked for: but pages are asked for by their number.
        said = new(project, f"{server.root}/total_by_number?limit=10", "--name", "quakes")
        assert said.exit_code == 0, said.output
        assert len(polled(project / "collectors" / "quakes.py")) == 57


def test_where_there_is_more_and_nothing_tells_how_no_paging_is_written_and_the_poll_fails(project: Path) -> None:
    with RestServer(RECORDS) as server:
        server.always(Answer(body=json.dumps({"items": RECORDS[:9], "done": False}).encode()))
        said = new(project, f"{server.root}/whole?limit=9", "--name", "quakes")
        assert said.exit_code == 0, said.output
        text = (project / "collectors" / "quakes.py").read_text()
        assert "paging: not found: 'done': false says that there is more" in text
        assert "import Single" not in text
        with pytest.raises(SourceError, match="'done': false says that there is more"):
            polled(project / "collectors" / "quakes.py")


def test_more_after_the_last_id_is_found_where_the_api_says_that_there_is_more(project: Path) -> None:
    with RestServer(RECORDS) as server:
        assert new(project, f"{server.root}/last_id", "--name", "quakes").exit_code == 0
        assert 'param="starting_after"' in (project / "collectors" / "quakes.py").read_text()
        assert len(polled(project / "collectors" / "quakes.py")) == len(RECORDS)


def test_what_can_not_be_finished_leaves_nothing(server: RestServer, project: Path) -> None:
    (project / "tests").mkdir()
    (project / "tests" / "recorded").write_text("in the way")
    said = new(project, f"{server.root}/link?api_key={KEY}", "--name", "quakes")
    assert said.exit_code == 1
    assert sorted(path.name for path in project.rglob("*") if path.is_file()) == ["recorded"]


def test_what_is_there_is_not_overwritten(server: RestServer, project: Path) -> None:
    (project / "collectors" / "link.py").write_text("mine = 1\n")
    said = new(project, f"{server.root}/link")
    assert said.exit_code == 1
    assert "is there already: choose another name with --name" in said.output
    assert (project / "collectors" / "link.py").read_text() == "mine = 1\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(404, b'{"error": "no"}'), "answered 404"),
        (Answer(body=b"<html>Sign in</html>", content_type="text/html"), "HTML"),
        (Answer(body=b'{"error": "you need a key"}'), 'seems to be an error: {"error": "you need a key"}'),
        (Answer(body=b"{}"), "the answer is an empty object: give an address that brings records"),
        (Answer(body=b"[]"), "there are no records in the answer, so nothing tells their columns: give an address"),
        (Answer(body=b'["a", "b"]'), "one is a text. A collector written by hand can make objects of them: page.rows("),
    ],
)
def test_an_answer_without_records_writes_nothing_and_says_what_came(answer: Answer, told: str, project: Path) -> None:
    with RestServer(RECORDS) as server:
        server.always(answer)
        said = new(project, f"{server.root}/link")
    assert said.exit_code == 1
    assert told in said.output
    assert not any(path.is_file() for path in project.rglob("*"))


def test_print_shows_the_collector_and_json_what_was_found_and_neither_writes(
    server: RestServer, project: Path
) -> None:
    printed = new(project, f"{server.root}/url", "--print")
    compile(printed.output, "quakes.py", "exec")
    found = json.loads(new(project, f"{server.root}/url", "--json").output)
    assert found["records"] == {"at": '"data.items"', "count": 100, "why": "the only list of objects in the answer"}
    assert found["key"]["column"] == "id"
    assert found["sure"]["paging"] == "sure"
    assert len(found["requests"]) < 16
    assert not any(path.is_file() for path in project.rglob("*"))


@pytest.mark.parametrize(
    ("convention", "options"),
    [("lines", 'format="ndjson"'), ("comma?limit=100", 'format="csv"'), ("elements", 'format="xml"')],
)
def test_an_endpoint_of_another_format_is_read_in_it_with_numbers_for_what_looks_like_them(
    convention: str, options: str, project: Path
) -> None:
    totals = [{"id": f"q{number}", "total": number / 4} for number in range(230)]
    with RestServer(totals) as server:
        said = new(project, f"{server.root}/{convention}", "--name", "totals")
        assert said.exit_code == 0, said.output
        assert [(row["id"], row["total"]) for row in polled(project / "collectors" / "totals.py")] == [
            (record["id"], record["total"]) for record in totals
        ]
    assert options in (project / "collectors" / "totals.py").read_text()
    recorded = poll_recorded(project / "collectors" / "totals.py", project / "tests" / "recorded" / "totals.json")
    assert recorded.num_rows == (100 if convention == "elements" else 25)


@pytest.mark.parametrize(
    "around",
    [
        {"type": "FeatureCollection", "metadata": {"generated": 230, "count": 57, "status": 200}},
        {"total": "57"},
        {"hits": {"total": {"value": 57}}},
        {"meta.data": {"pagination": {"total_items": 57}}},
    ],
)
def test_an_answer_that_says_how_many_records_it_has_is_recorded_with_as_many_as_are_kept(
    around: dict[str, Any], project: Path
) -> None:
    with RestServer(RECORDS) as server:
        server.always(Answer(body=json.dumps({**around, "data.items": RECORDS[:57]}).encode()))
        said = new(project, f"{server.root}/whole", "--name", "quakes")
    assert said.exit_code == 0, said.output
    recorded = project / "tests" / "recorded" / "quakes.json"
    body = json.loads(recorded.read_text())["body"]
    assert len(body.pop("data.items")) == 25
    assert body == json.loads(json.dumps(around).replace("57", "25"))
    assert poll_recorded(project / "collectors" / "quakes.py", recorded).num_rows == 25


def test_json_of_another_charset_is_recorded_so_that_its_test_reads_it(project: Path) -> None:
    kind = "application/json; charset=utf-16"
    with RestServer(RECORDS) as server:
        server.always(Answer(body='[{"id": 1, "name": "Zoë"}]'.encode("utf-16"), content_type=kind))
        said = new(project, f"{server.root}/whole", "--name", "wide")
    assert said.exit_code == 0, said.output
    recorded = project / "tests" / "recorded" / "wide.json"
    assert poll_recorded(project / "collectors" / "wide.py", recorded).to_pylist() == [{"id": 1, "name": "Zoë"}]


def test_half_a_character_is_recorded_as_it_came(project: Path) -> None:
    with RestServer(RECORDS) as server:
        server.always(Answer(body=b'[{"id": 1, "name": "Zo\\ud83d"}]'))
        said = new(project, f"{server.root}/whole", "--name", "half")
    assert said.exit_code == 0, said.output
    recorded = project / "tests" / "recorded" / "half.json"
    assert json.loads(recorded.read_text())["body"] == [{"id": 1, "name": "Zo\ud83d"}]
    assert poll_recorded(project / "collectors" / "half.py", recorded).num_rows == 1


def test_that_the_first_row_of_csv_may_be_no_names_is_said(project: Path) -> None:
    with RestServer(RECORDS) as server:
        for body, sure in ((b"id,n\n1,a\n2,b\n", "sure"), (b"0,n0,1.5\n1,n1,2.5\n", "a guess")):
            server.always(Answer(body=body, content_type="text/csv"))
            printed = new(project, f"{server.root}/whole", "--print").output
            assert f"# format: {sure}: " in printed
            assert ("though '0', '1.5' may be values: if it has no names, decode=" in printed) == (sure == "a guess")


def test_a_format_that_nobody_says_is_found(project: Path) -> None:
    with RestServer(RECORDS) as server:
        for body, form in ((b'{"a": 1, "b": 2}\n{"a": 2, "b": 2}\n', "ndjson"), (b"id;n\nx;1\ny;2\n", "csv")):
            server.always(Answer(body=body, content_type="text/plain"))
            found = json.loads(new(project, f"{server.root}/whole", "--json").output)
            assert (found["format"], found["records"]["count"]) == (form, 2)


@pytest.mark.parametrize(
    ("body", "row"),
    [
        (b"<r><id>1</id></r>", {"id": 1}),
        (b"<rss><channel><title>t</title><item><guid>1</guid></item></channel></rss>", {"guid": 1}),
    ],
)
def test_xml_without_a_list_is_a_collector_of_its_one_record(body: bytes, row: dict[str, int], project: Path) -> None:
    with RestServer([]) as server:
        server.always(Answer(body=body, content_type="application/xml"))
        said = new(project, f"{server.root}/link", "--name", "one")
        assert said.exit_code == 0, said.output
        assert polled(project / "collectors" / "one.py") == [row]


def test_the_line_it_offers_for_a_list_of_objects_makes_it_a_table_of_its_own(
    server: RestServer, project: Path
) -> None:
    assert new(project, f"{server.root}/whole", "--name", "quakes").exit_code == 0
    file = project / "collectors" / "quakes.py"
    text = file.read_text()
    offered = '# tags=Children("tags", shape={"name": "name"}),'
    assert offered in text
    text = text.replace('tags="tags:json",', offered.removeprefix("# ")).replace("import Rest", "import Children, Rest")
    file.write_text(text)
    assert polled(file)[7]["tags"] == [{"name": "a"}]


@pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="needs ruff")
def test_what_it_writes_is_as_a_formatter_would_have_it(server: RestServer, project: Path) -> None:
    said = "fields=" + "a" * 40 + '&quoted="x"&region=' + "b" * 40
    for name, path in (("plain", "/link"), ("long", f"/number?per_page=50&{said}"), ("rows", "/table")):
        assert new(project, f"{server.root}{path}", "--name", name).exit_code == 0
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check"], ["format", "--check"], ["format", "--check", "--line-length=120"]):
        done = subprocess.run(
            [*ruff, *command, "--isolated", "--no-cache", str(project)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
