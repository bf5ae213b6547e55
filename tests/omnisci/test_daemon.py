"""A program written for 1.0.1 loads into HeavyDB's peer: both killed, answers lost, and every row is there once."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests import warm
from tests.compat.feed import Feed
from tests.compat.kit import Program
from tests.omnisci.kit import PASSWORD, USER
from tests.project_kit import REPOSITORY, TIMEOUT_S, eventually

SMALLEST = 2.2250738585072014e-308  # NULL there


@pytest.fixture
def program(tmp_path, peer):
    def readings(number, ids):
        rows = [{"id": key, "order": f"n{key}", "value": SMALLEST if key % 10 == 3 else key / 4} for key in ids]
        return {"rows": rows}

    folder = tmp_path / "project"
    folder.mkdir()
    auth = {"username": USER, "password": PASSWORD, "host": "127.0.0.1", "port": peer.port}
    program = Program(folder, "omnisci", Feed(readings=readings), omnisci_auth=auth)
    yield program
    program.close()
    program.feed.close()


def audited(program, *arguments):
    done = warm.run(
        [sys.executable, "-c", "from api2db.cli.main import main; main()", "audit", "--json", *arguments],
        cwd=program.folder,
        env={**os.environ, **program.env, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.stdout, done.stderr
    (collector,) = json.loads(done.stdout)["collectors"]
    (stream,) = collector["streams"]
    return done.returncode, stream


def test_both_are_killed_and_answers_are_lost_and_each_row_is_there_once(program, peer):
    program.killed_at("sink.committed:2")
    process = program.start(env=program.env)
    for fault in ("drop_after", "kill_after"):
        peer.fault(fault)
        eventually(lambda: not (peer.folder / "fault").exists() or process.poll() is not None, what=fault)
        if fault == "kill_after":
            peer.died()
            peer.start()
    program.feed.end()
    eventually(lambda: not program.waiting(), what="delivery")
    assert program.stop(process) == 0, program.console
    rows = peer.query("SELECT id_t, order_t, value_t FROM readings_stream")
    program.feed.audit("readings", [row[0] for row in rows], dropped=[3])
    assert all((order, value) == (f"n{key}", key / 4) for key, order, value in rows)
    status, stream = audited(program, "--deep")
    assert (status, stream["findings"], stream["checked"]) == (0, [], "ledger")
    assert PASSWORD not in program.console + program.log("readings")
    # Its folder and its file are the documented ones.
    kept = list((program.store / "quarantine" / "readings" / "omnisci").glob("*.parquet"))
    assert len(kept) == len(rows) // 3
    # What somebody deletes there is named; so is what came twice.
    (lost,), (twice,) = peer.query("SELECT DISTINCT api2db_batch FROM readings_stream LIMIT 2")
    peer.query_and_commit("DELETE FROM readings_stream WHERE api2db_batch = ?", (lost,))
    peer.query_and_commit("INSERT INTO readings_stream SELECT * FROM readings_stream WHERE api2db_batch = ?", (twice,))
    status, stream = audited(program)
    assert status == 1
    assert {finding["batch_id"]: finding["kind"] for finding in stream["findings"]} == {
        lost: "not_in_place",
        twice: "rows_differ",
    }
