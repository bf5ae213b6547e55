"""Stream2Bigquery as it is documented: how it is made, what it says of itself, and a script that uses it alone."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from api2db.errors import ConfigError
from api2db.place import read_place
from api2db.stream import Stream2Bigquery
from tests.bigquery import PROJECT, Emulator, service_account
from tests.google_front import UNAVAILABLE

DTYPES: dict[str, object] = {"n": "Int64", "x": "Float64", "ok": "bool", "name": "string", "at": "datetime64[ns, UTC]"}


def test_a_stream_keeps_its_parameters_and_starts_nothing(tmp_path: Path) -> None:
    stream = Stream2Bigquery("weather", "AUTH/none.json", "my-project", "raw", "weather_raw", "EU", "replace", 7)
    assert (stream.stream_type, stream.connected, stream.schema, stream.bq_schema) == ("bigquery", False, None, None)
    assert (stream.auth_path, stream.pid, stream.did, stream.tid) == (
        "AUTH/none.json",
        "my-project",
        "raw",
        "weather_raw",
    )
    assert (stream.location, stream.if_exists, stream.chunk_size) == ("EU", "replace", 7)
    assert stream.target(tmp_path, tmp_path) == "bigquery://my-project.raw.weather_raw"


def test_dtypes_say_the_schema() -> None:
    stream = Stream2Bigquery("weather", None, "my-project", "raw", dtypes=DTYPES)
    assert stream.bq_schema == stream.build_bq_schema()
    assert {column["name"]: column["type"] for column in stream.bq_schema or []} == {
        "n": "INTEGER",
        "x": "FLOAT",
        "ok": "BOOLEAN",
        "name": "STRING",
        "at": "TIMESTAMP",
    }
    assert stream.schema == stream.build_schema()
    assert [column.mode for column in stream.schema or []] == ["NULLABLE"] * 5


def test_dtypes_are_whatever_astype_takes_and_the_schema_follows_them(caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"A": [1], "B": ["x"], "C": [0.5], "D": [True]}).astype({"A": int, "B": str, "C": "float"})
    stream = Stream2Bigquery("weather", None, "my-project", "raw", dtypes={"A": int, "B": str, "C": "float", "D": bool})
    types = ["INTEGER", "STRING", "FLOAT", "BOOLEAN"]
    assert [column["type"] for column in stream.bq_schema or []] == types
    stream = Stream2Bigquery("weather", None, "my-project", "raw")
    stream.dtypes = frame.dtypes.to_dict()  # type: ignore[assignment]
    assert [column["type"] for column in stream.bq_schema or []] == types
    assert [column.name for column in stream.schema or []] == ["A", "B", "C", "D"]
    with caplog.at_level(logging.WARNING):
        unknown = Stream2Bigquery("weather", None, "my-project", "raw", dtypes={"A": "no such type"})
    assert (unknown.schema, unknown.bq_schema, unknown.build_schema()) == (None, None, None)
    assert "no such type" in caplog.text
    unknown.dtypes = None
    assert unknown.bq_schema is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pid": None}, "pid missing"),
        ({"did": None}, "did missing"),
        ({"did": "no-dashes"}, "did="),
        ({"tid": "a.b"}, "tid="),
        ({"if_exists": "drop"}, "if_exists"),
        ({"version": "v"}, "needs key"),
        ({"key": "id", "if_exists": "replace"}, "choose one"),
        ({"key": "id", "batch_column": "b"}, "batch_column"),
        ({"chunk_size": -1}, "chunk_size"),
        ({"load_every": "soon"}, "load_every"),
        ({"partition_type": "WEEK"}, "partition_type"),
        ({"cluster_by": list("abcde")}, "cluster_by"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_work_is_refused_at_once(options: dict[str, object], says: str) -> None:
    known: dict[str, object] = {"pid": "my-project", "did": "raw"}
    with pytest.raises(ConfigError, match=says):
        Stream2Bigquery("weather", **{**known, **options})  # type: ignore[arg-type]


def test_the_project_is_the_one_of_the_file_and_a_place_is_the_same_stream(tmp_path: Path) -> None:
    service_account(tmp_path / "key.json", "http://127.0.0.1:1/token", pid="its-project")
    table = {"type": "bigquery", "auth_path": "key.json", "did": "raw", "cluster_by": ["n"], "load_every": "2m"}
    place = read_place("google", table, tmp_path)
    stream = Stream2Bigquery("weather", **place.options)
    assert stream.target(tmp_path, tmp_path) == "bigquery://its-project.raw.weather"
    with pytest.raises(ConfigError, match=r"\[places.google\]: there is no key 'dataset'"):
        read_place("google", {**table, "dataset": "raw"}, tmp_path)
    with pytest.raises(ConfigError, match="fresh must be true or false"):
        read_place("google", {**table, "fresh": "yes"}, tmp_path)
    with pytest.raises(ConfigError, match="did missing"):
        read_place("google", {"type": "bigquery", "auth_path": "key.json"}, tmp_path)


def test_a_stream_that_cannot_connect_says_false_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = Stream2Bigquery("weather", str(tmp_path / "none.json"), "my-project", "raw")
    with caplog.at_level(logging.WARNING):
        assert stream.connect() is False
    assert "none.json is not there" in caplog.text
    assert stream.connected is False


def test_a_stream_connects_and_makes_dataset_and_table(bigquery: Emulator) -> None:
    options = {"dtypes": DTYPES, "api_endpoint": bigquery.url}
    stream = Stream2Bigquery("weather", str(bigquery.keys), PROJECT, bigquery.dataset(), "t", **options)  # type: ignore[arg-type]
    assert stream.connect() is stream.connected is True
    assert stream.cred is not None
    assert stream.client is not None
    assert stream.dataset is not None
    assert stream.table is not None
    assert [column.name for column in stream.table.schema] == list(DTYPES)
    assert stream.connect()


def test_a_frame_is_loaded_at_once_and_what_fails_is_loaded_with_the_next(
    bigquery: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    did = bigquery.dataset()
    stream = Stream2Bigquery("weather", str(bigquery.keys), PROJECT, did, "t", api_endpoint=bigquery.url)
    assert (stream.schema, stream.table) == (None, None)
    stream.stream(pd.DataFrame({"n": [1], "town": pd.Series(["a"], dtype=object)}))
    assert stream.connected
    assert [column.name for column in stream.table.schema] == ["n", "town"]  # type: ignore[attr-defined]
    assert stream.bq_schema == [{"name": "n", "type": "INTEGER"}, {"name": "town", "type": "STRING"}]
    bigquery.front.fail(UNAVAILABLE, times=2)
    stream.stream(pd.DataFrame({"n": [2]}), retry_depth=0)
    assert len(list((tmp_path / "STORE" / "upload_failed" / "weather" / "bigquery").iterdir())) == 1
    stream.stream(pd.DataFrame({"n": [3]}))
    assert bigquery.query(f"SELECT n FROM {did}.t ORDER BY n") == [(1,), (2,), (3,)]
