"""deploy/Dockerfile and deploy/compose.yaml: read by the tools that people run on them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api2db.settings import KEYS
from tests.project_kit import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A program that comes with the package's test extra; on platforms it isn't made for the test is skipped."""
    found = shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} for this platform")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as Compose reads it, variables filled in and short forms spelled out."""
    done = run("docker-compose", "--file", DEPLOY / "compose.yaml", "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    services: dict[str, Any] = json.loads(done.stdout)
    return services


def instructions(name: str) -> list[str]:
    """The arguments of each such instruction of the last stage."""
    stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", stage, re.MULTILINE)


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    done = run("hadolint", "--no-color", DOCKERFILE)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_container_runs_as_a_user_and_hears_sigterm() -> None:
    (user,) = instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    (entry,) = instructions("ENTRYPOINT")
    assert json.loads(entry) == ["tini", "--", "python", "main.py"]  # no shell in between keeps a signal


def test_only_what_the_image_needs_reaches_the_builder() -> None:
    ignored, *lines = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert ignored == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = set(re.findall(r"[\w.]+", " ".join(re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE.read_text(), re.M))))
    assert copied == sent
    assert all((REPOSITORY / path).exists() for path in sent)


def test_compose_starts_the_daemon_once_its_database_answers(compose: dict[str, Any]) -> None:
    daemon, postgres = compose["services"]["api2db"], compose["services"]["postgres"]
    assert daemon["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert postgres["healthcheck"]["test"][1] == "pg_isready"
    assert Path(daemon["build"]["context"]) == REPOSITORY
    assert (REPOSITORY / daemon["build"]["dockerfile"]).samefile(DOCKERFILE)


def test_compose_keeps_what_the_image_writes_and_nothing_else_is_writable(compose: dict[str, Any]) -> None:
    daemon = compose["services"]["api2db"]
    assert daemon["read_only"] is True
    assert daemon["tmpfs"] == ["/tmp"]
    (volumes,) = instructions("VOLUME")
    named = {v["target"]: v["source"] for v in daemon["volumes"] if v["type"] == "volume"}
    assert sorted(named) == sorted(json.loads(volumes))
    assert set(named.values()) < set(compose["volumes"])
    assert all(v["read_only"] for v in daemon["volumes"] if v["type"] == "bind")
    assert all(Path(v["source"]).exists() for v in daemon["volumes"] if v["type"] == "bind")


def test_compose_waits_longer_than_the_daemon_needs_to_stop(compose: dict[str, Any]) -> None:
    grace_s = int(compose["services"]["api2db"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > float(str(KEYS["stop_timeout_s"].default))


def test_no_password_stands_in_compose(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        words = [name for name in service.get("environment", {}) if "PASSWORD" in name and not name.endswith("_FILE")]
        assert not words
    assert {secret["source"] for secret in compose["services"]["api2db"]["secrets"]} == {"warehouse"}
