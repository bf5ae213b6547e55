"""The real daemon in a temporary project, watched from outside."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.project_kit import Project

_MEASURED_MAIN = "from bench.launch import run\n\nraise SystemExit(run())\n"


@contextmanager
def project(under: Path, *, toml: str = "", measured: bool = False, **collectors: str) -> Iterator[Project]:
    """A new project below a folder; ``measured`` makes its main.py ``bench.launch``'s. With the block it is gone."""
    with tempfile.TemporaryDirectory(dir=under) as folder:
        made = Project(Path(folder), toml=toml, **collectors)
        if measured:
            (made.folder / "main.py").write_text(_MEASURED_MAIN)
        try:
            yield made
        finally:
            made.close()


def until(
    condition: Callable[[], bool], made: Project, process: subprocess.Popen[str], timeout_s: float = 900.0
) -> None:
    """Wait for what a daemon shall do."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the daemon doesn't get there:\n{made.console}")
        time.sleep(0.1)
