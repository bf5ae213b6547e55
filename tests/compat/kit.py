"""A program of ``programs/`` in a folder of its own, run as it is and killed for real."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from tests.compat.feed import Feed
from tests.project_kit import TIMEOUT_S, Project, eventually

PROGRAMS = Path(__file__).parent / "programs"


class Program(Project):
    """``python main.py`` of a project that holds nothing but the program, AUTH/, and what it makes itself."""

    def __init__(self, folder: Path, name: str, feed: Feed, **auth: dict[str, Any]) -> None:
        self.folder = folder
        self.feed = feed
        self.env = {"API": feed.base}
        self._processes: list[subprocess.Popen[str]] = []
        if (PROGRAMS / name).is_dir():
            shutil.copytree(PROGRAMS / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROGRAMS / f"{name}.py", folder / "main.py")
        for file, content in auth.items():
            (folder / "AUTH").mkdir(exist_ok=True)
            (folder / "AUTH" / f"{file}.json").write_text(json.dumps(content))
            (folder / "AUTH" / f"{file}.json").chmod(0o600)

    def killed_at(self, *points: str, per_poll: int = 1) -> None:
        """Run it once for each point; it is killed the n-th time it gets there: ``sink.committed:2``."""
        for point in points:
            process = self.start(env={**self.env, "API2DB_FAILPOINT": point})
            assert process.wait(TIMEOUT_S) == -signal.SIGKILL, f"{point}: {self.console}"
            self.feed.killed(per_poll, self._accepted())

    def killed_after(self, *answers: int, per_poll: int = 1) -> None:
        """Run it once for each number; it is killed when it was given so many more answers in all."""
        for count in answers:
            before = len(self.feed.requests)
            process = self.start(env=self.env)
            eventually(lambda b=before, c=count: len(self.feed.requests) >= b + c or process.poll() is not None)  # noqa: B023
            assert process.poll() is None, self.console
            process.kill()
            assert process.wait(TIMEOUT_S) == -signal.SIGKILL
            self.feed.killed(per_poll, self._accepted())

    def _accepted(self) -> list[int]:
        """The rows in STORE's queue: from a shard's rename on none of them may be lost."""
        tables = [pq.read_table(path) for path in self.store.glob("queue/*/*/*.parquet")]
        return [key for table in tables if "id" in table.column_names for key in table["id"].to_pylist()]

    def run_to_the_end(self, answers: int = 3, *, stays: Sequence[str] = ()) -> None:
        """Once more, undisturbed: until all that was accepted is delivered; then stopped in order.

        stays  streams whose shards keep waiting
        """
        before = len(self.feed.requests)
        process = self.start(env=self.env)
        eventually(lambda: len(self.feed.requests) >= before + answers or process.poll() is not None, what="answers")
        assert process.poll() is None, self.console
        self.feed.end()
        eventually(lambda: not [path for path in self.waiting() if path.parent.name not in stays], what="delivery")
        assert self.stop(process) == 0, self.console

    def log(self, name: str) -> str:
        return (self.folder / "LOGS" / f"{name}.log").read_text()

    def parquet(self, folder: str) -> pd.DataFrame:
        """All rows of the parquet files in a folder, in order of the files' names."""
        paths = sorted((self.folder / folder).glob("*.parquet"), key=lambda path: int(path.stem))
        return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
