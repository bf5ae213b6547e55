"""Streams used by a script, without a daemon: what was taken is safe, loaded once, and found by the next run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from tests import warm
from tests.project_kit import REPOSITORY, eventually

HEAD = """
import os, sys, time
import pandas as pd
from api2db.stream import Stream, Stream2Local, Stream2Sql

def frame(*values):
    return pd.DataFrame({"n": list(values)})
"""


class Script:
    """A script in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, body: str, **env: str) -> subprocess.Popen[str]:
        path = self.folder / "script.py"
        path.write_text(HEAD + dedent(body))
        return warm.Popen(
            [sys.executable, str(path)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, body: str, status: int = 0, **env: str) -> tuple[str, str]:
        process = self.start(body, **env)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == status, err
        return out, err

    def rows(self, file: str = "d.sqlite", sql: str = "SELECT n FROM levels ORDER BY n") -> list[int]:
        with closing(sqlite3.connect(self.folder / file)) as db:
            return [n for (n,) in db.execute(sql)]

    def has_table(self) -> bool:
        return bool(self.rows(sql="SELECT 1 FROM sqlite_master WHERE name = 'levels'"))

    def shards(self, place: str) -> list[Path]:
        return sorted((self.folder / "STORE" / place / "levels").glob("sql.*/*.parquet"))


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)


SQLITE = 's = Stream2Sql("levels", "d.sqlite", "sqlite")\n'


def test_a_frame_is_loaded_when_stream_returns(script):
    out, err = script.run(SQLITE + "s.stream(frame(1, 2)); s.stream(frame(3)); print(s.connected)")
    assert (out, err) == ("True\n", "")
    assert script.rows() == [1, 2, 3]
    assert script.shards("queue") == []


def test_a_started_stream_loads_what_is_put_on_its_queue_and_holds_its_lock(script):
    out, _ = script.run(
        SQLITE
        + """
        print(s.lock.locked())
        s.start()
        s.start()
        print(s.lock.locked())
        for number in range(5):
            s.q.put(frame(number))
        print(s.close(), s.lock.locked())
        s.start()
        s.q.put(frame(5))
    """.replace("\n        ", "\n")
    )
    assert out == "False\nTrue\nTrue False\n"
    assert script.rows() == [0, 1, 2, 3, 4, 5]


def test_what_is_on_the_queue_when_the_program_ends_is_loaded(script):
    script.run(SQLITE + "s.start()\nfor n in range(100): s.q.put(frame(n))")
    assert script.rows() == list(range(100))


def test_a_frame_on_the_queue_starts_a_stream_that_nobody_started(script):
    out, _ = script.run(
        SQLITE
        + """
s.q.put(frame(1))
s.q.put_nowait(frame(2))
print(s.lock.locked())
s.start()
print(s.close(), s.lock.locked())
s.q.put(frame(3))
"""
    )
    assert out == "True\nTrue False\n"
    assert script.rows() == [1, 2, 3]


def test_stream_start_beside_a_frame_that_was_quicker_returns_after_close(script):
    out, _ = script.run(
        SQLITE
        + """
import threading
s.q.put(frame(1))
t = threading.Thread(target=s.stream_start)
t.start()
s.q.put(frame(2))
print(s.close()); t.join(); print(t.is_alive())
"""
    )
    assert out == "True\nFalse\n"
    assert script.rows() == [1, 2]


def test_stream_start_listens_in_the_thread_that_calls_it(script):
    script.run(
        SQLITE
        + """
import threading
t = threading.Thread(target=s.stream_start)
t.start()
s.q.put(frame(1))
while not s.lock.locked(): time.sleep(0.01)
print(s.close()); t.join()
"""
    )
    assert script.rows() == [1]


def test_what_is_no_frame_is_said_and_left_out(script):
    _, err = script.run(SQLITE + "s.start(); s.q.put([1]); s.q.put(None); s.q.put(frame(1))")
    assert "data is a DataFrame, not list" in err
    assert script.rows() == [1]


def test_what_fails_five_times_is_kept_and_loaded_with_the_next_frame_that_can_be(script):
    _, err = script.run("os.mkdir('d.sqlite')\n" + SQLITE + "s.stream(frame(1), retry_depth=1); print(s.connected)")
    assert "STORE/upload_failed/levels/sql.sqlite to be tried again" in err
    assert len(script.shards("upload_failed")) == 1
    (script.folder / "d.sqlite").rmdir()
    script.run(SQLITE + "s.stream(frame(2))")
    assert script.rows() == [1, 2]
    assert script.shards("upload_failed") == script.shards("queue") == []


