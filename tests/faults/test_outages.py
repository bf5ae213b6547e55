"""What is broken stops nothing but itself, says so, and heals without help."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing

import pyarrow.parquet as pq
import pytest
from sqlalchemy import make_url

from tests.http_api import Answer, HttpApi
from tests.project_kit import TIMEOUT_S, Project, eventually

NUMBERS = """
    import os
    import requests
    from api2db import Cursor, collector

    @collector(every=0.05, to=[{to}])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={{"since": since, "page": 1, "size": 10}}, timeout=10)
        response.raise_for_status()
        yield response.json()
"""


@pytest.fixture
def api():
    with HttpApi([{"id": n} for n in range(1, 101)], since_field="id") as api:
        yield api


@pytest.fixture
def make(tmp_path, api):
    made = []

    def make(*, toml="", **collectors):
        project = Project(tmp_path, toml=toml, **collectors)
        made.append(project)
        return project, {"URL": api.url}

    yield make
    for project in made:
        project.close()


def delivered(project, count):
    rows = "SELECT count(*), count(DISTINCT id) FROM numbers"
    return project.sqlite(rows) == [(count, count)]


@pytest.mark.parametrize(
    ("server", "database", "stream"),
    [("postgres", "database", "sql.postgresql"), ("mariadb", "mariadb_database", "sql.mariadb")],
    ids=["postgresql", "mariadb"],
)
def test_a_database_that_is_down_stops_only_its_stream_and_gets_everything_when_it_is_back(
    make, api, request, server, database, stream
):
    server, database = request.getfixturevalue(server), request.getfixturevalue(database)
    toml = f'[places.warehouse]\nurl = "{server.url(database)}"\n'
    project, env = make(toml=toml, numbers=NUMBERS.format(to='"database", "warehouse"'))
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    server.stop()
    api.add(*({"id": n} for n in range(101, 301)))
    eventually(lambda: delivered(project, 300), what="the other stream going on")

    def troubled():
        code, status = project.status()
        return code == 1 and any(f"numbers/{stream}" in line for line in status["troubles"])

    eventually(troubled)
    server.start()
    eventually(lambda: not project.waiting(), 150, what="an empty queue")
    assert project.stop(process) == 0
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), count(DISTINCT id) FROM numbers")
        assert cursor.fetchone() == (300, 300)
    code, status = project.status()
    assert (code, status["troubles"]) == (3, [])


def test_two_streams_of_one_type_each_get_everything_and_the_broken_one_waits(make, api):
    source = NUMBERS.format(to='"database", Stream2Sql("numbers", db_name="sub/second.sqlite", dialect="sqlite")')
    project, env = make(numbers=source.replace("import os\n", "import os\n    from api2db.stream import Stream2Sql\n"))
    blocker = project.folder / "sub"
    blocker.write_text("a file where a folder should be")
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    assert {path.parent.name.partition("~")[0] for path in project.waiting()} == {"sql.sqlite"}
    project.stop(process)
    blocker.unlink()
    process = project.start(env=env)
    eventually(lambda: not project.waiting())
    assert project.stop(process) == 0
    assert project.sqlite("SELECT count(*), count(DISTINCT id) FROM numbers", "../sub/second.sqlite") == [(100, 100)]


def test_a_bad_row_among_ten_thousand_is_kept_with_its_reason_and_the_rest_loads(make, api, postgres, database):
    api.replace([{"id": n, "text": "nul \0" if n == 7777 else f"text {n}"} for n in range(1, 10_001)])
    toml = f'[places.warehouse]\nurl = "{postgres.url(database)}"\n'
    project, env = make(toml=toml, numbers=NUMBERS.format(to='"warehouse"').replace('"size": 10}', '"size": 10000}'))
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: project.journal("SELECT sum(rows), sum(quarantined) FROM deliveries") == [(9_999, 1)])
    project.stop(process)
    with postgres.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM numbers WHERE id <> 7777").fetchone() == (9_999,)
    (kept,) = (project.store / "quarantine" / "numbers" / "sql.postgresql").glob("*.parquet")
    (row,) = pq.read_table(kept).to_pylist()
    assert row["id"] == 7777
    assert "text" in row["_quarantine_reason"]
    _, status = project.status()
    assert status["collectors"][0]["streams"][0]["quarantined"] == 1


def test_a_poll_that_raises_or_returns_rubbish_is_counted_and_repeated_and_others_do_not_notice(make, api):
    project, env = make(
        numbers=NUMBERS.format(to='"database"'),
        broken="""
            from api2db import collector

            @collector(every=0.05)
            def raises():
                raise ValueError("the API said no")

            @collector(every=0.05)
            def rubbish():
                return 42

            @collector(every=0.05)
            def exits():
                raise SystemExit(3)
        """,
        syntax="def (:\n",
        import_error="import no_such_module_anywhere\n",
    )
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    failures = "SELECT collector FROM collectors WHERE failures > 3 ORDER BY collector"
    eventually(lambda: project.journal(failures) == [("exits",), ("raises",), ("rubbish",)])
    code, status = project.status()
    assert code == 1
    troubles = "\n".join(status["troubles"])
    for expected in (
        "the API said no",
        "returned int; expected",
        "SystemExit",
        "SyntaxError",
        "no_such_module_anywhere",
    ):
        assert expected in troubles
    assert project.stop(process) == 0
    assert "Traceback" in project.console
    assert "broken.py:6" in project.console
    (kept,) = (project.store / "quarantine" / "rubbish" / "source").iterdir()
    assert json.loads(kept.read_text())["payload"] == 42


def test_an_api_that_hangs_is_abandoned_its_collector_waits_and_the_others_go_on(make, api):
    project, env = make(
        toml="poll_timeout_s = 0.3\npoll_threads = 1\n",
        numbers=NUMBERS.format(to='"database"'),
        hangs="""
            import threading
            from api2db import collector

            @collector(every=0.05)
            def hangs():
                threading.Event().wait()
        """,
    )
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    eventually(
        lambda: (
            project.journal("SELECT state, failures FROM collectors WHERE collector = 'hangs'") == [("abandoned", 1)]
        )
    )
    assert project.stop(process) == 0


def test_too_many_hanging_sources_end_the_daemon_cleanly_for_its_supervisor(make, api):
    source = """
        import threading
        from api2db import collector

        def hang():
            threading.Event().wait()

        for number in range(3):
            globals()[f"hangs{number}"] = collector(every=0.05, name=f"hangs{number}")(hang)
    """
    project, env = make(toml="poll_timeout_s = 0.2\nmax_stuck_polls = 2\n", hangs=source)
    process = project.start(env=env)
    assert process.wait(60) == 1
    assert "too many sources hang" in project.console


def test_a_page_accepted_before_a_failure_stays_and_the_next_poll_goes_on_behind_it(make, api):
    project, env = make(
        numbers="""
            import os
            import requests
            from api2db import Cursor, collector

            @collector(every=0.1)
            def numbers(since=Cursor("id", start=0)):
                for _ in range(3):
                    page = requests.get(os.environ["URL"], params={"since": since, "page": 1, "size": 10}).json()
                    yield page
                    since = page[-1]["id"]
                raise RuntimeError("the fourth page fails")
        """
    )
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    project.stop(process)
    assert "the fourth page fails" in project.console
    sinces = [request.params["since"] for request in api.requests]
    assert len([since for since in sinces if since != "100"]) == 10


def test_a_source_that_answers_errors_recovers_by_itself(make, api):
    api.script(*(Answer(500, b"down") for _ in range(3)), Answer(200, b"<html>", content_type="text/html"))
    project, env = make(numbers=NUMBERS.format(to='"database"'))
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    assert project.stop(process) == 0
    assert "poll recovered collector=numbers after_failures=4" in project.console


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_in_order_and_a_second_one_at_once(make, api, tmp_path, number):
    project, env = make(numbers=NUMBERS.format(to='"database"'))
    process = project.start(env=env)
    project.ready(process)
    assert project.stop(process, number) == 0
    assert project.journal("SELECT value FROM daemon WHERE key = 'pid'") == [(None,)]
    # A source that doesn't come back: the first signal waits for it, the second one doesn't.
    api.hang()
    seen = len(api.requests)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        process = project.start(env=env | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        api.wait_for_requests(seen + 1)
        _heard(manager, "READY=1")
        process.send_signal(number)
        # Until Python has called the handler of a signal, the same one once more is no second one.
        _heard(manager, "STOPPING=1")
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 128 + number
    api.release()


def _heard(manager, line):
    manager.settimeout(TIMEOUT_S)
    while manager.recv(4096).decode() != line:
        pass


def test_a_source_that_hangs_does_not_keep_the_daemon_from_stopping(make, api):
    api.hang()
    project, env = make(toml="stop_timeout_s = 1\n", numbers=NUMBERS.format(to='"database"'))
    process = project.start(env=env)
    project.ready(process)
    api.wait_for_requests(1)
    assert project.stop(process) == 0
    api.release()


def test_a_second_daemon_on_the_same_store_is_refused(make, api):
    project, env = make(numbers=NUMBERS.format(to='"database"'))
    process = project.start(env=env)
    project.ready(process)
    second = project.start(env=env)
    assert second.wait(30) == 2
    assert f"is in use by process {process.pid}" in project.console
    assert project.stop(process) == 0


def test_a_wrong_password_stops_the_stream_says_so_without_telling_it_and_loses_nothing(make, api, postgres, database):
    right = postgres.url(database)
    wrong = make_url(right).set(password="n0t-the-s3cret").render_as_string(hide_password=False)
    project, env = make(toml=f'[places.warehouse]\nurl = "{wrong}"\n', numbers=NUMBERS.format(to='"warehouse"'))
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: project.status()[1]["collectors"][0]["streams"][0]["state"] == "stopped")
    eventually(lambda: project.journal("SELECT sum(rows) FROM batches") == [(100,)])
    project.stop(process)
    assert "n0t-the-s3cret" not in project.console
    assert "n0t-the-s3cret" not in json.dumps(project.status()[1])
    project.folder.joinpath("api2db.toml").write_text(f'min_free_bytes = 0\n[places.warehouse]\nurl = "{right}"\n')
    process = project.start(env=env)
    eventually(lambda: not project.waiting())
    assert project.stop(process) == 0
    with postgres.connect(database) as connection:
        assert connection.execute("SELECT count(DISTINCT id) FROM numbers").fetchone() == (100,)


def test_a_shard_with_a_flipped_bit_is_set_aside_and_the_others_arrive(make, api, postgres, database):
    wrong = make_url(postgres.url(database)).set(password="wrong").render_as_string(hide_password=False)
    project, env = make(
        toml=f'[places.warehouse]\nurl = "{wrong}"\n', numbers=NUMBERS.format(to='"warehouse", "database"')
    )
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    project.stop(process)
    torn = sorted((project.store / "queue" / "numbers" / "sql.postgresql").iterdir())[3]
    data = bytearray(torn.read_bytes())
    data[len(data) // 2] ^= 16
    torn.write_bytes(data)
    project.folder.joinpath("api2db.toml").write_text(
        f'min_free_bytes = 0\n[places.warehouse]\nurl = "{postgres.url(database)}"\n'
    )
    process = project.start(env=env)
    eventually(lambda: not project.waiting())
    project.stop(process)
    with postgres.connect(database) as connection:
        assert connection.execute("SELECT count(DISTINCT id) FROM numbers").fetchone() == (90,)
    assert (project.store / "quarantine" / "numbers" / "sql.postgresql" / torn.name).read_bytes() == data
    assert "shard damaged, not loaded" in project.console


def test_a_locked_database_with_many_streams_leaves_threads_for_the_others(make, api):
    many = """
        from api2db import collector

        for number in range(12):
            globals()[f"c{number}"] = collector(every=0.1, name=f"c{number}", to=["database"])(lambda: [{"n": 1}])

        number = 0

        @collector(every=0.1, to=["files"])
        def filed():
            global number
            number += 1
            return [{"n": number}]
    """
    project, env = make(many=many)
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) > 0 FROM c0") == [(1,)])
    with closing(sqlite3.connect(project.store / "database.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        before = len(project.files("filed", "n"))
        eventually(
            lambda: len(project.files("filed", "n")) > before + 20, 15, what="files while the database is locked"
        )
        other.execute("ROLLBACK")
    assert project.stop(process) == 0
    assert "no connection was free" not in project.console


def test_a_journal_that_can_not_be_read_is_begun_anew_and_the_old_one_kept(make, api):
    project, env = make(numbers=NUMBERS.format(to='"database"'))
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    project.stop(process)
    (project.store / "journal.sqlite").write_bytes(b"not a database at all" * 100)
    api.add(*({"id": n} for n in range(101, 151)))
    process = project.start(env=env)
    eventually(lambda: delivered(project, 150))
    assert project.stop(process) == 0
    assert list(project.store.glob("journal.sqlite.broken-*"))


def test_a_journal_that_someone_locks_holds_up_neither_loads_nor_the_stop(make, api):
    project, env = make(numbers=NUMBERS.format(to='"database"'))
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    with closing(sqlite3.connect(project.store / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        api.add(*({"id": n} for n in range(101, 201)))
        eventually(lambda: delivered(project, 200))
        other.execute("ROLLBACK")
    eventually(lambda: project.journal("SELECT sum(rows) FROM deliveries") == [(200,)])
    assert project.stop(process) == 0


def test_a_state_file_that_is_damaged_stops_only_its_collector(make, api):
    other = """
        from api2db import collector

        @collector(every=0.1)
        def other():
            return [{"n": 1}]
    """
    project, env = make(numbers=NUMBERS.format(to='"database"'), other=other)
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: delivered(project, 100))
    project.stop(process)
    (project.store / "state" / "numbers.json").write_text("garbage{")
    before = project.sqlite("SELECT count(*) FROM other")
    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: project.sqlite("SELECT count(*) FROM other") > before)
    code, status = project.status()
    assert code == 1
    assert any("numbers" in line and "numbers.json" in line for line in status["troubles"])
    assert project.stop(process) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    folder = tmp_path / "small"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_pauses_collecting_and_loses_nothing_across_restarts(make, api, small_disk):
    api.replace([{"id": n, "text": f"{n}" * 200} for n in range(1, 401)])
    project, env = make(toml=f'store = "{small_disk}/STORE"\n', numbers=NUMBERS.format(to='"files"'))
    ballast = small_disk / "ballast"

    def numbers():
        paths = sorted((small_disk / "STORE" / "numbers" / "parquet").glob("*.parquet"))
        return sorted(n for path in paths for n in pq.read_table(path, columns=["id"]).column("id").to_pylist())

    process = project.start(env=env)
    project.ready(process)
    eventually(lambda: len(numbers()) >= 50)
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], check=False, capture_output=True)
    eventually(lambda: "no space left" in project.console or "free on the disk" in project.console)
    assert project.stop(process) == 0
    process = project.start(env=env)
    project.ready(process)
    ballast.unlink()
    eventually(lambda: len(numbers()) >= 400)
    assert project.stop(process) == 0
    assert numbers() == list(range(1, 401))
