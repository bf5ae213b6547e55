"""Killed, or without a disk, at any of its changes a command leaves a project that works, and may be given again."""

from __future__ import annotations

import os
import sys

import pytest

from tests import warm
from tests.legacy.kit import PYTHONPATH
from tests.project_kit import TIMEOUT_S

# In a process of its own, without threads: it forks one for each change that the command makes to the folder.
WALK = """
import ast, itertools, os, shutil, signal, sys
from pathlib import Path

from api2db import failpoint
from api2db.legacy.folder import Folder

root, what, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
DO = {
    "make": lambda folder: folder.make(["rain"]),
    "add": lambda folder: folder.add("snow"),
    "remove": lambda folder: folder.remove("rain"),
    "clear": lambda folder: folder.clear(),
    "mlab": lambda folder: folder.make_lab(),
}
AFTER = {"make": ["rain"], "add": ["rain", "sun", "snow"], "remove": ["sun"], "mlab": ["rain", "sun"]}


class Killing(failpoint.DiskFault):
    def meet(self, path):
        try:
            super().meet(path)
        except OSError:
            if how == "full":
                raise
            os.kill(os.getpid(), signal.SIGKILL)


failpoint.DiskFault = Killing
for number in itertools.count(1):
    place = root / str(number)
    place.mkdir()
    folder = Folder(place)
    if what != "make":
        folder.make(["rain", "sun"])
    pid = os.fork()
    if pid == 0:
        failpoint.arm_disk(f"ENOSPC@{number}@{place}")
        try:
            DO[what](folder)
        except Exception:
            os._exit(3)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    ended = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    listed = place / "apis" / "__init__.py"
    if listed.exists():
        names = folder.names()
        assert ended or names in (["rain"], ["rain", "sun"], AFTER.get(what)), names
        compile(listed.read_text(), str(listed), "exec")
        if what != "clear":
            assert all((place / "apis" / f"{name}.py").exists() for name in names), names
    if how == "full" and not ended and what in ("make", "add", "mlab"):
        left = {str(path.relative_to(place)) for path in place.rglob("*")}
        assert not left or what != "make", left
        assert "laboratory" not in left, left
        assert "apis/snow.py" not in left or "snow" in folder.names(), left
    if not ended:
        again = not (place / "main.py").exists()
        if what == "remove":
            again = "rain" in folder.names()
        if what == "add":
            again = "snow" not in folder.names()
        if what == "clear":
            again = listed.exists()
        if what == "mlab":
            again = not (place / "laboratory" / "lab.py").exists()
        if again:
            DO[what](folder)
    if what == "clear":
        assert list(place.iterdir()) in ([], [place / "apis"]), list(place.iterdir())
    else:
        assert folder.names() == AFTER[what]
        assert all((place / "apis" / f"{name}.py").exists() for name in folder.names())
    shutil.rmtree(place)
    if ended:
        print(number)
        break
"""


@pytest.mark.parametrize(
    ("command", "how"),
    [(command, how) for how in ("killed", "full") for command in ("make", "add", "remove", "mlab")]
    + [("clear", "killed")],
)
def test_interrupted_anywhere_the_list_is_whole_and_the_command_can_be_given_again(tmp_path, command, how):
    done = warm.run(
        [sys.executable, "-c", WALK, str(tmp_path), command, how],
        env={**os.environ, **PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2
