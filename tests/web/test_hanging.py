"""When the disk or the main loop hangs, the pages still answer, and say so."""

from __future__ import annotations

import json
import threading

import pytest

from api2db import settings as settings_file
from api2db.runtime import vitals as vitals_module
from api2db.runtime.sparing import Sparing
from api2db.runtime.vitals import Vitals
from api2db.web.readiness import reasons_against
from api2db.web.site import Site


def get(site, path):
    told = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_HOST": "127.0.0.1"}
    body = b"".join(site(environ, lambda status, headers: told.append(status)))
    return int(told[0].split()[0]), json.loads(body)


@pytest.fixture
def vitals():
    vitals = Vitals()
    vitals.turn(0)
    return vitals


def test_while_store_does_not_answer_only_those_who_ask_of_it_wait_and_not_for_long(tmp_path, vitals):
    asked, hang = threading.Event(), threading.Event()

    def status():
        asked.set()
        hang.wait()

    shared = Sparing(status, timeout_s=0.1)
    site = Site(settings_file.load(tmp_path, environ={}), vitals, shared)
    first = threading.Thread(target=shared.get)
    first.start()
    assert asked.wait(30)
    code, body = get(site, "/metrics")
    assert (code, body["error"]) == (503, "STORE hasn't answered within 0.1 s: does its disk hang?")
    assert get(site, "/healthz")[0] == 200
    hang.set()
    first.join()


def test_a_main_loop_that_hangs_is_neither_live_nor_ready(tmp_path, vitals, monkeypatch):
    site = Site(settings_file.load(tmp_path, environ={}), vitals, Sparing(lambda: pytest.fail("not asked")))
    monkeypatch.setattr(vitals_module, "HANGS_AFTER_S", -1.0)
    code, body = get(site, "/healthz")
    assert code == 503
    assert "the main loop hangs" in body["reasons"][0]
    assert "the main loop hangs" in reasons_against(vitals, tmp_path)[0]


def test_a_daemon_that_starts_or_stops_is_live_but_not_ready(tmp_path):
    vitals = Vitals()
    assert reasons_against(vitals, tmp_path) == ["the daemon is starting"]
    assert vitals.trouble is None
    vitals.turn(0)
    assert reasons_against(vitals, tmp_path) == []
    vitals.stopping()
    assert reasons_against(vitals, tmp_path) == ["the daemon is stopping"]


def test_a_store_that_cannot_be_written_is_not_ready_and_nothing_is_left_of_the_try(tmp_path, vitals):
    assert reasons_against(vitals, tmp_path) == []
    assert not list(tmp_path.iterdir())
    (reason,) = reasons_against(vitals, tmp_path / "gone")
    assert "can't be written: No such file or directory" in reason


def test_what_took_long_is_looked_at_the_more_rarely():
    now, looks = [0.0], []

    def look():
        looks.append(now[0])
        now[0] += 3.0

    shared = Sparing(look, clock=lambda: now[0])
    shared.get()
    now[0] = 32.9
    shared.get()
    assert looks == [0.0]
    now[0] = 33.0
    shared.get()
    assert looks == [0.0, 33.0]
