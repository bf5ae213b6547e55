"""A service manager hears the truth: ready when ready, alive while the main loop turns, stopping when it stops."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from api2db.runtime.notify import ServiceManager
from tests.project_kit import TIMEOUT_S, Project, eventually

COUNTER = """
    import signal, threading
    from api2db import collector

    def hang(*_):
        while True:
            threading.Event().wait()

    signal.signal(signal.SIGUSR1, hang)  # a handler runs in the main thread, and this one never lets it go

    @collector(every=0.1, to=["files"])
    def counter():
        pause = threading.Event()
        for number in range(100_000):
            yield [{"n": number}]
            pause.wait(0.02)
"""
EACH_TENTH = """
    from api2db import collector

    @collector(every=0.1, to=["files"])
    def counter():
        return [{"n": 1}]
"""
ONCE = """
    from api2db import collector

    @collector(every=1000, to=["nowhere"])
    def once():
        return [{"n": 1}]
"""
UNREACHABLE = '[places.nowhere]\nurl = "postgresql+psycopg://u:p@127.0.0.1:1/db"\n'
HALF_A_SECOND = {"WATCHDOG_USEC": "500000"}


class Manager:
    """The other end: what systemd would read."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.environ = {"NOTIFY_SOCKET": "@" + address[1:] if address[0] == "\0" else address}

    def next(self, timeout_s: float = TIMEOUT_S) -> str:
        self.socket.settimeout(timeout_s)
        return self.socket.recv(4096).decode()

    def wait_for(self, line: str) -> list[str]:
        """What came before ``line``."""
        before: list[str] = []
        while (heard := self.next()) != line:
            before.append(heard)
        return before

    def drain(self) -> None:
        self.socket.setblocking(False)
        try:
            while self.socket.recv(4096):
                pass
        except BlockingIOError:
            pass


@pytest.fixture
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    in_file = getattr(request, "param", "") == "a file"
    path = str(tmp_path / "notify") if in_file else f"\0api2db-test-{os.getpid()}"
    manager = Manager(path)
    yield manager
    manager.socket.close()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path, counter=COUNTER)
    yield project
    project.close()


@pytest.mark.parametrize("manager", ["a file", "abstract"], indirect=True)
def test_the_manager_hears_ready_then_beats_then_stopping(project: Project, manager: Manager) -> None:
    process = project.start(env=manager.environ | HALF_A_SECOND)
    before = manager.wait_for("READY=1")
    assert before == ["STATUS=starting: looking through STORE for what was under way"]
    for _ in range(4):
        manager.wait_for("WATCHDOG=1")
    process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert manager.next().startswith("STATUS=stopping")
    assert process.wait(TIMEOUT_S) == 0
    with pytest.raises(TimeoutError):
        manager.next(0.01)


def test_the_status_says_what_runs_and_what_waits(project: Project, manager: Manager) -> None:
    process = project.start(env=manager.environ)
    manager.wait_for("READY=1")
    heard = manager.next()
    assert heard.startswith("STATUS=1 collectors and 1 streams run; ")
    assert heard.endswith(" shards wait")
    assert project.stop(process) == 0


def test_without_an_interval_there_are_no_beats(project: Project, manager: Manager) -> None:
    process = project.start(env=manager.environ)
    manager.wait_for("READY=1")
    eventually(lambda: len(project.files("counter", "n")) > 20)
    assert project.stop(process) == 0
    assert "WATCHDOG=1" not in manager.wait_for("STOPPING=1")


