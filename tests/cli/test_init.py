"""``api2db init``: a project of one's own that runs as it is, and nothing overwritten."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from api2db._version import __version__
from api2db.cli.init import create_project, requirement
from api2db.errors import ConfigError
from api2db.settings import load

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "mine"
    create_project(folder)
    return folder


def test_a_project_has_the_top_level_of_the_repository(project: Path) -> None:
    names = {path.name for path in project.iterdir()}
    assert names == {
        ".gitignore",
        "AUTH",
        "README.md",
        "STORE",
        "api2db.toml",
        "collectors",
        "main.py",
        "requirements.txt",
        "run.sh",
    }
    for name in ("AUTH", "STORE", "api2db.toml", "collectors", "main.py"):
        assert (REPOSITORY / name).exists()


def test_it_returns_every_file_it_made(tmp_path: Path) -> None:
    made = create_project(tmp_path)
    assert made == sorted(path for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "name",
    [
        "main.py",
        "collectors/earthquakes.py",
        *(f"AUTH/{path.name}" for path in (REPOSITORY / "AUTH").glob("*_template*")),
    ],
)
def test_the_example_is_the_one_the_repository_runs(project: Path, name: str) -> None:
    assert (project / name).read_text() == (REPOSITORY / name).read_text()


def test_its_settings_are_valid_and_start_the_demo(project: Path) -> None:
    assert load(project, environ={}).demo


def test_the_settings_it_shows_as_comments_are_the_defaults(project: Path, tmp_path: Path) -> None:
    lines = (project / "api2db.toml").read_text().partition("\n# [")[0].splitlines()  # tables are examples
    shown = "\n".join(line.removeprefix("# ") for line in lines if " = " in line and line.startswith("# "))
    table = tomllib.loads(shown)
    plain = load(tmp_path, environ={})
    (tmp_path / "api2db.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items()))
    assert len(table) >= 4
    assert load(tmp_path, environ={}) == plain


def test_credentials_are_private_from_the_start(project: Path) -> None:
    assert (project / "AUTH").stat().st_mode & 0o077 == 0
    for template in (project / "AUTH").iterdir():
        assert template.stat().st_mode & 0o077 == 0
        assert not any(json.loads(template.read_text()).get(key) for key in ("password", "private_key"))


def test_it_can_be_started_without_make(project: Path) -> None:
    assert (project / "run.sh").stat().st_mode & 0o111
    subprocess.run(["sh", "-n", project / "run.sh"], check=True)
    requirement = (project / "requirements.txt").read_text().splitlines()[-1]
    assert requirement == f"--editable {REPOSITORY}"


@pytest.mark.parametrize(
    ("direct_url", "line"),
    [
        (None, f"api2db-daemon=={__version__}"),
        ('{"url": "file:///x/api2db.whl", "archive_info": {}}', "api2db-daemon @ file:///x/api2db.whl"),
        (
            '{"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "12ab"}}',
            "api2db-daemon @ git+https://example.org/a.git@12ab",
        ),
    ],
)
def test_it_installs_the_api2db_that_made_it(direct_url: str | None, line: str) -> None:
    assert requirement(direct_url) == line


@pytest.mark.parametrize("there", ["file.txt", "folder/"])
def test_a_folder_that_is_not_empty_is_refused_and_left_as_it_was(tmp_path: Path, there: str) -> None:
    if there.endswith("/"):
        (tmp_path / there).mkdir()
    else:
        (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        create_project(tmp_path)
    assert len(list(tmp_path.rglob("*"))) == 1


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="not an empty folder"):
        create_project(tmp_path / "mine")
    with pytest.raises(ConfigError, match="can't be made"):
        create_project(tmp_path / "mine" / "deeper")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_what_the_daemon_keeps_and_real_credentials_stay_out_of_version_control(tmp_path: Path) -> None:
    create_project(tmp_path)
    for name in ("STORE/database.sqlite", "LOGS/x.log", "AUTH/warehouse.json", ".venv/made"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "AUTH/sql_auth_template.json" in listed
    assert "collectors/earthquakes.py" in listed
    assert not {"STORE/database.sqlite", "LOGS/x.log", "AUTH/warehouse.json", ".venv/made"} & set(listed)