def test_check_failures_loads_what_failed_and_leaves_what_still_does(script):
    script.run("os.mkdir('d.sqlite')\n" + SQLITE + "s.stream(frame(1), 0); s.stream(frame(2), 0); s.check_failures()")
    assert len(script.shards("upload_failed")) == 2
    (script.folder / "d.sqlite").rmdir()
    script.run(SQLITE + "s.check_failures(); s.check_failures()")
    assert script.rows() == [1, 2]
    assert script.shards("upload_failed") == []


def test_files_of_another_program_in_upload_failed_are_set_aside_as_they_are(script):
    folder = script.folder / "STORE" / "upload_failed" / "levels" / "sql.sqlite"
    folder.mkdir(parents=True)
    pd.DataFrame({"n": [7]}).to_parquet(folder / "1700000000000000000.parquet")
    whole = (folder / "1700000000000000000.parquet").read_bytes()
    _, err = script.run(SQLITE + "s.check_failures(); s.stream(frame(1))")
    assert "1700000000000000000.parquet" in err
    (kept,) = script.shards("quarantine")
    assert kept.read_bytes() == whole
    script.run(SQLITE + f"s.stream(pd.read_parquet({str(kept)!r}))")
    assert script.rows() == [1, 7]


def test_several_streams_of_one_name_go_to_their_own_places(script):
    script.run("""
for s in (Stream2Sql("levels", "a.sqlite", "sqlite"), Stream2Sql("levels", "b.sqlite", "sqlite", if_exists="replace"),
          Stream2Local("levels", path="out")):
    s.start()
    for n in range(3):
        s.q.put(frame(n))
""")
    assert script.rows("a.sqlite") == [0, 1, 2]
    assert script.rows("b.sqlite") == [2]
    assert len(list((script.folder / "out").glob("*.parquet"))) == 3


def test_rows_that_do_not_fit_the_table_are_kept_apart(script):
    with closing(sqlite3.connect(script.folder / "d.sqlite")) as db:
        db.execute("CREATE TABLE levels (n INTEGER CHECK (n < 10))")
    script.run(SQLITE + "s.stream(frame(1, 20, 3)); print(s.connected)")
    assert script.rows() == [1, 3]
    assert len(script.shards("quarantine")) == 1


def test_beside_a_daemon_a_stream_says_whose_store_it_is(script):
    holder = script.start(SQLITE + "s.start(); print('held', flush=True); time.sleep(60)")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        _, err = script.run(SQLITE + "s.stream(frame(1))", status=1)
        assert f"in use by process {holder.pid}" in err
    finally:
        holder.kill()
        holder.communicate()


POINTS = ("spool.renamed", "spool.fanned_out", "journal.accepted", "sink.loaded", "sink.committed", "spool.acked")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("use", ["stream", "queue"])
def test_killed_anywhere_what_was_taken_is_loaded_once_by_the_next_run(script, point, use):
    put = "s.stream(frame(n))" if use == "stream" else "s.q.put(frame(n))"
    begin = SQLITE + ("s.start()\n" if use == "queue" else "")
    # Until it is killed: frames that wait together are one load, and on a busy machine most do.
    killed = begin + f"for n in range(1000):\n    {put}\n    print(n, flush=True)\n    time.sleep(0.03)"
    out, _ = script.run(killed, status=-signal.SIGKILL, API2DB_FAILPOINT=f"{point}:4")
    returned = [int(line) for line in out.split()]
    script.run(SQLITE + "s.check_failures()")
    found = script.rows()
    assert len(found) == len(set(found)) >= 3
    if use == "stream":
        # All whose call returned, and perhaps the one under way.
        assert found in (returned, [*returned, len(returned)])


OWN = """
class Own(Stream2Sql):
    def stream(self, data, retry_depth=5):
        data = data.assign(n=data["n"] * 10)
        super().stream(data, retry_depth)

s = Own("levels", "d.sqlite", "sqlite")
"""


@pytest.mark.parametrize(
    "use", ["s.stream(frame(1, 2)); s.stream(frame(3))", "s.start(); s.q.put(frame(1, 2)); s.q.put(frame(3))"]
)
def test_a_class_of_ones_own_changes_what_is_loaded(script, use):
    script.run(OWN + use)
    assert script.rows() == [10, 20, 30]


def test_a_class_without_a_place_is_called_with_each_frame(script):
    out, _ = script.run("""
class Printer(Stream):
    def stream(self, data):
        print(data["n"].tolist(), flush=True)

s = Printer("levels")
s.start()
s.q.put(frame(1, 2))
s.q.put(frame(3))
""")
    assert out == "[1, 2]\n[3]\n"


