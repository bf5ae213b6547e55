"""The peer as a process, and a sink into it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from api2db.secret import Secret
from api2db.sinks.omnisci import Login, OmnisciSink
from tests.project_kit import REPOSITORY, eventually

USER, PASSWORD, DATABASE, READER = "admin", "HyperInteractive", "heavyai", "reader"


class Peer:
    """``tests/omnisci/peer.py``; once started it keeps its port."""

    def __init__(self, folder: Path, protocol: str = "binary") -> None:
        self.folder = folder
        self.protocol = protocol
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Does nothing while it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        (self.folder / "port").unlink(missing_ok=True)
        command = [sys.executable, "-W", "ignore", "-m", "tests.omnisci.peer", str(self.folder), self.protocol]
        with (self.folder / "errors.txt").open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, str(self.port)],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stderr=errors,
            )
        eventually(lambda: (self.folder / "port").exists() or self._died(), what="the peer")
        assert not self._died(), (self.folder / "errors.txt").read_text()
        self.port = int((self.folder / "port").read_text())

    def _died(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def died(self) -> None:
        """Wait until a fault has killed it."""
        assert self._process is not None
        assert self._process.wait(30) == -signal.SIGKILL

    def fault(self, word: str) -> None:
        (self.folder / "fault").write_text(word)

    def clear(self) -> None:
        """An empty database, and no fault left."""
        self.start()
        for word in ("fault", "go"):
            (self.folder / word).unlink(missing_ok=True)
        with closing(sqlite3.connect(self.folder / "data.sqlite", timeout=30, isolation_level=None)) as db:
            for (table,) in db.execute("SELECT DISTINCT t FROM _columns").fetchall():
                db.execute(f"DROP TABLE {table}")
            db.execute("DELETE FROM _columns")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "data.sqlite", timeout=30)) as db:
            return db.execute(sql).fetchall()

    def query_and_commit(self, sql: str, values: tuple[Any, ...] = ()) -> None:
        with closing(sqlite3.connect(self.folder / "data.sqlite", timeout=30, isolation_level=None)) as db:
            db.execute(sql, values)

    def has(self, table: str) -> bool:
        return bool(self.query(f"SELECT 1 FROM _columns WHERE t = '{table}'"))

    def types(self, table: str) -> dict[str, str]:
        return dict(self.query(f"SELECT c, type FROM _columns WHERE t = '{table}' ORDER BY rowid"))

    def login(self, **changes: Any) -> Login:
        given = {
            "host": "127.0.0.1", "database": DATABASE, "username": USER, "password": Secret(PASSWORD),
            "protocol": self.protocol, "port": self.port,
        }  # fmt: skip
        return Login(**{**given, **changes})

    def sink(self, table: str = "rain_stream", **changes: Any) -> OmnisciSink:
        return OmnisciSink(stream="rain/omnisci", login=self.login(**changes), table=table)
