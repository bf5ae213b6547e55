"""deploy/api2db.service: systemd itself finds nothing wrong with it, and little that could be closed further."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api2db.cli import main as cli
from api2db.durations import seconds
from api2db.settings import KEYS
from tests.project_kit import REPOSITORY

UNIT = REPOSITORY / "deploy" / "api2db.service"
# Tenths, as systemd-analyze takes it: 1.5. It is 1.1 with systemd 252 and 257; what is left is network and sockets.
MOST_EXPOSURE = 15


def service() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser["Service"]


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze; on Debian: apt-get install systemd")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    if "Unknown command" in done.stderr or "unrecognized option" in done.stderr:
        pytest.skip(f"this systemd-analyze is too old: {done.stderr.strip()}")
    return done


def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The one line that depends on what is installed: it must name a program that is there.
    unit.write_text(UNIT.read_text().replace("/opt/api2db/bin/python", sys.executable))
    done = analyze("verify", "--recursive-errors=yes", "--man=no", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_find_a_mistake_in_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/opt/api2db/bin/python", sys.executable)
    unit.write_text(text.replace("WatchdogSec=", "WatchdogSecs="))
    assert "WatchdogSecs" in analyze("verify", "--recursive-errors=yes", "--man=no", unit).stderr


def test_the_service_is_exposed_to_little(tmp_path: Path) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", "--no-pager", UNIT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_systemd_waits_longer_than_the_daemon_needs_to_stop() -> None:
    assert seconds(service()["TimeoutStopSec"]) > float(str(KEYS["stop_timeout_s"].default))


def test_what_a_restart_can_not_mend_is_not_restarted() -> None:
    assert service()["Restart"] == "on-failure"
    assert service()["RestartPreventExitStatus"] == str(cli.CANNOT_START)


def test_the_paths_of_the_unit_are_those_of_the_page() -> None:
    page = (REPOSITORY / "docs" / "deploy.md").read_text()
    python, main = service()["ExecStart"].split()
    assert python == "/opt/api2db/bin/python"
    assert main == f"{service()['WorkingDirectory']}/main.py"
    for path in (python.removesuffix("/bin/python"), service()["WorkingDirectory"], UNIT.name):
        assert path in page
    for key, root in (("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log"), ("CacheDirectory", "/var/cache")):
        assert re.search(rf"ln -s {root}/{service()[key]} \w+", page)