def test_a_store_uses_its_stream_itself(tmp_path, monkeypatch):
    from api2db.stream import Stream2Sql

    monkeypatch.chdir(tmp_path)
    with pytest.raises(AttributeError, match=r"levels/sql\.sqlite"):
        Stream2Sql("levels", "d.sqlite", "sqlite", store=True).start()
    assert not (tmp_path / "STORE").exists()


DAEMON = """
from api2db import Collector, Run
{own}
def levels():
    return [{{"n": 1}}, {{"n": 2}}]

Run([Collector("levels", 0.05, levels, lambda: None, lambda: [Own("levels", "d.sqlite", "sqlite")], lambda: [])]).run()
"""


@pytest.mark.parametrize("point", ["sink.loaded", "sink.committed", "journal.delivered", "spool.acked"])
def test_in_the_daemon_too_it_changes_each_batch_once_whatever_is_killed(script, point):
    body = DAEMON.format(own=OWN.replace('s = Own("levels", "d.sqlite", "sqlite")', ""))
    script.run(body, status=-signal.SIGKILL, API2DB_FAILPOINT=f"{point}:3", API2DB_CONSOLE="false")
    process = script.start(body, API2DB_CONSOLE="false")
    try:
        eventually(lambda: len(script.rows()) > 20, what="more rows")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    with closing(sqlite3.connect(script.folder / "STORE" / "journal.sqlite")) as db:
        accepted = db.execute("SELECT count(*) FROM batches").fetchone()[0]
        waiting = db.execute("SELECT count(*) FROM deliveries WHERE outcome = 'waiting'").fetchone()[0]
    assert script.rows(sql="SELECT count(*) FROM levels GROUP BY n ORDER BY n") == [accepted - waiting] * 2
    assert script.rows(sql="SELECT DISTINCT n FROM levels ORDER BY n") == [10, 20]


def test_another_object_for_the_same_place_delivers_as_it_says(script):
    script.run("""
Stream2Sql("levels", "d.sqlite", "sqlite", if_exists="replace").stream(frame(1))
Stream2Sql("levels", "d.sqlite", "sqlite", if_exists="replace").stream(frame(2))
Stream2Sql("levels", "d.sqlite", "sqlite").stream(frame(3))
""")
    assert script.rows() == [2, 3]


def test_beside_a_started_object_another_one_for_the_same_place_is_refused(script):
    _, err = script.run(SQLITE + "s.start(); Stream2Sql('levels', 'd.sqlite', 'sqlite').stream(frame(1))", status=1)
    assert "another stream object of this program" in err


def test_an_ordered_stream_comes_back_from_a_place_that_is_down(script):
    keyed = 's = Stream2Sql("levels", url="sqlite:///d.sqlite", key="n")\n'
    script.run("os.mkdir('d.sqlite')\n" + keyed + "s.stream(frame(1), 0); s.stream(frame(2), 0); s.stream(frame(3), 1)")
    assert len(script.shards("upload_failed")) == 3
    (script.folder / "d.sqlite").rmdir()
    script.run(keyed + "s.check_failures()")
    assert script.rows() == [1, 2, 3]


@pytest.mark.parametrize(
    "use", ["for n in range(60): s.stream(frame(n), 0)", "s.start()\nfor n in range(60): s.q.put(frame(n))\n"]
)
def test_where_store_is_full_what_waits_is_delivered_to_make_room(script, use):
    (script.folder / "api2db.toml").write_text("min_free_bytes = 0\nmax_store_bytes = 40_000\n")
    script.run(SQLITE + use)
    assert script.rows() == list(range(60))


def test_thousands_of_frames_on_the_queue_at_the_end_are_all_loaded(script):
    script.run(SQLITE + "s.start()\nfor n in range(600): s.q.put(frame(n))")
    assert script.rows() == list(range(600))


def test_while_the_place_is_down_the_queue_is_accepted(script):
    silent = """
import socket, threading
listening = socket.create_server(("127.0.0.1", 0))
streams = [Stream2Sql(f"l{k}", url=f"postgresql://u:p@127.0.0.1:{listening.getsockname()[1]}/d") for k in range(3)]
for s in streams:
    s.start()
    s.q.put(frame(1))
deadline = time.monotonic() + 20
while any(not s.q.empty() for s in streams):
    assert time.monotonic() < deadline
    time.sleep(0.05)
time.sleep(0.5)
os._exit(0)
"""
    script.run(silent)
    assert len(list((script.folder / "STORE" / "queue").glob("l*/sql.postgresql/*.parquet"))) == 3


def test_a_child_process_leaves_its_parents_store_alone(script):
    _, err = script.run(
        SQLITE
        + """
s.stream(frame(1))
pid = os.fork()
if pid == 0:
    try:
        s.stream(frame(2))
    except Exception as error:
        print(type(error).__name__, file=sys.stderr, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
s.stream(frame(3))
"""
    )
    assert "StoreLockedError" in err
    assert script.rows() == [1, 3]


