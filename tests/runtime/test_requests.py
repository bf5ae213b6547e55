"""A command asks the running daemon, once, and always hears what became of it."""

from __future__ import annotations

import json
import threading

import pytest

from api2db.errors import ConfigError, StoreError
from api2db.layout import Layout, StoreLock
from api2db.runtime.requests import Desk, Refused, ask
from api2db.runtime.works import Answer
from tests.project_kit import eventually


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.prepare()
    return layout


@pytest.fixture
def lock(layout):
    lock = StoreLock(layout)
    yield lock
    lock.close()


def answered(layout, perform):
    """``ask`` in a thread, as a command does it, and the desk's side here."""
    desk, said = Desk(layout, perform), []

    def command():
        try:
            said.append(ask(layout, "add", {"n": 2}))
        except Refused as error:
            said.append(str(error))

    thread = threading.Thread(target=command)
    thread.start()
    eventually(lambda: desk.look() or said)
    thread.join()
    assert desk.close(0.0)
    assert list(layout.requests.iterdir()) == []
    return said[0]


def test_a_request_is_done_once_and_answered(layout, lock):
    done = []

    def perform(verb, arguments):
        done.append((verb, arguments))
        return Answer(["two"], {"n": 2}, True)

    assert answered(layout, perform) == Answer(["two"], {"n": 2}, True)
    assert done == [("add", {"n": 2})]


def test_an_error_reaches_the_one_who_asked(layout, lock, caplog):
    def refuse(verb, arguments):
        raise ConfigError("there is no such thing")

    def fail(verb, arguments):
        raise KeyError("n")

    assert answered(layout, refuse) == "there is no such thing"
    assert answered(layout, fail) == "KeyError: 'n'"


def test_what_a_daemon_was_killed_over_is_not_done_again(layout):
    layout.requests.mkdir()
    (layout.requests / "1-a.taken").write_text('{"verb": "add", "arguments": {}}')
    desk = Desk(layout, lambda verb, arguments: pytest.fail("it was done again"))
    desk.open()
    desk.look()
    (answer,) = layout.requests.iterdir()
    assert answer.name == "1-a.answer"
    assert "run the command again" in json.loads(answer.read_text())["error"]


def test_without_a_daemon_nobody_waits_for_its_answer(layout):
    with pytest.raises(StoreError, match="ended before it answered"):
        ask(layout, "add", {})
    assert list(layout.requests.iterdir()) == []
