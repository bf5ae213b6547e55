"""Taped polls shaped anew: nothing is asked, nothing newer is overwritten, and what is filled has each row once."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from api2db.runtime.job import Job
from api2db.runtime.poll_context import Shared
from api2db.runtime.run import Run
from api2db.runtime.works import deliver_all
from tests import warm
from tests.http_api import TOO_MANY, Answer, HttpApi
from tests.log_kit import Bench
from tests.project_kit import REPOSITORY

COLLECTOR = """
    from api2db import Http, collector

    @collector(every=3600, to=[{to}], tape="7d", shape={shape}{more})
    def quakes(since):
        with Http() as http:
            for page in (1, 2):
                yield http.get("{url}", params={{"page": page, "size": 2, "since": since}}).json()
"""
PLACES = """
[places.copy]
dialect = "sqlite"
db_name = "STORE/copy.sqlite"

[places.folder]
type = "local"
path = "copied"
"""
MERGED = ", key='id', version='at'"
OLD = "{'id': 'id', 'at': 'at', 'mag': 'mag'}"
NEW = "{'id': 'id', 'at': 'at', 'mag': 'magnitude.value'}"


class Quakes(Bench):
    """A collector of an API that says ``magnitude`` in place of the ``mag`` its form knows."""

    def __init__(self, folder: Path, api: HttpApi, *, to: str = "'database'", more: str = MERGED) -> None:
        self.api = api
        self.declaration = {"to": to, "more": more, "url": api.url}
        super().__init__(folder, toml=PLACES)
        self.declare(OLD)

    def declare(self, shape: str, **other: str) -> None:
        self.write("quakes", COLLECTOR.format(**{**self.declaration, "shape": shape, **other}))

    def poll(self, at: int, *ids: int) -> None:
        """One poll of two pages, delivered."""
        records = [{"id": n, "at": at, "magnitude": {"value": at * 100 + n}} for n in ids]
        self.api.replace(records)
        with self.open("quakes") as (part, kept):
            job = Job(
                part.collector,
                spool=kept.spool,
                shards=part.shards,
                streams=[each.stream for each in part.deliveries],
                journal=kept.journal,
                accepted=lambda batch: [each.notify(batch) for each in part.deliveries],
                timeout_s=60,
                shared=Shared.of(kept.spool.layout, self.folder / "AUTH"),
            )
            job.run = Run(time.time_ns(), 0.0, 0.0)
            job.poll(threading.Event())
            assert job.failures == 0
            assert deliver_all(part.deliveries) == []
            part.shards.settle()

    def table(self, file: str = "database.sqlite") -> list[tuple[object, ...]]:
        return self.sqlite("SELECT id, at, mag FROM quakes ORDER BY id, at", file)


@pytest.fixture
def make(tmp_path, http_api):
    made = []

    def make(**options):
        made.append(Quakes(tmp_path, http_api, **options))
        return made[-1]

    yield make
    for quakes in made:
        quakes.close()


def test_a_form_that_is_mended_is_applied_to_what_was_fetched_before_and_nothing_newer_is_lost(make):
    quakes = make(to="'database', 'files'")
    quakes.poll(1, 1, 2, 3)
    quakes.poll(2, 2)
    assert quakes.sqlite("SELECT id, at FROM quakes ORDER BY id") == [(1, 1), (2, 2), (3, 1)]
    asked = len(quakes.api.requests)
    quakes.declare(NEW)
    refused = quakes.command("rebuild", "quakes", status=1)["text"]
    assert "quakes/local.parquet: rows that are there would come once more" in refused
    assert "quakes/sql.sqlite alone may" in refused
    would = quakes.command("rebuild", "quakes/sql.sqlite", "--dry-run")
    assert (would["polls"], would["rows"]) == (2, 0)
    assert "mag" not in quakes.sqlite("SELECT sql FROM sqlite_master WHERE name = 'quakes'")[0][0]
    said = quakes.command("rebuild", "quakes/sql.sqlite")
    assert (said["polls"], said["rebuilt"], said["rows"], said["not_rebuilt"]) == (2, 2, 4, [])
    after = [(1, 1, 101), (2, 2, 202), (3, 1, 103)]
    assert quakes.table() == after
    quakes.command("rebuild", "quakes/sql.sqlite")
    assert quakes.table() == after
    quakes.command("replay", "quakes")
    assert sorted(quakes.files("quakes", "id")) == [1, 2, 2, 3]
    assert len(quakes.api.requests) == asked
    assert quakes.command("audit")["holds"] is True


def test_rows_that_are_appended_are_rebuilt_into_a_place_of_their_own_each_once(make):
    quakes = make(more="", to="'database', 'files'")
    quakes.poll(1, 1, 2, 3)
    quakes.poll(2, 2)
    quakes.declare(NEW)
    said = quakes.command("rebuild", "quakes", status=1)["text"]
    assert "rows that are there would come once more" in said
    assert "api2db rebuild quakes --to PLACE" in said
    after = [(1, 1, 101), (2, 1, 102), (2, 2, 202), (3, 1, 103)]
    for _ in range(2):
        quakes.command("rebuild", "quakes", "--to", "copy")
        assert quakes.table("copy.sqlite") == after
    quakes.poll(3, 4)
    assert quakes.command("rebuild", "quakes", "--to", "copy")["batches"] == 1
    assert quakes.table("copy.sqlite") == [*after, (4, 3, 304)]
    since = quakes.command("rebuild", "quakes", "--to", "copy")["lines"][-1].rpartition(" ")[2]
    assert (
        "weren't rebuilt: their rows would be there twice"
        in quakes.command("rebuild", "quakes", "--to", "database", status=1)["text"]
    )
    assert len(quakes.table()) == 5
    quakes.poll(4, 5)
    quakes.declare(NEW, to="'database', 'copy'")
    assert "5 batches of before are left out" in " ".join(quakes.command("replay", "quakes")["lines"])
    assert (len(quakes.table()), len(quakes.table("copy.sqlite"))) == (6, 5)
    quakes.command("replay", "quakes", "--since", since)
    quakes.poll(5, 6)
    assert quakes.table("copy.sqlite")[5:] == [(5, 4, 405), (6, 5, 506)]
    assert quakes.command("audit")["holds"] is True


def test_what_a_rest_source_left_out_is_left_out_again_without_waiting_or_credentials(make):
    quakes = make(to="'database'", more="")
    ask = """
    from api2db import Incremental, Rest, collector

    api = Rest("{url}", auth="quakes", rate="100/h")

    @collector(every=3600, to=[{to}], tape="7d", shape={shape}{more})
    def quakes(cursor):
        new = Incremental("at", start=0, lag=10)
        for page in api.pages("", since=new, cursor=cursor, key="id"):
            yield page.rows("")
    """
    credentials = quakes.folder / "AUTH" / "quakes.json"
    credentials.parent.mkdir(exist_ok=True)
    credentials.write_text('{"type": "bearer", "token": "unspeakable"}')
    quakes.declare = lambda shape, **other: quakes.write(  # type: ignore[method-assign]
        "quakes", ask.format(**{**quakes.declaration, "shape": shape, **other})
    )
    quakes.declare(OLD)
    quakes.api.since_field = "at"
    quakes.poll(1, 1, 2)
    quakes.api.script(TOO_MANY)  # "again in a second": waited for then, and not when it is played
    quakes.poll(1, 1, 2, 3)  # two come again
    quakes.poll(1, 1, 2, 3)  # all of it is unchanged
    quakes.poll(5, 1)  # one that came before, changed
    rows = quakes.sqlite("SELECT id, at FROM quakes ORDER BY at, id")
    assert rows == [(1, 1), (2, 1), (3, 1), (1, 5)]
    asked = len(quakes.api.requests)
    credentials.unlink()
    quakes.declare(NEW)
    said = quakes.command("rebuild", "quakes", "--to", "copy")
    assert (said["polls"], said["rebuilt"], said["not_rebuilt"]) == (4, 4, [])
    assert quakes.sqlite("SELECT id, at, mag FROM quakes ORDER BY at, id", "copy.sqlite") == [
        (id, at, at * 100 + id) for id, at in rows
    ]
    assert len(quakes.api.requests) == asked
    tapes = b"".join(path.read_bytes() for path in (quakes.store / "tape").rglob("*") if path.is_file())
    assert b"unspeakable" not in tapes


@pytest.mark.parametrize("point", ["spool.renamed:2", "rebuild.accepted:2"])
def test_killed_in_the_midst_of_filling_a_place_the_same_command_completes_it_each_row_once(make, point):
    quakes = make(more="")
    quakes.poll(1, 1, 2, 3)
    quakes.poll(2, 2)
    quakes.declare(NEW)
    words = [sys.executable, "-m", "api2db.cli.main", "-C", str(quakes.folder), "rebuild", "quakes", "--to", "copy"]
    code = "from api2db.cli.main import main; main()"
    killed = warm.run(
        [sys.executable, "-c", code, *words[3:]],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "API2DB_FAILPOINT": point},
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    quakes.command("rebuild", "quakes", "--to", "copy")
    assert quakes.table("copy.sqlite") == [(1, 1, 101), (2, 1, 102), (2, 2, 202), (3, 1, 103)]
    assert quakes.command("audit")["holds"] is True


def test_files_are_filled_each_row_once_too(make):
    quakes = make(more="")
    quakes.poll(1, 1, 2, 3)
    quakes.declare(NEW)
    for _ in range(2):
        quakes.command("rebuild", "quakes", "--to", "folder")
    import pyarrow.dataset as ds

    table = ds.dataset(str(quakes.folder / "copied"), format="parquet").to_table()
    assert sorted(table.column("mag").to_pylist()) == [101, 102, 103]


def test_a_merge_without_a_version_is_refused_since_nobody_can_tell_which_row_is_newer(make):
    quakes = make(more=", key='id'")
    quakes.poll(1, 1)
    assert "only a merge by key and version" in quakes.command("rebuild", "quakes", status=1)["text"]


def test_a_poll_that_asks_what_is_not_on_its_tape_is_named_and_the_others_are_rebuilt(make):
    quakes = make()
    quakes.poll(1, 1, 2, 3)
    quakes.api.script(Answer(body=b"[]"))
    quakes.poll(2, 4)
    asked = len(quakes.api.requests)
    changed = COLLECTOR.replace("(1, 2)", "(1, 2) if since is None else (7,)").replace("quakes(since)", "quakes()")
    changed = changed.replace("if since is None", "if True").replace('"since": since', '"since": None')
    path = quakes.store / "tape" / "quakes"
    oldest = min(path.iterdir())
    quakes.write("quakes", changed.format(**quakes.declaration, shape=NEW))
    oldest.write_bytes(oldest.read_bytes()[:-400])  # as a kill, or a power cut, leaves it
    said = quakes.command("rebuild", "quakes", status=1)
    assert (said["rebuilt"], len(said["not_rebuilt"])) == (1, 1)
    assert (
        "isn't on its tape" in said["not_rebuilt"][0]["cause"] or "part of its body" in said["not_rebuilt"][0]["cause"]
    )
    assert "the tape ends there: it was cut short" in said["not_rebuilt"][0]["cause"]
    assert len(quakes.api.requests) == asked


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ("__import__('requests').get('{url}', timeout=5).json()", "asks 127.0.0.1 otherwise than by Http"),
        ("Http().get('{url}', params=dict(now=__import__('time').time_ns())).json()", "isn't on its tape"),
        ("program('{url}')", "CalledProcessError|asks .* otherwise than by Http"),
    ],
)
def test_the_api_is_never_asked_whatever_the_function_does_and_whatever_it_catches(make, ask, words):
    quakes = make()
    quakes.poll(1, 1)
    asked = len(quakes.api.requests)
    body = f"""
    import json, subprocess, sys
    from api2db import Http, collector

    def program(url):
        code = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
        return json.loads(subprocess.check_output([sys.executable, "-c", code, url]))

    @collector(every=3600, tape="7d", key="id", version="at")
    def quakes(since):
        try:
            return {ask.format(url=quakes.api.url)}
        except OSError:
            return []
    """
    quakes.write("quakes", body)
    said = quakes.command("rebuild", "quakes", status=1)
    assert re.search(words, said["not_rebuilt"][0]["cause"])
    assert (said["rebuilt"], said["rows"], len(quakes.api.requests)) == (0, 0, asked)


def test_a_program_that_declares_its_collectors_itself_is_rebuilt_too(make):
    quakes = make()
    quakes.poll(1, 1, 2)
    quakes.declare(NEW)
    declared = (quakes.folder / "collectors" / "quakes.py").read_text()
    (quakes.folder / "main.py").write_text(f"{declared}\nfrom api2db import Run\nRun([quakes]).run()\n")
    shutil.rmtree(quakes.folder / "collectors")
    assert quakes.command("rebuild", "quakes")["rows"] == 2
    assert quakes.table() == [(1, 1, 101), (2, 1, 102)]


def test_where_the_kernel_gives_no_network_of_its_own_connections_and_programs_are_refused(http_api):
    code = f"""
