"""A collector's process: what crosses to the daemon, what becomes of it, and that nothing of it stays."""

from __future__ import annotations

import datetime
import decimal
import logging
import os
import pickle
import time
from collections import OrderedDict
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pyarrow as pa
import pytest

from api2db import Collector, Page, collector
from api2db.discovery import find_collectors
from api2db.errors import ConfigError, SourceError
from api2db.runtime.isolated.messages import Incoming, Value, Writer
from api2db.runtime.isolated.processes import Processes
from api2db.runtime.isolated.source import Isolated
from tests.project_kit import eventually

SOURCE = """
import datetime, decimal, os, subprocess, sys, threading
from collections import OrderedDict
from api2db import Page, collector
from api2db.app.log import get_logger

polls = 0
def values():
    import pandas, pyarrow  # not when the module is imported: most tests pay for that, and don't need it

    return [
        None,
        [{"big": 2**80, "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "price": decimal.Decimal("1.10")}],
        [OrderedDict(b=1, a=b"\\x00"), {"text": "\\ud800", "nan": float("inf")}],
        pandas.DataFrame({"n": pandas.array([1, None], dtype="Int64"), "t": ["a", None]}),
        pyarrow.table({"n": pyarrow.array([1, 2], pyarrow.decimal128(5, 2)), "l": [[1], []]}),
        Page([{"n": 1}], {"token": [1]}),
    ]

def made(path):
    for number in range(3):
        with open(path, "w") as file:
            file.write(str(number))
        yield [{"n": number}]

def closing(path):
    try:
        yield [{"n": 1}]
    finally:
        open(path, "w").close()

@collector(every=1, isolate=True)
def asked(since):
    global polls
    polls += 1
    what, argument = since
    if what == "value":
        return values()[argument]
    if what == "values":
        return iter(values())
    if what == "polls":
        return [{"pid": os.getpid(), "polls": polls}]
    if what == "raise":
        raise RuntimeError("at https://user:hunter2@host/")
    if what == "exit":
        sys.exit(3)
    if what == "lock":
        return [threading.Lock()]
    if what == "made":
        return made(argument)
    if what == "closing":
        return closing(argument)
    if what == "say":
        print("said it")
        print("told it", file=sys.stderr)
        get_logger("asked").warning("logged it, token=%s", "https://u:hunter2@h/")
        return None
    if what == "flood":
        for number in range(argument):
            print("line", number)
    if what == "fork":
        if os.fork() == 0:
            threading.Event().wait()
        os._exit(8)
    if what == "big":
        return [{"text": "x" * argument}]
    if what == "junk":
        for fd in range(3, 1024):
            try:
                os.write(fd, b"\\0" * 8 + b"junk")
            except OSError:
                continue
        return None
    if what == "leave":
        left = subprocess.Popen(["sleep", "1000"])
        print(left.pid, file=open(argument, "w"))
        os._exit(7)
    if what == "sleep":
        threading.Event().wait()
"""
VALUES = [
    None,
    [{"big": 2**80, "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "price": decimal.Decimal("1.10")}],
    [OrderedDict(b=1, a=b"\x00"), {"text": "\ud800", "nan": float("inf")}],
    pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "t": ["a", None]}),
    pa.table({"n": pa.array([1, 2], pa.decimal128(5, 2)), "l": [[1], []]}),
    Page([{"n": 1}], {"token": [1]}),
]


class Asked:
    """One isolated collector without a daemon; its function does what the poll's cursor says."""

    def __init__(self, folder: Path) -> None:
        (folder / "collectors").mkdir()
        (folder / "collectors" / "asked.py").write_text(dedent(SOURCE))
        (self.collector,), broken = find_collectors(folder / "collectors")
        assert not broken
        self.processes = Processes()
        self.source = Isolated(self.collector, self.processes)

    def poll(self, what: str, argument: object = None) -> object:
        return self.source.poll((what, argument), lambda: None)


@pytest.fixture
def asked(tmp_path):
    made = Asked(tmp_path)
    yield made
    made.processes.close(time.monotonic() + 5)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def same(one: object, other: object) -> bool:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
        return True
    return type(one) is type(other) and one == other


