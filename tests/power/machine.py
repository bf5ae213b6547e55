"""A file system whose power can be cut, for programs run by a test."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from ctypes.util import find_library
from pathlib import Path

from tests.power.disk import Cut
from tests.project_kit import REPOSITORY, TIMEOUT_S, eventually


def why_not() -> str | None:
    """Why file systems of our own can't be mounted here; None if they can."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse may be opened by root alone"
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy isn't installed"
    if find_library("fuse3") is None or shutil.which("fusermount3") is None:
        return "libfuse 3 isn't installed: apt-get install fuse3"
    return None


class Machine:
    """``mount`` is a folder on a disk that keeps only what was flushed. One process serves it until ``close``.

    seed  decides what each cut takes
    """

    def __init__(self, mount: Path, seed: int) -> None:
        mount.mkdir(parents=True, exist_ok=True)
        self.mount = mount
        self.cuts: list[Cut] = []
        self._ready = threading.Semaphore(0)
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.power.filesystem", str(mount), str(seed)],
            cwd=REPOSITORY,
            env={**os.environ, "FUSE_LIBRARY_NAME": "fuse3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait()

    def cut_at(self, flush: int) -> None:
        """The power goes at the n-th flush from now; whoever asks for it dies by SIGKILL."""
        os.setxattr(self.mount, "user.cut", str(flush).encode())

    def forget(self, paths: str) -> None:
        """From now on flushes of paths that match do nothing, as if the program had left them out; "" ends that."""
        os.setxattr(self.mount, "user.forgets", paths.encode())

    def cut(self) -> Cut:
        """The power goes, unless it has gone already, and comes back. Programs with files there must be dead."""
        self._unmount()
        self._wait()
        return self.cuts[-1]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.poll() is None:
            self._unmount()
        self._process.wait(TIMEOUT_S)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _unmount(self) -> None:
        # What the dead had open is closed a moment after they are dead.
        eventually(
            lambda: subprocess.run(["fusermount3", "-u", str(self.mount)], capture_output=True).returncode == 0,
            what=f"nothing open on {self.mount}",
        )

    def _wait(self) -> None:
        assert self._ready.acquire(timeout=TIMEOUT_S), "the file system isn't mounted in time"
        assert not self._ended, f"the file system ended with status {self._process.wait()}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, cut = line.partition(" ")
            if word == "ready":
                if (found := json.loads(cut)) is not None:
                    self.cuts.append(Cut(**found))
                self._ready.release()
        self._ended = True
        self._ready.release()
