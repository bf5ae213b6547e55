"""STORE, or a database in a file, that really can't be written for a while: said, nothing lost, gone on with."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http_api import HttpApi
from tests.log_kit import Bench
from tests.project_kit import Project, eventually

NUMBERS = """
    import os
    import requests
    from api2db import Cursor, collector

    @collector(every=0.05, to=[{to}])
    def numbers(since=Cursor("id", start=0)):
        response = requests.get(os.environ["URL"], params={{"since": since, "page": 1, "size": 50}}, timeout=10)
        response.raise_for_status()
        yield response.json()
"""


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing below the folder can be changed: root mounts it over itself, others change modes."""
    if os.geteuid() == 0:
        # Not a remount, which files that the daemon has open to write would forbid.
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    try:
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


def test_a_store_that_only_reads_for_a_while_loses_nothing_and_goes_on_by_itself(tmp_path: Path) -> None:
    project = Project(tmp_path, numbers=NUMBERS.format(to='"database", "files"'))
    counts = "SELECT count(*), count(DISTINCT id) FROM numbers"
    try:
        with HttpApi([{"id": n} for n in range(1, 101)], since_field="id") as api:
            process = project.start(env={"URL": api.url})
            eventually(lambda: project.sqlite(counts) == [(100, 100)])
            eventually(lambda: len(project.files("numbers", "id")) == 100 and not project.waiting())
            with read_only(project.store):
                api.add(*({"id": n} for n in range(101, 201)))
                eventually(lambda: "STORE can't be written: " in project.console)
                refused = project.start(env={"URL": api.url})
                assert refused.wait(60) != 0
            eventually(lambda: project.sqlite(counts) == [(200, 200)])
            eventually(lambda: sorted(project.files("numbers", "id")) == list(range(1, 201)))
            assert project.stop(process) == 0
        assert "Traceback" not in project.console
        assert project.console.count("stream stopped") == 0
    finally:
        project.close()


def test_a_daemon_is_not_started_on_a_store_that_only_reads_and_says_so(tmp_path: Path) -> None:
    project = Project(tmp_path, numbers=NUMBERS.format(to='"files"'))
    try:
        project.store.mkdir()
        with read_only(project.store):
            process = project.start(env={"URL": "http://127.0.0.1:9"})
            assert process.wait(60) != 0
        assert str(project.store) in project.console
        assert "Read-only file system" in project.console or "Permission denied" in project.console
        assert "Traceback" not in project.console
    finally:
        project.close()


def test_a_database_file_that_only_reads_for_a_while_holds_up_its_stream_alone_and_gets_every_row(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    project = Bench(
        tmp_path,
        toml=f'[places.warehouse]\ndialect = "sqlite"\ndb_name = "{folder}/numbers.sqlite"\n',
        numbers=NUMBERS.format(to='"warehouse", "database"'),
    )
    counts = "SELECT count(*), count(DISTINCT id) FROM numbers"
    warehouse = "../data/numbers.sqlite"
    try:
        with HttpApi([{"id": n} for n in range(1, 101)], since_field="id") as api:
            process = project.start(env={"URL": api.url})
            eventually(lambda: project.sqlite(counts, warehouse) == [(100, 100)])
            eventually(lambda: not project.waiting())
            project.stop(process)
            with read_only(folder):
                api.add(*({"id": n} for n in range(101, 201)))
                process = project.start(env={"URL": api.url})
                eventually(lambda: project.sqlite(counts) == [(200, 200)])
                eventually(lambda: "can be written" in project.console or "writable" in project.console)
            project.command("shards", "retry", "numbers")
            eventually(lambda: project.sqlite(counts, warehouse) == [(200, 200)])
            assert project.stop(process) == 0
        assert "Traceback" not in project.console
    finally:
        project.close()
