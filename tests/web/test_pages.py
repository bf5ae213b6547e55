"""The pages of a real daemon: what they say, whom they answer, and that they cost little."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.project_kit import Project, eventually

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
COUNTER = """
    from api2db import collector

    number = 0

    @collector(every=0.2, to=["database"], fresh_within="1h")
    def counter():
        global number
        number += 1
        return [{"n": number}]
"""
BROKEN = "raise RuntimeError('not written yet')\n"


def port_of(project):
    found = re.findall(r"address=http://(?:[\d.]+|\[::1\]):(\d+)", project.console)
    return int(found[-1]) if found else None


def ask(port, path, method="GET", headers=None, body=None, host="127.0.0.1"):
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()


def samples(port):
    status, body = ask(port, "/metrics")
    assert status == 200, body
    families = list(text_string_to_metric_families(body.decode()))
    return families, {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A daemon with pages, shared by the tests of this module; with a collector that can't be imported."""
    project = Project(tmp_path_factory.mktemp("served"), toml='http = "127.0.0.1:0"\n', counter=COUNTER, broken=BROKEN)
    process = project.start()
    project.ready(process)
    yield project, port_of(project)
    assert project.stop(process) == 0
    project.close()


def test_a_daemon_that_runs_is_live_and_ready(served):
    _, port = served
    eventually(lambda: ask(port, "/readyz")[0] == 200)
    for path in ("/healthz", "/readyz"):
        status, body = ask(port, path)
        assert (status, json.loads(body)) == (200, {"ok": True, "phase": "running", "reasons": []})
        assert ask(port, path, "HEAD") == (200, b"")


def test_the_metrics_say_what_the_status_says(served):
    project, port = served
    eventually(lambda: samples(port)[1].get(("api2db_stream_loaded_rows_total", "counter", "sql.sqlite"), 0) > 2)
    _, found = samples(port)
    assert found["api2db_collector_polls_total", "counter"] >= 3
    assert found["api2db_collector_failures_total", "counter"] == 0
    assert found["api2db_collector_stale", "counter"] == 0
    assert found["api2db_collector_state", "counter", "ok"] == 1
    assert found["api2db_collector_state", "broken", "broken"] == 1
    assert found["api2db_stream_state", "counter", "ok", "sql.sqlite"] == 1
    assert found["api2db_store_max_bytes",] == 50 * 2**30
    disk = shutil.disk_usage(project.store)
    assert 0 < found["api2db_disk_free_bytes",] <= disk.total
    started = project.journal("SELECT last_success_ns FROM collectors WHERE collector = 'counter'")[0][0]
    assert 0 < found["api2db_collector_last_success_timestamp_seconds", "counter"] <= started / 1e9


def test_the_documentation_lists_every_metric_as_it_is(served):
    eventually(lambda: "api2db_stream_last_success_timestamp_seconds" in {key[0] for key in samples(served[1])[1]})
    families, _ = samples(served[1])
    there = {}
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = sorted({label for sample in family.samples for label in sample.labels})
        assert family.documentation
        if name.startswith("api2db_"):
            there[name] = (family.type, ", ".join(labels))
    rows = re.findall(r"^\| `(api2db_\w+)` \| (\w+) \| ([^|]*?) ?\|", PAGE.read_text(), re.MULTILINE)
    documented = {name: (kind, ", ".join(sorted(re.findall(r"\w+", labels)))) for name, kind, labels in rows}
    assert documented == there


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool isn't installed")
def test_promtool_finds_nothing_to_say_about_the_metrics(served):
    _, body = ask(served[1], "/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/../../etc/passwd", "/%2e%2e/api2db.toml", "/STORE/journal.sqlite"]
)
def test_a_path_is_one_of_the_pages_or_nothing(served, path):
    status, body = ask(served[1], path)
    assert status == 404
    assert "/metrics" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("host", "status"),
    [("attacker.example", 403), ("attacker.example:8424", 403), ("127.0.0.1.attacker.example", 403), ("", 403),
     ("localhost", 200), ("LOCALHOST:8424", 200), ("127.0.0.1:1", 200), ("[::1]:8424", 200)],
)  # fmt: skip
def test_a_page_of_somebody_else_whose_name_leads_here_gets_nothing(served, host, status):
    assert ask(served[1], "/metrics", headers={"Host": host})[0] == status


def test_only_reading_is_allowed_and_a_request_is_small(served):
    _, port = served
    assert ask(port, "/metrics", "DELETE")[0] == 405
    assert ask(port, "/metrics", "POST", body=b"x" * 5000)[0] == 413
    assert ask(port, "/metrics", headers={"X": "x" * 9000})[0] == 431


def test_clients_that_dawdle_hold_up_nobody(served):
    _, port = served
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for each in idle:
        each.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
    assert ask(port, "/healthz")[0] == 200
    for each in idle:
        each.close()


def test_a_scrape_is_found_once_a_second_however_many_ask(served):
    _, port = served
    bodies = {ask(port, "/metrics")[1] for _ in range(20)}
    assert len(bodies) < 10


def test_a_port_in_use_is_a_warning_and_the_daemon_goes_on_without(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        project = Project(tmp_path, toml=f'http = "{address}"\n', counter=COUNTER)
        process = project.start()
        project.ready(process)
        eventually(lambda: project.sqlite("SELECT count(*) > 0 FROM counter") == [(1,)])
        assert project.stop(process) == 0
    assert f"address={address} cause=Address already in use" in project.console
    project.close()


def test_beyond_this_machine_only_who_has_the_token_is_answered(tmp_path):
    project = Project(tmp_path, toml='http = "0.0.0.0:0"\n', counter=COUNTER)
    token = "f3b1c9d2a7e84650"
    process = project.start(env={"API2DB_HTTP_TOKEN": token})
    project.ready(process)
    port = port_of(project)
    bearer = {"Authorization": f"Bearer {token}", "Host": "db-host.internal"}
    assert ask(port, "/healthz")[0] == 401
    assert ask(port, "/metrics", headers={"Authorization": "Bearer f3b1c9d2a7e84651"})[0] == 401
    assert ask(port, "/metrics", headers={"Authorization": "Bearer \xfc"})[0] == 401
    assert ask(port, "/metrics", headers=bearer)[0] == 200
    assert project.stop(process) == 0
    assert token not in project.console
    project.close()


def test_a_store_that_cannot_take_rows_is_not_ready_and_says_why(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    project = Project(tmp_path, toml='http = "[::1]:0"\n', counter=COUNTER)
    process = project.start("--set", f"min_free_bytes={free * 2}")
    project.ready(process)
    status, body = ask(port_of(project), "/readyz", host="::1")
    assert status == 503
    assert "min_free_bytes" in json.loads(body)["reasons"][0]
    assert ask(port_of(project), "/healthz", host="::1")[0] == 200
    assert project.stop(process) == 0
    project.close()
