"""The documented streams: parameters, attributes, errors, and the places names lead to."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy

from api2db import Collector, settings
from api2db.errors import BadDataError, ConfigError, FatalError
from api2db.formats import FORMATS
from api2db.secret import without_source
from api2db.sinks.base import Placement
from api2db.state import assign_directories
from api2db.stream import Stream, Stream2Local, Stream2Sql
from api2db.stream.file_converter import FileConverter
from api2db.stream.places import targets_of

ALL = tuple(FORMATS)

PASSWORD = "p@ss:/?#[]!$&'()*+,;=% \"\\ä"


def sql(**options):
    given = {"db_name": "db", "dialect": "postgresql", "username": "u", "password": PASSWORD, "host": "h"} | options
    return Stream2Sql("weather", **given)


def test_a_password_of_any_characters_reaches_the_driver_and_no_log():
    stream = sql()
    assert sqlalchemy.make_url(stream.engine_str).password == PASSWORD
    assert PASSWORD not in stream.log_str
    assert "***" in stream.log_str
    assert stream.driver == "postgresql+psycopg"
    assert stream.stream_type == "sql.postgresql"
    assert (stream.con, stream.connected) == (None, False)


@pytest.mark.parametrize("missing", ["username", "password", "host"])
def test_a_missing_credential_is_a_value_error_that_names_it(missing):
    with pytest.raises(ValueError, match=missing):
        sql(**{missing: None})


def test_credentials_come_from_a_file(tmp_path):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"username": "me", "password": "secret", "host": "there"}))
    path.chmod(0o600)
    stream = Stream2Sql("weather", "db", "postgresql", auth_path=str(path), port="5433")
    url = sqlalchemy.make_url(stream.engine_str)
    assert (url.username, url.password, url.host, url.port) == ("me", "secret", "there", 5433)


@pytest.mark.parametrize("text", ["", "no json", "{}", '{"username": "u"}'])
def test_an_invalid_auth_file_is_a_value_error_that_names_the_file(tmp_path, text):
    path = tmp_path / "auth.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"auth\.json"):
        Stream2Sql("weather", "db", "postgresql", auth_path=str(path))


def test_aurora_says_that_it_is_two_databases_and_how_each_is_named():
    with pytest.raises(NotImplementedError, match='"amazon_aurora_mysql" or "amazon_aurora_postgresql"'):
        sql(dialect="amazon_aurora")


@pytest.mark.parametrize(
    ("dialect", "url"),
    [
        ("amazon_aurora_mysql", "mysql+pymysql://u:p%40@h/db"),
        ("amazon_aurora_postgresql", "postgresql+psycopg://u:p%40@h/db"),
        ("oracle", "oracle+oracledb://u:p%40@h?service_name=db"),
        ("microsoft_sql", "mssql+pymssql://u:p%40@h/db"),
    ],
)
def test_every_documented_dialect_names_the_driver_it_is_loaded_through(dialect, url):
    stream = Stream2Sql("weather", "db", dialect, username="u", password="p@", host="h")
    assert stream.engine_str == url
    assert stream.stream_type == f"sql.{dialect}"


@pytest.mark.parametrize(
    "options", [{"dialect": "dbase"}, {"if_exists": "perhaps"}, {"db_name": None}, {"version": "v"}, {"port": "abc"}]
)
def test_a_mistaken_option_is_refused_at_once(options):
    with pytest.raises(ConfigError):
        sql(**options)


def test_a_stream_connects_by_itself_and_makes_its_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = Stream2Sql("weather", "data/new.sqlite", "sqlite")
    assert stream.connect()
    assert stream.connected
    with stream.con.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
    stream.con.dispose()
    assert (tmp_path / "data" / "new.sqlite").exists()


def test_a_stream_that_cannot_connect_says_false_and_why(caplog):
    stream = sql(host="127.0.0.1", port=1)
    assert not stream.connect()
    assert "not connected" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("oracle+cx_oracle://u:not-to-be-seen@h/x", "pip install cx_Oracle"),
        ("sqlite://", "a database in memory forgets what it was given: name a file"),
        ("postgresql+psycopg://u:not-to-be-seen@127.0.0.1:1/x?read_timeout=soon", "read_timeout=soon"),
        ("nosuch://u:not-to-be-seen@h/x", 'no sink for dialect "nosuch"'),
    ],
)
def test_a_url_that_can_not_work_here_says_what_to_do_and_is_not_repeated(tmp_path, monkeypatch, caplog, url, says):
    monkeypatch.chdir(tmp_path)
    logging.getLogger("api2db").propagate = True
    stream = Stream2Sql("weather", url=url)
    assert stream.connect() is stream.connected is False
    assert says in caplog.text
    caplog.clear()
    if "nosuch" in url:
        with pytest.raises(ConfigError, match=says):
            stream.stream(pd.DataFrame({"id": [1]}))
        return
    stream.stream(pd.DataFrame({"id": [1]}))
    assert "stream stopped, its shards wait" in caplog.text
    assert says in caplog.text
    assert "unexpectedly" not in caplog.text
    assert "not-to-be-seen" not in caplog.text
    assert len(list((tmp_path / "STORE" / "upload_failed" / "weather").rglob("*.parquet"))) == 1


def test_a_url_stands_for_all_parts():
    stream = Stream2Sql("weather", url="postgresql+psycopg://u:p@h:5433/db", table="readings", key="id", version="at")
    assert stream.stream_type == "sql.postgresql"
    assert (stream.db_name, stream.table, stream.key, stream.version) == ("db", "readings", ("id",), "at")


def test_two_targets_differ_by_host_database_and_table_and_tell_no_credentials(tmp_path):
    streams = [sql(), sql(host="other"), sql(db_name="other"), sql(table="other"), sql(username="other")]
    targets = [stream.target(tmp_path, tmp_path) for stream in streams]
    assert len(set(targets)) == 4
    assert not any(PASSWORD in target or "u@" in target for target in targets)


ODBC = "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+Driver+18%7D%3BSERVER%3D{}%3BDATABASE%3D{}%3BUID%3Du%3BPWD%3D{}"
SAME = [
    ("oracle+oracledb://u:one@h/?service_name=a", "oracle+oracledb://U:two@h/?service_name=a&retry_count=3"),
    (ODBC.format("h", "a", "one"), ODBC.format("h", "a", "%7Btwo%3Bthree%7D")),
    ("mssql+pymssql://u:one@h/a?charset=utf8", "mssql+pymssql://v:two@h/a"),
    ("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Done", "mssql+pyodbc:///?odbc_connect=driver%3DX%3Bpwd%3Dtwo"),
]
ANOTHER = [
    ("oracle+oracledb://u:p@h/?service_name=a", "oracle+oracledb://u:p@h/?service_name=b"),
    ("oracle+oracledb://u:p@h/?service_name=a", "oracle+oracledb://v:p@h/?service_name=a"),
    ("oracle+oracledb://u:p@/?dsn=one", "oracle+oracledb://u:p@/?dsn=two"),
    (ODBC.format("h", "a", "p"), ODBC.format("h", "b", "p")),
    (ODBC.format("h", "a", "p"), ODBC.format("i", "a", "p")),
]


def target_of(url: str, project: Path) -> str:
    return Stream2Sql("weather", url=url).target(project, project)


@pytest.mark.parametrize(("one", "same"), SAME)
def test_a_target_stays_when_a_password_or_an_option_changes(tmp_path, one, same):
    assert target_of(one, tmp_path) == target_of(same, tmp_path)
    assert not any(secret in target_of(one, tmp_path) for secret in ("one", "two", "PWD"))


@pytest.mark.parametrize(("one", "other"), ANOTHER)
def test_what_waits_for_one_database_never_goes_to_another_that_only_the_urls_parameters_tell_apart(
    tmp_path, one, other
):
    kind = Stream2Sql("weather", url=one).stream_type
    (first,), memory = assign_directories({}, [(kind, target_of(one, tmp_path))], frozenset())
    (second,), _ = assign_directories(memory, [(kind, target_of(other, tmp_path))], frozenset({first}))
    assert first == kind
    assert second.startswith(f"{kind}~")


def test_the_target_of_a_url_that_says_its_database_itself_is_as_ever(tmp_path):
    assert target_of("mssql+pymssql://u:p@h:1433/db?charset=utf8", tmp_path) == "mssql://h:1433/db/weather"
    assert target_of("oracle+oracledb://h/x", tmp_path) == "oracle://h/x/weather"


def test_a_store_of_before_keeps_its_directory_though_its_target_is_told_apart_now(tmp_path):
    before, kind = {"sql.oracle": "oracle://h//weather"}, "sql.oracle"
    now = target_of("oracle+oracledb://u:p@h/?service_name=a", tmp_path)
    (directory,), memory = assign_directories(before, [(kind, now)], frozenset(before))
    assert (directory, memory) == (kind, {kind: now})
    other = target_of("oracle+oracledb://u:p@h/?service_name=b", tmp_path)
    (directory,), _ = assign_directories(memory, [(kind, other)], frozenset(before))
    assert directory != kind
    with_both, _ = assign_directories(before, [(kind, now), (kind, other)], frozenset(before))
    assert kind not in with_both


def test_constructing_a_stream_starts_nothing_and_reaches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Stream2Sql("weather", "x.sqlite", "sqlite")
    Stream2Local("weather")
    assert list(tmp_path.iterdir()) == []


def test_a_local_stream_goes_where_it_is_documented_to(tmp_path):
    placement = Placement("weather/local.parquet", tmp_path / "STORE", tmp_path / "q", tmp_path / "f", tmp_path)
    assert Stream2Local("weather").sink(placement).directory == tmp_path / "STORE" / "weather" / "parquet"
    assert Stream2Local("weather", path="out").sink(placement).directory == tmp_path / "out"
    assert Stream2Local("weather").stream_type == "local.parquet"


@pytest.mark.parametrize("fmt", ALL)
@pytest.mark.parametrize("mode", ["update", "replace"])
def test_a_local_stream_of_one_file_goes_where_it_is_documented_to(tmp_path, mode, fmt):
    stream = Stream2Local("weather", mode=mode, fmt=fmt)
    assert stream.stream_type == f"local.{fmt}"
    assert stream.target(tmp_path, tmp_path / "STORE") == str(tmp_path / "CACHE" / f"weather_static.{fmt}")
    other = Stream2Local("weather", path="out/stations.x", mode=mode, fmt=fmt)
    assert other.target(tmp_path, tmp_path / "STORE") == str(tmp_path / "out" / "stations.x")


def test_a_local_stream_keeps_its_parameters():
    stream = Stream2Local("weather", "out", "update", "csv", ["uuid"])
    assert (stream.name, stream.path, stream.mode, stream.fmt) == ("weather", "out", "update", "csv")
    assert (stream.drop_duplicate_keys, stream.keep, stream.dtypes) == (["uuid"], "first", None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fmt": "xls"}, "parquet, json, pickle, csv"),
        ({"mode": "updates"}, "shard, update, replace.*update"),
        ({"mode": None}, "shard, update, replace"),
        ({"keep": "newest"}, '"first" or "last"'),
        ({"drop_duplicate_keys": [1]}, "columns' names"),
        ({"path": ""}, "path=''"),
        ({"path": 3}, "path=3"),
    ],
)
def test_a_mistaken_option_of_a_local_stream_is_a_value_error_that_names_the_choices(options, told):
    with pytest.raises(ValueError, match=told):
        Stream2Local("weather", **options)


@pytest.mark.parametrize("fmt", ALL)
def test_a_local_stream_used_on_its_own_stores_at_once_as_its_mode_says(tmp_path, monkeypatch, fmt):
    monkeypatch.chdir(tmp_path)
    one, two = pd.DataFrame({"k": [1, 1, 2], "v": list("abc")}), pd.DataFrame({"k": [2, 3], "v": list("xy")})
    found = {}
    for mode in ("shard", "update", "replace"):
        stream = Stream2Local("weather", path=f"out/{mode}", mode=mode, fmt=fmt, drop_duplicate_keys=["k"])
        assert stream.stream(one) is None
        assert stream.stream(two) is None
        paths = sorted(path for path in Path("out").glob(f"{mode}*/*" if mode == "shard" else mode) if path.is_file())
        frames = [FileConverter.static_load_df(str(path), fmt, FileConverter("weather").dtypes) for path in paths]
        assert [frame.dtypes.astype(str).tolist() for frame in frames] == [["Int64", "string"]] * len(paths)
        found[mode] = ["".join(frame["v"]) for frame in frames]
    assert found == {"shard": ["ac", "xy"], "update": ["acy"], "replace": ["xy"]}
    assert all(path.suffix == f".{fmt}" and path.stem.isdigit() for path in Path("out/shard").iterdir())


def test_a_local_stream_has_a_method_for_each_mode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = Stream2Local("weather")
    frame = pd.DataFrame({"n": [1]})
    for store in (stream.stream_shard, stream.stream_update, stream.stream_replace):
        assert store(frame) is None
    assert sorted(str(path) for path in Path().glob("*/*")) == ["CACHE/weather_static.parquet", "STORE/weather"]


def test_a_local_stream_used_on_its_own_says_what_is_wrong_and_leaves_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spoilt.csv").write_bytes(b"")
    stream = Stream2Local("weather", path="spoilt.csv", mode="update", fmt="csv")
    with pytest.raises(FatalError, match=r"weather/local\.csv: .*spoilt\.csv is left as it is"):
        stream.stream(pd.DataFrame({"n": [1]}))
    with pytest.raises(BadDataError, match="a DataFrame, not list"):
        stream.stream([1])
    assert Path("spoilt.csv").read_bytes() == b""


def test_a_plain_stream_can_not_stream():
    stream = Stream("weather")
    assert stream.stream_type == "stream"
    assert not stream.is_store_instance
    with pytest.raises(AttributeError, match="weather"):
        stream.stream(None)


def test_names_of_to_lead_to_places_and_carry_key_and_version(tmp_path):
    (tmp_path / "api2db.toml").write_text(
        '[places.here]\ndialect = "sqlite"\ndb_name = "x.sqlite"\ntable = "t"\n'
        '[places.there]\ntype = "local"\npath = "out"\n'
        '[places.newest]\ntype = "local"\npath = "newest.csv"\nmode = "replace"\nfmt = "csv"\n'
    )
    made = settings.load(tmp_path, environ={})
    declared = Collector(
        "c", 1, lambda: None, None, None, to=["database", "here", "there", "newest"], key="id", version="v"
    )
    database, here, there, newest = targets_of(declared, made)
    assert (database.table, database.key, database.version) == ("c", ("id",), "v")
    assert database.target(made.project, made.store).endswith("STORE/database.sqlite/c")
    assert (here.table, here.key) == ("t", ("id",))
    assert there.target(made.project, made.store) == str(tmp_path / "out")
    assert (newest.stream_type, newest.mode) == ("local.csv", "replace")
    assert newest.target(made.project, made.store) == str(tmp_path / "newest.csv")
    with pytest.raises(ConfigError, match="neither a stream nor the name of a place"):
        targets_of(Collector("c", 1, lambda: None, None, lambda: [3]), made)
    with pytest.raises(ConfigError, match="database"):
        targets_of(Collector("c", 1, lambda: None, None, None, to="databse"), made)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@ss:SECRETword@h/db",
        "postgresql://u:pa@SECRETword@h/db",
        "SECRETword",
        "postgresql://u:SECRETword@h:port/db",
    ],
)
def test_a_url_that_can_not_be_read_is_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match="url") as refused:
        Stream2Sql("weather", url=url)
    assert "SECRET" not in "".join(traceback.format_exception(refused.value)).replace(repr(url), "")


def test_a_traceback_is_told_without_lines_of_source():
    def load(password):
        raise ValueError("no")

    try:
        load(password="SECRETword")
    except ValueError:
        told = without_source(traceback.format_exc())
    assert "SECRET" not in told
    assert "in load" in told
    assert told.endswith("ValueError: no\n")