def test_whatever_a_source_yields_crosses_as_it_is_and_its_state_stays_from_poll_to_poll(asked, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    # One process for all of it, since each costs half a second.
    assert all(same(asked.poll("value", at), value) for at, value in enumerate(VALUES))
    items = list(asked.poll("values"))
    assert all(same(item, value) for item, value in zip(items, VALUES, strict=True))
    assert asked.poll("big", 5_000_000) == [{"text": "x" * 5_000_000}]
    (counted,) = asked.poll("polls")
    assert counted["polls"] == len(VALUES) + 3
    assert counted["pid"] != os.getpid()

    # An error comes with its cause and the user's line, without secrets; the process lives on.
    with pytest.raises(SourceError, match=r"^RuntimeError: at https://\*\*\*@host/ \(.*asked\.py:\d+\)$"):
        asked.poll("raise")
    with pytest.raises(SourceError, match="SystemExit: 3"):
        asked.poll("exit")
    with pytest.raises(SourceError, match="can't be handed to the daemon: TypeError: cannot pickle"):
        asked.poll("lock")

    # The next item is made when it is asked for, not before.
    progress = tmp_path / "progress"
    items = asked.poll("made", str(progress))
    assert not progress.exists()
    assert next(items) == [{"n": 0}]
    assert progress.read_text() == "0"
    # A generator that isn't read to its end is closed: when the daemon says so, or by the next poll.
    closed = tmp_path / "closed"
    items = asked.poll("closing", str(closed))
    next(items)
    items.close()
    assert closed.exists()
    closed.unlink()
    next(asked.poll("closing", str(closed)))
    assert not closed.exists()
    asked.poll("value", 0)
    assert closed.exists()

    # What it prints and logs is in the daemon's logs.
    caplog.clear()
    user = logging.getLogger("api2db.user.asked")
    user.addHandler(caplog.handler)
    asked.poll("say")
    user.removeHandler(caplog.handler)
    said = {(record.levelname, record.getMessage()) for record in caplog.records}
    assert {("INFO", "said it"), ("INFO", "told it"), ("WARNING", "logged it, token=https://***@h/")} <= said
    # One that prints without end costs the daemon a thousand lines.
    caplog.clear()
    asked.poll("flood", 100_000)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[:-1] == [f"line {n}" for n in range(1000)]
    assert lines[-1] == "it prints and logs too much, left out collector=asked lines=99000"
    (still,) = asked.poll("polls")
    assert still["pid"] == counted["pid"]


def test_one_that_dies_at_every_poll_is_started_ever_more_rarely_and_says_so(asked, tmp_path):
    now = [0.0]
    asked.source = Isolated(asked.collector, asked.processes, clock=lambda: now[0])
    started = []
    start = asked.processes.start
    asked.processes.start = lambda name: started.append(now[0]) or start(name)
    said = []
    for _ in range(40):
        with pytest.raises(SourceError, match=r"the next poll starts another$") as error:
            asked.poll("leave", str(tmp_path / "left"))
        said.append(str(error.value))
        now[0] += 0.1
    assert len(started) < 15
    assert "it died 3 times in a row, and is left alone for" in said[2]
    now[0] += 1000.0
    assert asked.poll("polls")[0]["polls"] == 1
    with pytest.raises(SourceError, match=r"^[^;]*; the next poll starts another$"):
        asked.poll("leave", str(tmp_path / "left"))


def test_a_process_that_ends_takes_what_it_started_with_it_and_another_goes_on(asked, tmp_path):
    (first,) = asked.poll("polls")
    files = len(os.listdir("/proc/self/fd"))
    left = tmp_path / "left"
    with pytest.raises(SourceError, match=r"^its process ended with status 7; the next poll starts another$"):
        asked.poll("leave", str(left))
    eventually(lambda: gone(int(left.read_text())))
    (second,) = asked.poll("polls")
    assert second["pid"] != first["pid"]
    assert second["polls"] == 1
    # One whose forked process still holds the pipe isn't waited for.
    with pytest.raises(SourceError, match="status 8"):
        asked.poll("fork")
    (second,) = asked.poll("polls")
    # One that died between polls is noticed before it is asked, and no poll fails.
    os.kill(second["pid"], 9)
    eventually(lambda: gone(second["pid"]))
    (third,) = asked.poll("polls")
    assert third["polls"] == 1
    assert len(os.listdir("/proc/self/fd")) == files  # those of the processes before are closed
    asked.processes.close(time.monotonic() + 5)
    assert gone(third["pid"])
    with pytest.raises(SourceError, match="stopping"):
        Isolated(asked.collector, asked.processes).poll(("polls", None), lambda: None)


def test_a_process_that_writes_into_our_pipe_is_ended_and_said_so(asked):
    with pytest.raises(SourceError, match="sent what can't be read"):
        asked.poll("junk")
    assert asked.poll("value", 0) is None


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_messages_are_whole_however_the_pipe_cuts_them(chunk):
    fd_in, fd_out = os.pipe()
    sent = [Value([{"n": n, "text": "x" * n}]) for n in range(200)]
    writer = Writer(fd_out)
    for message in sent:
        writer.send(message)
    os.close(fd_out)
    with open(fd_in, "rb") as pipe:
        data = pipe.read()
    incoming = Incoming()
    received = [message for at in range(0, len(data), chunk) for message in incoming.feed(data[at : at + chunk])]
    assert received == sent


def test_what_cannot_be_pickled_leaves_nothing_in_the_pipe():
    fd_in, fd_out = os.pipe()
    writer = Writer(fd_out)
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        writer.send(Value(lambda: None))
    os.close(fd_out)
    with open(fd_in, "rb") as pipe:
        assert pipe.read() == b""


def test_a_limit_of_memory_needs_a_process_of_its_own():
    with pytest.raises(ConfigError, match="give isolate=True too"):
        Collector("c", 1, lambda: None, None, None, memory="1 GiB")
    with pytest.raises(ConfigError, match="is not a size"):
        collector(every=1, isolate=True, memory="much", name="c")(lambda: None)
