"""A process started warm is as one that was started anew: what else is tested with it may rely on that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.project_kit import TIMEOUT_S, eventually

WAYS = pytest.mark.parametrize("start", [warm.Popen, subprocess.Popen], ids=["warm", "anew"])
# What a program can see of how it was started.
SEES = """
import json, os, signal, sys, threading, warnings
main = sys.modules["__main__"]
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "env": dict(os.environ),
    "name": __name__, "file": globals().get("__file__"), "main": main.__dict__ is globals(),
    "signals": {int(n): str(signal.getsignal(n)).split(" at ")[0] for n in signal.valid_signals()},
    "mask": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "files": sorted(n for n in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{n}")),
    "threads": len(os.listdir("/proc/self/task")),
    "group": os.getpgrp(), "session": os.getsid(0),
    "streams": [(s.encoding, s.errors, s.line_buffering, s.write_through) for s in (sys.stdout, sys.stderr)],
    "warned": sys.warnoptions,
    "filters": list(dict.fromkeys(
        (action, category.__name__) for action, text, category, module, _ in warnings.filters
        if text is None and category.__module__ == "builtins" and module in (None, "__main__"))),
    "collectors": [n for n in sys.modules if n.startswith("collectors")],
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SEES)
    (tmp_path / "module.py").write_text(SEES)
    return tmp_path


@pytest.mark.parametrize("words", [["script.py"], ["-c", SEES], ["-m", "module"], ["-W", "error", "script.py"]])
def test_a_program_sees_what_it_would_had_it_been_started_anew(folder: Path, words: list[str]) -> None:
    seen = []
    for run in (warm.run, subprocess.run):
        done = run(
            [sys.executable, *words, "a", "ä b"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{warm.REPOSITORY}:{folder}/lib", "PYTHONUNBUFFERED": "1", "A": "ä"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        seen.append(json.loads(done.stdout))
    assert {name: value for name, value in seen[0].items() if value != seen[1][name]} == {}
    assert seen[0].keys() == seen[1].keys()


@WAYS
@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("print('x')", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("1 / 0", 1, 'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\n'),
        ("import os; os._exit(4)", 4, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("raise KeyboardInterrupt", -signal.SIGINT, "Traceback"),
        ("import atexit, sys; atexit.register(lambda: sys.stderr.write(__name__))", 0, "__main__"),
        ("import threading as t; t.Timer(0.1, lambda: print(__name__, file=__import__('sys').stderr)).start()", 0,
         "__main__\n"),
    ],
)  # fmt: skip
def test_it_ends_as_it_would(start: Any, code: str, status: int, says: str) -> None:
    process = start([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, process.poll(), process.wait()) == (status,) * 3
    assert err.startswith(says) if says else err == ""


@WAYS
def test_what_runs_is_killed_stopped_and_waited_for(start: Any) -> None:
    process = start([sys.executable, "-c", "print('up', flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"up\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        state = Path(f"/proc/{process.pid}/stat")
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", what="it stands still")
        process.send_signal(signal.SIGCONT)
        process.kill()
        eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", what="its pid is kept until we know")
        assert process.wait(TIMEOUT_S) == -signal.SIGKILL
    eventually(lambda: not state.exists(), what="nothing left of it")
    process.kill()


def test_two_at_once_have_what_is_theirs(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['WHO'], sys.stdin.read()); print('err', file=sys.stderr)"
    one, two = processes = [
        warm.Popen(
            [sys.executable, "-c", code],
            env={"WHO": who},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for who in ("one", "two")
    ]
    assert (os.getsid(one.pid), os.getsid(two.pid)) == (one.pid, two.pid)
    said = [process.communicate(f"to {number}")[0] for number, process in enumerate(processes)]
    assert [sorted(each.splitlines()) for each in said] == [["err", "one to 0"], ["err", "two to 1"]]


@pytest.mark.skipif(sys.platform != "linux" or bool(os.environ.get("API2DB_TEST_COLD")), reason="nothing is forked")
def test_all_others_are_children_of_one_process_and_leave_nothing_open_there_nor_here() -> None:
    parent = int(warm.run([sys.executable, "-c", "import os; print(os.getppid())"], capture_output=True).stdout)
    assert parent != os.getpid()

    def files() -> list[int]:
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in (parent, os.getpid())]

    # What earlier tests left may go away meanwhile.
    before = files()
    for status in range(5):
        started = warm.Popen(
            [sys.executable, "-c", f"import os; os._exit({status} + (os.getppid() != {parent}) * 100)"]
        )
        assert started.wait(TIMEOUT_S) == status
    eventually(lambda: all(now <= then for now, then in zip(files(), before, strict=True)), what="all closed again")


def test_an_armed_point_is_where_it_dies() -> None:
    code = "from api2db.failpoint import reach; reach('spool.acked'); print(1, flush=True); reach('spool.acked')"
    env = {**os.environ, "PYTHONPATH": str(warm.REPOSITORY), "API2DB_FAILPOINT": "spool.acked:2"}
    done = warm.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n")
    env["API2DB_FAILPOINT"] = ""
    assert warm.run([sys.executable, "-c", code], env=env, capture_output=True).returncode == 0


def test_one_that_is_too_slow_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run([sys.executable, "-c", "while True: pass"], timeout=0.05)
    with pytest.raises(subprocess.CalledProcessError):
        warm.run([sys.executable, "-c", "raise SystemExit(1)"], check=True)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ([sys.executable, "-S", "-c", ""], {}),
        ([sys.executable, "-W", "error::UserWarning", "-c", ""], {}),
        ([sys.executable, "-c", ""], {"env": {"LD_PRELOAD": ""} | {"PYTHONHASHSEED": "7"}}),
        (["true"], {}),
        ([sys.executable, "-c", ""], {"umask": 0o22}),
    ],
)
def test_what_takes_a_start_has_one(command: list[str], options: dict[str, Any]) -> None:
    process = warm.Popen(command, **options)
    assert process.wait(TIMEOUT_S) == 0
    assert type(process) is subprocess.Popen


@pytest.mark.parametrize(("variable", "value"), [("API2DB_TEST_COLD", "1"), ("PYTEST_VERSION", "")])
def test_all_are_started_anew_where_that_is_asked_for_and_outside_pytest(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    process = warm.Popen([sys.executable, "-c", ""])
    assert process.wait(TIMEOUT_S) == 0
    assert type(process) is subprocess.Popen
