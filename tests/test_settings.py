"""Settings: who wins, what is refused, and that the documentation lists exactly what there is."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db import telling
from api2db.errors import ConfigError
from api2db.settings import KEYS, Settings, load

DOCUMENT = Path(__file__).parents[1] / "docs" / "settings.md"
TEMPORARY = pytest.TempPathFactory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path


def write(project: Path, text: str) -> None:
    (project / "api2db.toml").write_text(text)


def test_a_project_without_a_file_has_the_defaults(project: Path) -> None:
    settings = load(project, environ={})
    assert settings.store == project / "STORE"
    assert settings.durability == "fsync"
    assert (settings.poll_threads, settings.delivery_threads, settings.target_threads) == (16, 8, 2)
    assert (settings.stop_timeout_s, settings.poll_timeout_s, settings.max_stuck_polls) == (20.0, 300.0, 16)
    assert (settings.max_collector_bytes, settings.max_store_bytes) == (10 * 2**30, 50 * 2**30)
    assert settings.min_free_bytes == 256 * 2**20
    assert (settings.console, settings.demo, dict(settings.places)) == (True, False, {})


def test_every_setting_has_a_field_and_a_parser_that_answers_its_type(project: Path) -> None:
    settings = load(project, environ={})
    fields = {field.name: field.type for field in dataclasses.fields(Settings)}
    assert fields.keys() - {"project", "places", "notify"} == KEYS.keys()
    for name in KEYS:
        assert type(getattr(settings, name)).__name__.removeprefix("Posix") == fields[name]


# For one setting of each kind: a value in the file's way and in the environment's, and what both mean.
KINDS = {
    "durability": ("process", "process", "process"),
    "poll_threads": (3, "3", 3),
    "stop_timeout_s": ("1m", "60", 60.0),
    "max_store_bytes": ("1 GiB", "1073741824", 2**30),
    "console": (False, "off", False),
    "demo": (True, "YES", True),
}


@given(
    name=st.sampled_from(sorted(KINDS)),
    argument=st.sampled_from([None, "value", "text"]),
    environment=st.booleans(),
    file=st.booleans(),
)
def test_arguments_win_over_environment_over_file_over_defaults(
    tmp_path_factory: TEMPORARY, name: str, argument: str | None, environment: bool, file: bool
) -> None:
    project = tmp_path_factory.mktemp("project")
    value, text, meant = KINDS[name]
    default = getattr(load(project, environ={}), name)
    # Of the sources given, only the one that should win says something else than the default.
    winner = "argument" if argument else "environment" if environment else "file" if file else None
    plain = KEYS[name].default
    if file:
        write(project, f"{name} = {json.dumps(value if winner == 'file' else plain)}")
    environ = {f"API2DB_{name.upper()}": text if winner == "environment" else str(plain)} if environment else {}
    overrides = {name: None if argument is None else value if argument == "value" else text}
    assert getattr(load(project, overrides, environ), name) == (default if winner is None else meant)


def test_paths_are_against_the_project_whatever_the_working_directory(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: TEMPORARY
) -> None:
    write(project, 'store = "data/../kept"\nlogs = "/var/log/mine"')
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    settings = load(project, {"auth": "secrets"}, {})
    assert settings.store == project / "kept"
    assert settings.logs == Path("/var/log/mine")
    assert settings.auth == project / "secrets"
    monkeypatch.chdir(project.parent)
    assert load(Path(project.name), environ={}).project == project


@pytest.mark.parametrize(
    ("text", "environ", "words"),
    [
        ("poll_thread = 3", {}, r"api2db\.toml: there is no setting 'poll_thread'; did you mean 'poll_threads'\?"),
        ("[place.x]\nurl = ''", {}, "did you mean 'places'"),
        ("", {"API2DB_DURABILTY": "process"}, "API2DB_DURABILTY is no setting; did you mean 'API2DB_DURABILITY'"),
        ("", {"API2DB_PLACES": "x"}, "API2DB_PLACES is no setting"),
        ("", {"API2DB_AUTH_X_PASWORD": "x"}, "API2DB_AUTH_X_PASWORD must end in one of: USERNAME, PASSWORD"),
        ("poll_threads = 0", {}, r"api2db\.toml: poll_threads: 0 is not a whole number from 1"),
        ("poll_threads = '3'", {}, "'3' is not a whole number"),
        ("poll_threads = true", {}, "True is not a whole number"),
        ("", {"API2DB_POLL_THREADS": "many"}, "the environment: poll_threads: 'many' is not a whole number"),
        ("durability = 'none'", {}, "durability: 'none' is not one of: fsync, process"),
        ("durability = ['fsync']", {}, "is not one of: fsync, process"),
        ("stop_timeout_s = 'soon'", {}, "stop_timeout_s: 'soon' is not a duration"),
        ("stop_timeout_s = 0", {}, "stop_timeout_s: must be more than 0"),
        ("keep = '91d'", {}, "keep: 7862400 s are longer than history, 7776000 s"),
        ("history = '1d'", {}, "make history longer, or keep shorter"),
        ("max_store_bytes = 0", {}, "max_store_bytes: must be more than 0"),
        ("max_store_bytes = '1 XB'", {}, "max_store_bytes: '1 XB' is not a size"),
        ("demo = 'true'", {}, "demo: 'true' is not true or false"),
        ("", {"API2DB_DEMO": "perhaps"}, "the environment: demo: 'perhaps' is not true or false"),
        ("store = ''", {}, "store: '' is not a path"),
        ("store = 3", {}, "store: 3 is not a path"),
        ("store = ", {}, r"api2db\.toml is not valid TOML"),
        ("http = '8424'", {}, "http: '8424' is not an address and a port"),
        ("http = 'example.org:80'", {}, "names aren't looked up"),
        ("http = '127.0.0.1:66000'", {}, "is not an address and a port"),
        ("http = '0.0.0.0:8424'", {}, "http: .* can be reached from other machines: set http_token too"),
        ("http = '[::]:8424'", {"API2DB_HTTP_TOKEN": "short"}, "http_token: must be at least 16 characters"),
        ("notify = 3", {}, "notify is a table"),
        ("notify.webhok = 'https://x/y'", {}, "notify: there is no key 'webhok'; did you mean 'webhook'"),
        ("notify.webhook = 'hooks.example/T0P'", {}, r"notify: webhook is not a URL .* \(it isn't shown here\)"),
        ("notify.webhook = 'https://[x/T0P'", {}, "notify: webhook is not a URL"),
        ("notify.command = 'say \"hi'", {}, "notify: command: No closing quotation"),
        ("notify.command = [1]", {}, "notify: command is a program and its arguments"),
        ("notify.every = 0", {}, "notify: every: must be more than 0"),
        ("notify.backlog_age = 'old'", {}, "notify: backlog_age: 'old' is not a duration"),
        ("notify.backlog_shards = 0", {}, "notify: backlog_shards: 0 is not a whole number"),
        ("", {"API2DB_NOTIFY_WEBHOK": "x"}, "API2DB_NOTIFY_WEBHOK is no setting; did you mean 'API2DB_NOTIFY_WEBHOOK'"),
        ("places = 3", {}, "places are tables"),
        ("places.x = 3", {}, "places are tables"),
    ],
)
def test_what_is_wrong_is_refused_with_its_name_and_where_it_was_set(
    project: Path, text: str, environ: dict[str, str], words: str
) -> None:
    write(project, text)
    with pytest.raises(ConfigError, match=words):
        load(project, environ=environ)


def test_an_unknown_argument_is_refused(project: Path) -> None:
    with pytest.raises(ConfigError, match="the arguments: there is no setting 'dmo'; did you mean 'demo'"):
        load(project, {"dmo": True}, {})


def test_a_file_that_cannot_be_read_is_refused(project: Path) -> None:
    (project / "api2db.toml").write_bytes(b"store = '\xff'")
    with pytest.raises(ConfigError, match="can't be read"):
        load(project, environ={})
    (project / "api2db.toml").unlink()
    (project / "api2db.toml").mkdir()
    with pytest.raises(ConfigError, match="can't be read"):
        load(project, environ={})


def test_a_project_that_is_not_there_is_refused_with_how_to_make_one(project: Path) -> None:
    with pytest.raises(ConfigError, match="api2db init"):
        load(project / "nowhere", environ={})


def test_what_tests_set_and_what_is_empty_is_no_setting(project: Path) -> None:
    environ = {"API2DB_FAILPOINT": "x", "API2DB_TEST_POSTGRES_URL": "x", "API2DB_DEMO": "", "PATH": "/bin"}
    assert load(project, environ=environ) == load(project, environ={})


def test_settings_cannot_be_changed(project: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(project, environ={}).demo = True  # type: ignore[misc]


@given(st.dictionaries(st.sampled_from(sorted(KEYS)), st.none() | st.booleans() | st.integers() | st.text(max_size=9)))
def test_any_arguments_are_understood_or_refused(tmp_path_factory: TEMPORARY, overrides: dict[str, object]) -> None:
    try:
        load(tmp_path_factory.getbasetemp(), overrides, {})
    except ConfigError:
        pass


def test_the_documentation_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: tomllib.loads(f"value = {default}")["value"] for name, _, default in rows if name in KEYS}
    assert documented == {name: key.default for name, key in KEYS.items()}


def test_the_documentation_names_the_variable_rule_and_every_key_of_a_place() -> None:
    text = DOCUMENT.read_text()
    from api2db.credentials import FIELDS

    for word in (*FIELDS, "auth_path", "table", "type", "path", "fmt", "mode", "API2DB_AUTH_WAREHOUSE_PASSWORD"):
        assert f"`{word}`" in text


def test_the_documentation_lists_every_key_of_notify_with_its_default() -> None:
    text = DOCUMENT.read_text().partition("## Notify")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| `([^`]+)` \|", text, re.MULTILINE)
    documented = {name: tomllib.loads(f"value = {default}")["value"] for name, _, default in rows}
    assert documented == telling.DEFAULTS


def test_what_is_secret_of_http_and_notify_is_not_shown(project: Path) -> None:
    write(project, "notify.webhook = 'https://hooks.example/T0P'\nnotify.command = 'curl https://x/T0P'")
    settings = load(project, environ={"API2DB_HTTP_TOKEN": "T0P-T0P-T0P-T0P-", "API2DB_NOTIFY_EVERY": "1h"})
    assert settings.notify.webhook.reveal() == "https://hooks.example/T0P"
    assert settings.notify.command == ("curl", "https://x/T0P")
    assert (settings.notify.every_s, settings.notify.backlog_age_s) == (3600.0, 3600.0)
    assert "T0P" not in repr(settings)


def test_the_documented_examples_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert blocks
    (tmp_path / "AUTH").mkdir()
    for name, body in re.findall(r"`AUTH/(\w+)\.json`:\n\n```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        (tmp_path / "AUTH" / f"{name}.json").write_text(body)
        (tmp_path / "AUTH" / f"{name}.json").chmod(0o600)
    for block in blocks:
        write(tmp_path, block)
        settings = load(tmp_path, environ={})
        for name in settings.places:
            settings.place(name, {})
    assert load(tmp_path, environ={}).place("warehouse", {}).url is not None
