"""Credentials and places: any password works, none is ever shown, and every mistake is named."""

from __future__ import annotations

import html
import json
import logging
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from api2db.credentials import Auth, load_auth, variable_of
from api2db.errors import ConfigError
from api2db.place import Place
from api2db.secret import HIDDEN, Secret, redact, redact_url, remember
from api2db.settings import Settings, load

PASSWORD = "hunter2 p@ss:/?#%&"
COMPLETE = {"username": "me", "password": PASSWORD, "host": "db.example.org"}
WAREHOUSE = COMPLETE | {"dialect": "postgresql", "db_name": "warehouse", "port": 5433}

Write = Callable[..., Path]


@pytest.fixture
def auth_file(tmp_path: Path) -> Write:
    def write(content: object, name: str = "warehouse") -> Path:
        path = tmp_path / "AUTH" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path


def with_places(project: Path, toml: str, environ: dict[str, str] | None = None) -> Settings:
    (project / "api2db.toml").write_text(toml)
    return load(project, environ=environ or {})


def test_a_complete_file_is_read(auth_file: Write) -> None:
    assert load_auth(auth_file(WAREHOUSE), {}) == Auth(
        username="me", password=Secret(PASSWORD), host="db.example.org", port=5433, db_name="warehouse",
        dialect="postgresql",
    )  # fmt: skip
    assert load_auth(str(auth_file(COMPLETE | {"port": "5433"})), {}).port == 5433
    assert load_auth(auth_file(COMPLETE | {"port": "", "dialect": None}), {}).port is None
    assert load_auth(auth_file({"url": "sqlite:///x"}), {}).url == Secret("sqlite:///x")
    assert load_auth(auth_file({"dialect": "sqlite", "db_name": "x.sqlite"}), {}).db_name == "x.sqlite"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "username and password and host missing or empty"),
        (COMPLETE | {"username": ""}, "username missing or empty"),
        ({"dialect": "sqlite"}, "db_name missing"),
        (COMPLETE | {"usrname": "x"}, "there is no key 'usrname'; did you mean 'username'"),
        (COMPLETE | {"password": 12345}, "password must be text"),
        (COMPLETE | {"host": ["a"]}, "host must be text"),
        (COMPLETE | {"port": 0}, "port must be a whole number"),
        (COMPLETE | {"port": "http"}, "port must be a whole number"),
        (COMPLETE | {"port": True}, "port must be a whole number"),
        ([COMPLETE], "must hold one JSON object"),
        (f'{{"password": "{PASSWORD}"', r"not valid JSON \(line 1\)"),
        (f"hunter2{PASSWORD}", "not valid JSON"),
        ({"type": "service_account", "private_key": PASSWORD}, "Google service-account"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong_but_not_its_content(
    auth_file: Write, content: object, words: str
) -> None:
    path = auth_file(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_auth(path, {})
    assert str(path) in str(caught.value)
    assert "hunter2" not in _everything_about(caught.value)
    assert "12345" not in _everything_about(caught.value)


def _everything_about(error: BaseException | None) -> str:
    """What a traceback would print: the error and all that it is chained to."""
    text = ""
    while error is not None:
        text += repr(error) + str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text


def test_a_file_that_is_not_there_or_not_readable_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.json is not there"):
        load_auth(tmp_path / "nothing.json", {})
    with pytest.raises(ConfigError, match="can't be read"):
        load_auth(tmp_path, {})
    (tmp_path / "latin.json").write_bytes(b'{"password": "\xff"}')
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_auth(tmp_path / "latin.json", {})


def test_the_environment_wins_over_the_file_and_may_stand_alone(auth_file: Write, project: Path) -> None:
    path = auth_file(WAREHOUSE)
    environ = {"API2DB_AUTH_WAREHOUSE_PASSWORD": "new", "API2DB_AUTH_WAREHOUSE_PORT": "1"}
    changed = load_auth(path, environ)
    assert (changed.password, changed.port, changed.username) == (Secret("new"), 1, "me")
    whole = load_auth(path, {"API2DB_AUTH_WAREHOUSE_URL": "postgresql://a:b@c/d"})
    assert whole == Auth(url=Secret("postgresql://a:b@c/d"))
    alone = load(project, environ={}).place("lake", {"API2DB_AUTH_LAKE_URL": "postgresql://a:b@c/d"})
    assert alone.url == make_url("postgresql://a:b@c/d")
    with pytest.raises(ConfigError, match="'lake': username and password and host missing"):
        load(project, environ={}).place("lake", {"API2DB_AUTH_LAKE_DB_NAME": "d"})
    assert variable_of("my-lake.1", "db_name") == "API2DB_AUTH_MY_LAKE_1_DB_NAME"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_others_can_read_or_change_is_warned_of_once(
    auth_file: Write, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = auth_file(WAREHOUSE, "ware house")
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        load_auth(path, {})
        load_auth(path, {})
    assert [record.getMessage() for record in caplog.records] == [
        "credentials that other users of this machine can read or change"
        f" path={path} mode=0{mode:o} do=chmod 600 '{path}'"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and mounts")
def test_what_a_container_or_root_hands_over_is_not_warned_of(
    auth_file: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = auth_file(WAREHOUSE, "given")
    given.chmod(0o640)
    os.chown(given, 12345, 0)
    open_to_all = auth_file(WAREHOUSE, "open")
    open_to_all.chmod(0o644)
    os.chown(open_to_all, 12345, 0)
    mount = tmp_path / "secrets"
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no mounts here: {mounted.stderr}")
    try:
        (mount / "x.json").write_text(json.dumps(WAREHOUSE))
        (mount / "x.json").chmod(0o444)
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        with caplog.at_level(logging.WARNING):
            for path in (given, mount / "x.json", open_to_all):
                load_auth(path, {})
    finally:
        subprocess.run(["umount", mount], check=True)
    (record,) = caplog.records
    assert record.getMessage().endswith(f"mode=0644 do=chmod o-rwx {open_to_all}")


def test_built_in_places_need_no_settings(project: Path) -> None:
    place = load(project, environ={}).place
    database = place("database", {})
    assert database.url is not None
    assert (database.kind, database.url.drivername) == ("sql", "sqlite")
    assert database.url.database == str(project / "STORE" / "database.sqlite")
    assert place("files", {}) == Place(name="files", kind="local", path=None, fmt="parquet", mode="shard")


def test_a_name_means_the_settings_then_the_file_then_what_is_built_in(auth_file: Write, project: Path) -> None:
    auth_file(WAREHOUSE, "database")
    assert str(load(project, environ={}).place("database", {}).url).startswith("postgresql+psycopg://me:***@db.")
    settings = with_places(project, '[places.database]\nurl = "sqlite:///here.sqlite"')
    assert settings.place("database", {}).url == make_url(f"sqlite:///{project / 'here.sqlite'}")


def test_an_unknown_place_is_refused_with_the_nearest(auth_file: Write, project: Path) -> None:
    auth_file(WAREHOUSE)
    auth_file({}, "sql_auth_template")
    place = load(project, environ={}).place
    with pytest.raises(ConfigError, match="no place 'warehose'; did you mean 'warehouse'"):
        place("warehose", {})
    with pytest.raises(ConfigError, match="known are: database, files, warehouse"):
        place("x", {})
    for name in ("sql_auth_template", "../AUTH/warehouse", ""):
        with pytest.raises(ConfigError, match="no place"):
            place(name, {})


@pytest.mark.parametrize(
    ("toml", "url"),
    [
        ('url = "postgres://a:b@c/d"', "postgresql://a:b@c/d"),
        ('url = "postgresql+psycopg://a:b@c/d"\npassword = "n"', "postgresql+psycopg://a:n@c/d"),
        ('url = "sqlite:////abs/x.db"', "sqlite:////abs/x.db"),
        ('dialect = "mysql"\nhost = "h"\nusername = "u"\npassword = "p"\ndb_name = "d"', "mysql+pymysql://u:p@h/d"),
        ('auth_path = "AUTH/warehouse.json"\nhost = "other"\npassword = "q"\ntable = "t"',
         "postgresql+psycopg://me:q@other:5433/warehouse"),
    ],
)  # fmt: skip
def test_a_place_of_the_settings_is_a_url(auth_file: Write, project: Path, toml: str, url: str) -> None:
    auth_file(WAREHOUSE)
    assert with_places(project, f"[places.x]\n{toml}").place("x", {}).url == make_url(url)


def test_files_may_go_to_a_folder_of_ones_own(project: Path) -> None:
    toml = '[places.x]\ntype = "local"\npath = "out"\nfmt = "csv"\nmode = "update"'
    assert with_places(project, toml).place("x", {}) == Place(
        name="x", kind="local", path=project / "out", fmt="csv", mode="update"
    )


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("", "username and password and host missing"),
        ('type = "sqll"', "type must be one of: sql, local"),
        ('type = "local"\nurl = "x"', "there is no key 'url' for type 'local'"),
        ('type = "local"\nfmt = "xml"', "fmt must be one of: parquet"),
        ('type = "local"\nmode = "append"', "mode must be one of: shard"),
        ('type = "local"\npath = 3', "path must be text"),
        ('ulr = "x"', "there is no key 'ulr' for type 'sql'; did you mean 'url'"),
        ('url = "hunter2"', "url is not an SQLAlchemy URL"),
        ('url = "postgresql://me:hunter2@h:port/d"', "url is not an SQLAlchemy URL"),
        ('url = "postgresql://h/d"\ndialect = "mysql"', "url is of dialect 'postgresql', not 'mysql'"),
        ('url = "sqlite://"', "a SQLite database needs a file"),
        ('url = "sqlite:///:memory:"', "a SQLite database needs a file"),
        ('host = "h"\nusername = "u"\npassword = "hunter2"\ndialect = "dbase"', "dialect must be one of: sqlite"),
        ('host = "h"\nusername = "u"\npassword = "hunter2"\ndialect = "mysql"', "db_name missing"),
        ('auth_path = "AUTH/nowhere.json"', r"nowhere\.json is not there"),
    ],
)
def test_a_place_that_is_wrong_is_refused_at_start(project: Path, toml: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        with_places(project, f"[places.x]\n{toml}")
    assert "hunter2" not in _everything_about(caught.value)


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(password=ANY_TEXT, username=ANY_TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_password_reaches_the_url_whole_and_shows_nowhere(
    auth_file: Write, project: Path, password: str, username: str
) -> None:
    password = f"hunter2{password}"
    auth_file(WAREHOUSE | {"password": password, "username": username})
    place = load(project, environ={}).place("warehouse", {})
    assert place.url is not None
    assert (place.url.password, place.url.username) == (password, username)
    assert make_url(place.url.render_as_string(hide_password=False)) == place.url
    assert (
        "hunter2" not in f"{place!r}{place}{load_auth(project / 'AUTH' / 'warehouse.json', {})}{redact_url(place.url)}"
    )


def test_settings_with_places_show_no_password(project: Path) -> None:
    toml = '[places.x]\nurl = "postgresql://me:hunter2@h/d?sslpassword=hunter2"'
    assert "hunter2" not in repr(with_places(project, toml))


def test_a_secret_shows_in_no_way_of_printing() -> None:
    secret: Any = Secret("hunter2")
    shown = [repr(secret), str(secret), f"{secret}", f"{[secret]}", "%s" % secret, repr({"a": secret})]  # noqa: UP031
    assert not [text for text in shown if "hunter2" in text]
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("x")
    assert hash(secret) == hash(Secret("hunter2"))
    assert not Secret("")


@given(secret=ANY_TEXT, before=st.text(max_size=10), after=st.text(max_size=10))
def test_a_secret_in_a_message_is_taken_out(secret: str, before: str, after: str) -> None:
    secret = f"<{secret}>"
    cleaned = redact(f"{before}{secret}{after} {secret!r} {json.dumps(secret)}", [Secret(secret)])
    assert secret not in cleaned


SPELLINGS: list[Callable[[str], str]] = [
    str,
    repr,
    ascii,
    json.dumps,
    lambda text: json.dumps(json.dumps(text)),
    lambda text: json.dumps(text).replace("/", "\\/"),
    lambda text: json.dumps(text).replace("=", "\\u003d").replace("&", "\\u0026"),
    lambda text: repr(text.encode("utf-8", "surrogatepass")),
    lambda text: quote(text.encode("utf-8", "surrogatepass"), safe=""),
    lambda text: quote(quote(text.encode("utf-8", "surrogatepass"))),
    lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text.encode("utf-8", "surrogatepass"))),
    html.escape,
    lambda text: "".join(char if char.isalnum() else f"&#{ord(char)};" for char in text),
    lambda text: "".join(char if char.isalnum() else f"&#x{ord(char):X};" for char in text),
]


@settings(max_examples=40)
@example("abCD/efgh1234+Z==")
@example('a\\b"c\nd \u00e9 \U0001f600 \ud800')
@given(st.text(min_size=1))
def test_a_secret_is_found_however_a_server_spells_it(secret: str) -> None:
    for spell in SPELLINGS:
        left = redact(f"<{spell(secret)}>", [secret])
        assert HIDDEN in left
        assert left.strip("<>b'\"\\*") == ""


@pytest.mark.parametrize(
    ("secret", "piece"),
    [
        ("\\" * 30 + "=x", "\\"),
        ("\\=" * 30 + "x", "\\\\\\u003d"),
        ("%" * 30 + "x", "%25"),
        ("%5c" * 20 + "x", "%5c"),
        ("%25" * 20 + "x", "%25"),
        ("&" * 30 + "x", "&amp;"),
        ("=;" * 30 + "x", "&#61;;"),
        (";" * 30 + "x", "&#59;"),
    ],
)
def test_no_text_is_made_to_be_slow_for_a_secret(secret: str, piece: str) -> None:
    assert redact(piece * 3_000 + " 5c 25 u003d amp x", [secret])[:1] == piece[0]


@pytest.mark.parametrize("text", ["hunter22secret33", "secret33-hunter22", "x=%3Dhunter22", r"x=\u003dhunter22"])
def test_what_stands_beside_a_secret_is_hidden_with_it(text: str) -> None:
    remember("hunter22", "22secret33", "secret33-hunt")
    for cleaned in (redact(text), redact(text, ["secret33"]), redact(f"{text}plain", [f"{text}plain"])):
        assert "hunter" not in cleaned
        assert "secret" not in cleaned
    assert redact("hunter22s") == "hunter22s"


@pytest.mark.parametrize("word", ["password", "https://h", "Bearer abc", "&password=", "short"])
def test_a_secret_that_is_a_word_of_the_message_leaves_no_other_in_it(word: str) -> None:
    text = "GET https://h/x?password=short&of=the-other failed: Bearer abcdefgh"
    remember(word)
    for cleaned in (redact(text), redact(text, [word])):
        assert "***" in cleaned
        assert "short" not in cleaned
        assert "abcdefgh" not in cleaned
        assert "the-other" in cleaned


@pytest.mark.parametrize("piece", ["a", "?pass", "a://:", "http://"])
def test_a_text_made_to_be_slow_is_cleaned_in_the_time_of_its_length(piece: str) -> None:
    """Where it took the square of it, this would not end within the limit of a test."""
    text = piece * (300_000 // len(piece))
    assert redact(text)[:1] in (piece[0], "*")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("can't reach postgresql://me:hunter2@h/d", "can't reach postgresql://me:***@h/d"),
        ("postgresql+psycopg://me:a@b:c/d@h:1/d?x=1", "postgresql+psycopg://me:***@h:1/d?x=1"),
        ("https://h/path?api_key=hunter2&page=2", "https://h/path?api_key=***&page=2"),
        ("https://h/path?page=2&access_token=hunter2", "https://h/path?page=2&access_token=***"),
        ("https://h/x?n=1?key=hunter2", "https://h/x?n=1?key=***"),
        ("https://h/x?a=1;key=hunter2&c=3", "https://h/x?a=1;key=***&c=3"),
        ("https://h/x?appid=0123456789abcdef0123&q=Berlin", "https://h/x?appid=***&q=Berlin"),
        (
            "url: /x?k=0123456789abcdefXYZ&since=2026-01-01T00%3A00%3A00Z",
            "url: /x?k=***&since=2026-01-01T00%3A00%3A00Z",
        ),
        ("GET https://ghp_0123456@h/x failed", "GET https://***@h/x failed"),
        ("sqlite:////home/me/x.db is at 10:30 @ home", "sqlite:////home/me/x.db is at 10:30 @ home"),
    ],
)
def test_urls_in_a_message_lose_their_passwords_and_nothing_else(text: str, cleaned: str) -> None:
    assert redact(text) == cleaned