def test_ready_means_that_what_a_kill_left_half_done_is_repeated(tmp_path: Path, manager: Manager) -> None:
    project = Project(tmp_path, toml=UNREACHABLE, once=ONCE)
    killed = project.start(env={"API2DB_FAILPOINT": "spool.renamed"})
    assert killed.wait(TIMEOUT_S) == -signal.SIGKILL
    (shard,) = (project.store / "queue" / "once" / "accepted").glob("*.parquet")
    stream = project.store / "queue" / "once" / "sql.postgresql"
    assert not (stream / shard.name).exists()
    process = project.start(env=manager.environ)
    try:
        manager.wait_for("READY=1")
        waiting = [path.name for path in project.waiting() if path.parent.name == stream.name]
        assert shard.name in waiting
        assert project.journal("SELECT count(*) FROM batches") != [(0,)]
        assert project.stop(process) == 0
    finally:
        project.close()


def test_a_daemon_that_can_not_start_is_never_ready(project: Project, manager: Manager) -> None:
    first = project.start()
    project.ready(first)
    second = project.start(env=manager.environ)
    assert second.wait(TIMEOUT_S) == 2
    with pytest.raises(TimeoutError):
        manager.next(0.01)
    assert project.stop(first) == 0


def test_beats_end_when_the_main_loop_hangs_though_all_else_goes_on(project: Project, manager: Manager) -> None:
    process = project.start(env=manager.environ | HALF_A_SECOND)
    manager.wait_for("READY=1")
    eventually(lambda: project.files("counter", "n"))
    manager.wait_for("WATCHDOG=1")
    process.send_signal(signal.SIGUSR1)
    # The beat under way, if any, comes before the signal's handler; the collector's own thread yields on.
    seen = len(project.files("counter", "n"))
    eventually(lambda: len(project.files("counter", "n")) > seen + 20)
    manager.drain()
    seen = len(project.files("counter", "n"))
    eventually(lambda: len(project.files("counter", "n")) > seen + 40)
    with pytest.raises(TimeoutError):
        manager.next(0.8)  # of three beats
    assert process.poll() is None


@pytest.mark.parametrize("name", ["/nonexistent/notify", "not a socket", "vsock:2:1234", "/" + "x" * 200, "@"])
def test_a_manager_that_can_not_be_told_stops_nothing(project: Project, name: str) -> None:
    process = project.start(env={"NOTIFY_SOCKET": name} | HALF_A_SECOND)
    eventually(lambda: len(project.files("counter", "n")) > 3)
    assert project.stop(process) == 0
    assert "Traceback" not in project.console
    assert project.console.count("NOTIFY_SOCKET") == (1 if name.startswith(("/", "@")) else 0)


def test_a_manager_that_does_not_read_stops_nothing(project: Project, manager: Manager) -> None:
    project.write("counter", EACH_TENTH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                sender.sendto(b"X=1", manager.socket.getsockname())
    process = project.start(env=manager.environ)
    eventually(lambda: len(project.files("counter", "n")) > 3)
    assert project.stop(process) == 0


def test_beats_meant_for_another_process_are_not_sent(manager: Manager) -> None:
    mine = ServiceManager(manager.environ | HALF_A_SECOND | {"WATCHDOG_PID": str(os.getpid())})
    others = ServiceManager(manager.environ | HALF_A_SECOND | {"WATCHDOG_PID": "1"})
    others.beat()
    assert others.idle_s() is None
    mine.beat()
    assert manager.next() == "WATCHDOG=1"
    with pytest.raises(TimeoutError):
        manager.next(0.01)


@pytest.mark.parametrize("interval", ["", "0", "soon", "-1"])
def test_an_interval_that_is_none_asks_for_no_beats(manager: Manager, interval: str) -> None:
    assert ServiceManager(manager.environ | {"WATCHDOG_USEC": interval}).idle_s() is None


def test_the_main_loop_waits_no_longer_than_until_the_next_beat(manager: Manager) -> None:
    told = ServiceManager(manager.environ | {"WATCHDOG_USEC": "60000000"})
    assert told.idle_s() == 0
    told.beat()
    told.beat()
    assert manager.next() == "WATCHDOG=1"
    idle_s = told.idle_s()
    assert idle_s is not None
    assert 0 < idle_s <= 30
    with pytest.raises(TimeoutError):
        manager.next(0.01)
