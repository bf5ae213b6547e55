"""A user's project in a temporary folder, run as the real process and killed for real."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow.dataset as ds

from tests import warm

REPOSITORY = Path(__file__).parents[1]
TIMEOUT_S = 60.0


def eventually(condition: Callable[[], Any], timeout_s: float = TIMEOUT_S, *, what: str = "") -> Any:
    """The first true value of ``condition``; fails the test if there is none within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what or condition}"
        pause.wait(0.02)


class Project:
    """A folder with main.py, api2db.toml and collectors; ``start`` runs it."""

    def __init__(self, folder: Path, *, toml: str = "", **collectors: str) -> None:
        self.folder = folder
        (folder / "collectors").mkdir(parents=True, exist_ok=True)
        (folder / "main.py").write_text("from api2db.cli.main import run\n\nraise SystemExit(run())\n")
        (folder / "api2db.toml").write_text("min_free_bytes = 0\n" + dedent(toml))
        for name, source in collectors.items():
            self.write(name, source)
        self._processes: list[subprocess.Popen[str]] = []

    @property
    def store(self) -> Path:
        return self.folder / "STORE"

    def write(self, name: str, source: str) -> None:
        (self.folder / "collectors" / f"{name}.py").write_text(dedent(source))

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """``python main.py``, its output kept in ``console.txt``."""
        with open(self.folder / "console.txt", "a") as console:
            process = warm.Popen(
                [sys.executable, "main.py", *arguments],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **(env or {})},
                stdout=console,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._processes.append(process)
        return process

    def ready(self, process: subprocess.Popen[str]) -> None:
        """Wait until the daemon says that it runs."""
        line = f"running as process {process.pid}"
        eventually(lambda: line in self.console or process.poll() is not None, what=line)
        assert process.poll() is None, self.console

    def stop(self, process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(TIMEOUT_S)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(TIMEOUT_S)

    def status(self) -> tuple[int, dict[str, Any]]:
        """Exit status and answer of ``python main.py --status --json``."""
        done = warm.run(
            [sys.executable, "main.py", "--status", "--json"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def asked(self, *arguments: str, env: Mapping[str, str]) -> dict[str, Any]:
        """The answer of ``api2db``, which has to find nothing wrong."""
        done = warm.run(
            [sys.executable, "-c", "from api2db.cli.main import main; main()", *arguments, "--json"],
            cwd=self.folder,
            env={**os.environ, **env, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @property
    def console(self) -> str:
        return (self.folder / "console.txt").read_text()

    def sqlite(self, query: str, file: str = "database.sqlite") -> list[tuple[Any, ...]]:
        """Rows from the embedded database; none while there is no such table."""
        path = self.store / file
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as db:
            try:
                return db.execute(query).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def files(self, collector: str, column: str) -> list[Any]:
        """One column of all parquet files ``Stream2Local`` has published."""
        paths = sorted((self.store / collector / "parquet").glob("*.parquet"))
        if not paths:
            return []
        table = ds.dataset([str(path) for path in paths]).to_table(columns=[column])
        return table.column(column).to_pylist()

    def waiting(self) -> list[Path]:
        """Shards that are not delivered yet."""
        roots = [self.store / "queue", self.store / "upload_failed"]
        found = [path for root in roots for path in root.glob("*/*/*") if path.is_file()]
        return [path for path in found if path.parent.name != "accepted"]

    def journal(self, query: str) -> list[tuple[Any, ...]]:
        return self.sqlite(query, "journal.sqlite")