import subprocess, sys, urllib.request
from api2db.sources.tape.offline import Offline
offline = Offline(by_kernel=False)
for ask in (lambda: urllib.request.urlopen("{http_api.url}"), lambda: subprocess.run([sys.executable, "-c", ""])):
    try:
        ask()
    except OSError as error:
        print(error)
print(offline.tried)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    said = done.stdout.splitlines()
    assert len(said) == 3
    assert all("is not asked while a poll is rebuilt" in line for line in said[:2])
    assert said[2] == "127.0.0.1"
    assert http_api.requests == []


def test_beside_a_running_daemon_the_daemon_rebuilds(make):
    quakes = make()
    quakes.poll(1, 1, 2, 3)
    until = dt.datetime.now(dt.UTC).isoformat()  # the daemon polls on, and gets nothing
    quakes.api.replace([])
    quakes.declare(NEW)
    process = quakes.start()
    quakes.ready(process)
    said = quakes.command("rebuild", "quakes", "--until", until)
    assert said["rows"] == 3
    from tests.project_kit import eventually

    eventually(lambda: quakes.table() == [(1, 1, 101), (2, 1, 102), (3, 1, 103)])
    assert quakes.stop(process) == 0


def test_what_is_not_taped_cannot_be_rebuilt_and_the_error_says_how_it_will_be(make):
    quakes = make()
    quakes.poll(1, 1)
    shutil.rmtree(quakes.store / "tape")
    assert (
        'no poll is on tape; what it is asked from now on is, by tape="7d"'
        in quakes.command("rebuild", "quakes", status=1)["text"]
    )