def test_what_a_class_of_ones_own_handed_on_and_failed_is_found_by_check_failures(script):
    script.run("os.mkdir('d.sqlite')\n" + OWN + "s.stream(frame(1), 0)")
    (script.folder / "d.sqlite").rmdir()
    script.run(OWN + "s.check_failures()")
    assert script.rows() == [10]


def test_a_frame_put_after_the_word_to_close_is_loaded_and_closing_ends(script):
    out, _ = script.run(
        SQLITE
        + """
s.start()
s.q.put(frame(1))
s.begin_close()
s.q.put(frame(2))
print(s.end_close(time.monotonic() + 20))
"""
    )
    assert out == "True\n"
    assert script.rows()[0] == 1


def test_a_child_of_a_started_stream_is_told_whose_store_it_is(script):
    _, err = script.run(
        SQLITE
        + """
s.start()
pid = os.fork()
if pid == 0:
    try:
        s.q.put(frame(2))
    except Exception as error:
        print(type(error).__name__, file=sys.stderr, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
s.q.put(frame(3))
"""
    )
    assert "StoreLockedError" in err
    assert script.rows() == [3]


def test_what_failed_while_the_stream_appended_is_replaced_by_what_comes_later(script):
    script.run("os.mkdir('d.sqlite')\n" + SQLITE + "s.stream(frame(1), 0)")
    assert len(script.shards("upload_failed")) == 1
    (script.folder / "d.sqlite").rmdir()
    script.run('s = Stream2Sql("levels", "d.sqlite", "sqlite", if_exists="replace")\ns.stream(frame(2, 3))')
    assert script.rows() == [2, 3]
    assert script.shards("upload_failed") == script.shards("queue") == []
    with closing(sqlite3.connect(script.folder / "STORE" / "journal.sqlite")) as db:
        outcomes = db.execute("SELECT outcome FROM deliveries ORDER BY created_ns").fetchall()
    assert outcomes == [("superseded",), ("loaded",)], "the older one was never loaded as a replacement"


def test_a_steady_producer_does_not_keep_what_was_accepted_from_being_delivered(script):
    out, _ = script.run(
        SQLITE
        + """
import sqlite3
s.start()
for number in range(100_000):
    s.q.put(frame(number))
    time.sleep(0.001)
    if number % 50 == 49 and os.path.exists("d.sqlite"):
        try:
            loaded = sqlite3.connect("d.sqlite").execute("SELECT count(*) FROM levels").fetchone()[0]
        except sqlite3.OperationalError:
            continue
        if loaded:
            print("delivered under way")
            break
"""
    )
    assert out == "delivered under way\n"


def test_an_error_of_the_disk_that_passes_loses_no_frame(script):
    script.run(
        SQLITE
        + """
from api2db.errors import StoreError
from api2db.spool.collector import CollectorSpool
accept, failures = CollectorSpool.accept, [StoreError("Input/output error")] * 2

def failing(*arguments, **options):
    if failures:
        raise failures.pop()
    return accept(*arguments, **options)

CollectorSpool.accept = failing
s.start()
for n in range(5):
    s.q.put(frame(n))
"""
    )
    assert script.rows() == [0, 1, 2, 3, 4]


def test_the_store_of_the_settings_counts_for_files_too(script):
    (script.folder / "api2db.toml").write_text('store = "elsewhere"\nmin_free_bytes = 0\n')
    script.run('Stream2Local("levels").stream(frame(1))')
    assert len(list((script.folder / "elsewhere" / "levels" / "parquet").glob("*.parquet"))) == 1
    assert not (script.folder / "STORE").exists()


def test_a_replacement_through_a_class_of_ones_own_has_its_columns_alone(script):
    body = """
from api2db import Collector, Run

class Own(Stream2Sql):
    def stream(self, data, retry_depth=5):
        super().stream(data.drop(columns="secret"), retry_depth)

def levels():
    for n in range(3):
        yield [{"n": n, "secret": "x"}]

stream = lambda: [Own("levels", "d.sqlite", "sqlite", if_exists="replace")]
Run([Collector("levels", 0.1, levels, lambda: None, stream, lambda: [])]).run()
"""
    process = script.start(body, API2DB_CONSOLE="false", API2DB_MIN_FREE_BYTES="0")
    try:
        eventually(lambda: (script.folder / "d.sqlite").exists() and script.has_table(), what="a table")
        eventually(lambda: script.rows() == [0, 1, 2], what="one whole poll")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert script.rows(sql="SELECT name FROM pragma_table_info('levels')") == ["n"]
