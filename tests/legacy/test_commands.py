"""pmake, cadd, crem, clist, pclear, mlab, rlab, clab: what they make, and that they take nothing away unasked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from click import Command
from click.testing import CliRunner

from api2db.errors import ConfigError
from api2db.form.lab import CACHE_FILE
from api2db.layout import Layout, StoreLock
from api2db.legacy.commands import clab, clist, crem, pclear
from api2db.legacy.folder import Folder
from api2db.legacy.lab import run_lab
from tests.compat.kit import PROGRAMS
from tests.legacy.kit import PYTHONPATH, SCRIPTS, files, run
from tests.project_kit import TIMEOUT_S

LAB = """
from helpers import answers
from api2db.ingest import *

CACHE = True

def import_target():
    return answers()

def pre_process():
    return [ListExtract(lambda x: x["data"])]

def data_features():
    return [Feature("id", lambda x: x["id"], int), Feature("name", lambda x: x["name"], str)]

def post_process():
    return [DropNa(["name"])]
"""
HELPERS = """
from pathlib import Path

def answers():
    with Path("calls.txt").open("a") as file:
        file.write("called\\n")
    return [{"data": [{"id": "1", "name": "a"}, {"id": "2", "name": None}]}]
"""


@pytest.fixture
def typed(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Command, list[str], str], int]:
    """The exit status of a command in the project, with what was typed."""
    monkeypatch.chdir(project)
    return lambda command, arguments, text: CliRunner().invoke(command, arguments, input=text).exit_code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    Folder(tmp_path).make(["rain", "sun"])
    return tmp_path


def test_every_documented_command_is_installed():
    assert {"pmake", "cadd", "crem", "clist", "pclear", "mlab", "rlab", "clab"} <= SCRIPTS.keys()


def test_pmake_makes_exactly_the_documented_files(tmp_path):
    done = run(tmp_path, "pmake", "rain", "sun")
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path).keys() == {
        "apis/__init__.py", "apis/rain.py", "apis/sun.py", "helpers.py", "main.py", "CACHE/", "STORE/", "LOGS/",
        "AUTH/sql_auth_template.json", "AUTH/omnisci_auth_template.json", "AUTH/bigquery_auth_template.json",
    }  # fmt: skip
    listing = (tmp_path / "apis" / "__init__.py").read_text()
    assert "from .rain import rain_info\nfrom .sun import sun_info\n\napis = [rain_info, sun_info]\n" in listing
    assert {"username", "password", "host"} <= json.loads(
        (tmp_path / "AUTH" / "omnisci_auth_template.json").read_text()
    ).keys()
    for path in [tmp_path / "AUTH", *(tmp_path / "AUTH").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0


def test_pmake_overwrites_nothing_and_says_what_is_in_the_way(tmp_path):
    (tmp_path / "helpers.py").write_text("mine = 1\n")
    (tmp_path / "README").write_text("mine too")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=r"nothing is overwritten, and in .* there is: helpers\.py"):
        Folder(tmp_path).make(["rain"])
    assert files(tmp_path) == before


def test_pmake_refuses_a_folder_that_has_a_project(project):
    before = files(project)
    done = run(project, "pmake", "rain", "sun")
    assert done.returncode == 1
    assert "a collector is added with: cadd NAME" in done.stderr
    assert files(project) == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a b", 'try "a_b"'),
        ("../x", 'try "x"'),
        ("my-api", 'try "my_api"'),
        ("class", 'try "a_class"'),
        ("1st", 'try "a_1st"'),
        ("queue", 'try "queue_data"'),
        ("__init__", 'try "init"'),
        ("rain_info", "the name of a collector's object"),
        ("", "a collector needs a name"),
    ],
)
def test_a_name_that_can_not_be_a_collectors_is_refused_with_a_better_one(project, name, says):
    before = files(project)
    with pytest.raises(ConfigError, match="^.*" + says.replace("(", r"\(")):
        Folder(project).add(name)
    with pytest.raises(ConfigError):
        Folder(project / "new").make([name])
    assert files(project) == before


def test_cadd_lists_and_makes_a_collector_and_clist_prints_them(project, monkeypatch):
    assert run(project, "cadd", "snow").returncode == 0
    assert run(project, "clist").stdout == "rain\nsun\nsnow\n"
    monkeypatch.chdir(project)
    assert json.loads(CliRunner().invoke(clist, ["--json"]).stdout) == ["rain", "sun", "snow"]
    assert "snow_info = Collector(" in (project / "apis" / "snow.py").read_text()


def test_a_collector_added_to_a_project_of_1_0_1_needs_nothing_of_its_helpers(tmp_path):
    copytree(PROGRAMS / "project", tmp_path, dirs_exist_ok=True)
    assert "get_json" not in (tmp_path / "helpers.py").read_text()
    assert run(tmp_path, "cadd", "hail").returncode == 0
    code = "import apis; one = apis.apis[-1]; print(one.name, len(one.streams()), one.stores())"
    environment = {**os.environ, **PYTHONPATH, "API": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert (done.stdout, done.stderr) == ("hail 1 []\n", "")


def test_cadd_leaves_a_file_that_is_there_as_it_is(project):
    (project / "apis" / "snow.py").write_text("snow_info = None  # mine\n")
    assert "as it was" in (Folder(project).add("snow") or "")
    assert (project / "apis" / "snow.py").read_text() == "snow_info = None  # mine\n"
    (project / "apis" / "hail.py").write_text("print('something else')\n")
    before = files(project)
    with pytest.raises(ConfigError, match=r"apis/hail\.py is there, and makes no hail_info"):
        Folder(project).add("hail")
    with pytest.raises(ConfigError, match="already"):
        Folder(project).add("snow")
    assert files(project) == before


def test_crem_asks_twice_and_keeps_what_was_collected(project, typed):
    before = files(project)
    for answers in ("", "n\n", "y\nn\n", "y\n"):
        assert typed(crem, ["rain"], answers) == 1
        assert files(project) == before
    shard = Layout(project / "STORE").queue("rain", "sql.sqlite") / "1.parquet"
    shard.parent.mkdir(parents=True)
    shard.touch()
    done = run(project, "crem", "rain", answers="y\ny\n")
    assert done.returncode == 0
    assert "1 batch waits in STORE for rain" in done.stdout
    assert shard.exists()
    assert not (project / "apis" / "rain.py").exists()
    assert Folder(project).names() == ["sun"]
    with pytest.raises(ConfigError, match="rain is no collector of this project; there are: sun"):
        Folder(project).require("rain")


def test_pclear_asks_twice_and_deletes_the_project_alone(project, typed):
    (project / "notes.txt").write_text("mine")
    (project / "STORE" / "data").touch()
    before = files(project)
    for answers in ("", "n\n", "y\nn\n", "y\n"):
        assert typed(pclear, [], answers) == 1
        assert files(project) == before
    assert run(project, "pclear", answers="y\ny\n").returncode == 0
    assert files(project) == {"notes.txt": b"mine"}


def test_pclear_deletes_nothing_while_data_lies_behind_a_link_and_says_where(project, typed):
    elsewhere = project.parent / f"{project.name}-elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").touch()
    (project / "STORE").rmdir()
    (project / "STORE").symlink_to(elsewhere)
    before = files(project)
    assert typed(pclear, [], "y\ny\n") == 1
    with pytest.raises(ConfigError, match=f"STORE is a link to {elsewhere}, and nothing outside"):
        Folder(project).clear()
    assert files(project) == before
    assert (elsewhere / "data").exists()


def test_pclear_refuses_while_the_project_runs(project):
    lock = StoreLock(Layout(project / "STORE"))
    before = files(project)
    try:
        done = run(project, "pclear", answers="y\ny\n")
    finally:
        lock.close()
    assert done.returncode == 1
    assert "stop that first" in done.stderr
    assert files(project).keys() == before.keys()


def test_mlab_makes_a_lab_once_and_clab_asks_twice(project, typed):
    assert run(project, "mlab").returncode == 0
    text = (project / "laboratory" / "lab.py").read_text()
    assert [name for name in ("import_target", "pre_process", "data_features", "post_process") if name in text]
    with pytest.raises(ConfigError, match="there already"):
        Folder(project).make_lab()
    done = run(project, "rlab")
    assert (done.returncode, done.stderr) == (1, "")
    assert "next: import_target must return a list of dicts" in done.stdout
    assert typed(clab, [], "y\n") == typed(clab, [], "n\n") == 1
    assert (project / "laboratory" / "lab.py").exists()
    assert run(project, "clab", answers="y\ny\n").returncode == 0
    assert not (project / "laboratory").exists()


def test_rlab_writes_each_phase_beside_the_lab_and_calls_the_api_once(project):
    (project / "laboratory").mkdir()
    (project / "laboratory" / "lab.py").write_text(LAB)
    (project / "helpers.py").write_text(HELPERS)
    done = run(project, "rlab")
    assert (done.returncode, done.stderr) == (0, "")
    assert "finished:\n   id name\n0   1    a\n" in done.stdout
    assert "id       Int64\nname" in done.stdout
    lab = project / "laboratory"
    assert json.loads((lab / "data_without_preprocess.json").read_text())["data"][0] == {"id": "1", "name": "a"}
    assert json.loads((lab / "data_after_preprocess.json").read_text())[1] == {"id": "2", "name": None}
    assert json.loads((lab / "data_after_feature_extraction.json").read_text())[1] == {"id": 2, "name": None}
    # A lab that begins its experiment itself, as mlab writes it, runs once. What was answered before is still known.
    form = 'ApiForm("lab", pre_process(), data_features(), None)'
    (lab / "lab.py").write_text(f'{LAB}\nif __name__ == "__main__":\n    {form}.experiment(CACHE, import_target)\n')
    done = run(project, "rlab")
    assert done.returncode == 1
    assert done.stdout.endswith("next: post_process must return a list of post-processors\n")
    # Its relative paths are against the project's folder, as those of a collector are.
    assert (project / "calls.txt").read_text() == "called\n"


def test_what_a_lab_raises_is_shown_without_its_secrets(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", [*sys.path])
    (project / "laboratory").mkdir()
    lab = project / "laboratory" / "lab.py"
    lab.write_text("raise RuntimeError('no such luck at https://user:hunter2hunter2@example.org/')")
    assert not run_lab(project, lab)
    shown = capsys.readouterr().err
    assert "no such luck at https://***@example.org/" in shown
    assert "lab.py" in shown


def test_a_fresh_run_of_a_lab_replaces_the_answer_once_there_is_another(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.modules", {**sys.modules})
    (project / "laboratory").mkdir()
    lab = project / "laboratory" / "lab.py"
    lab.write_text(LAB.replace("from helpers import answers", HELPERS))
    monkeypatch.chdir(project)
    assert run_lab(project, lab)
    known = (cached := lab.with_name(CACHE_FILE)).read_bytes()
    lab.write_text(lab.read_text().replace("return answers()", "raise OSError('the API is down')"))
    assert not run_lab(project, lab, fresh=True)
    assert "the API is down" in capsys.readouterr().err
    assert cached.read_bytes() == known
    assert run_lab(project, lab)  # of what was answered before
    lab.write_text(lab.read_text().replace("raise OSError('the API is down')", "return answers()[:1] * 2"))
    assert run_lab(project, lab, fresh=True)
    assert cached.read_bytes() != known
    assert (project / "calls.txt").read_text() == "called\n" * 2


@pytest.mark.parametrize("name", ["Rain", "RAIN"])
def test_a_collector_whose_name_differs_from_anothers_in_case_alone_is_refused_and_it_is_said_why(project, name):
    before = files(project)
    with pytest.raises(ConfigError, match=rf"'{name}': there is 'rain', and .* one table in most databases"):
        Folder(project).add(name)
    with pytest.raises(ConfigError, match="one table in most databases"):
        Folder(project / "new").make(["rain", name])
    assert files(project) == before


@pytest.mark.parametrize("command", ["cadd", "crem", "clist", "pclear", "mlab", "rlab", "clab"])
def test_outside_a_project_a_command_says_so_and_changes_nothing(tmp_path, command):
    (tmp_path / "mine.txt").write_text("mine")
    folder = Folder(tmp_path)
    attempts = {
        "cadd": lambda: folder.add("rain"), "crem": lambda: folder.require("rain"), "clist": folder.names,
        "pclear": folder.clear, "mlab": folder.make_lab, "rlab": folder.require_lab, "clab": folder.require_lab,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="is no project of this kind"):
        attempts[command]()
    assert files(tmp_path) == {"mine.txt": b"mine"}
