"""``Stream2Omnisci`` as it is documented."""

from __future__ import annotations

import datetime as dt
import json
import logging
from decimal import Decimal

import pandas as pd
import pytest

from api2db.stream import Stream2Omnisci
from tests.omnisci.kit import DATABASE, PASSWORD, USER


def stream(peer, name="rain", **changes) -> Stream2Omnisci:
    given = {"db_name": DATABASE, "username": USER, "password": PASSWORD, "host": "127.0.0.1", "port": peer.port}
    return Stream2Omnisci(name, **{**given, **changes})


def test_a_missing_credential_is_a_value_error_that_names_it():
    with pytest.raises(ValueError, match="password, host missing; or give auth_path"):
        Stream2Omnisci("rain", "db", "user")


def test_an_invalid_auth_file_is_a_value_error_that_names_the_file(tmp_path):
    path = tmp_path / "auth.json"
    for text in ("{", '{"username": "u"}', '{"url": "sqlite:///x"}', '{"user": "u"}'):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ValueError, match=r"auth\.json"):
            Stream2Omnisci("rain", "db", auth_path=str(path))
    with pytest.raises(ValueError, match=r"nowhere\.json is not there"):
        Stream2Omnisci("rain", "db", auth_path=str(tmp_path / "nowhere.json"))


def test_a_protocol_there_is_not_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="binary, http, https"):
        Stream2Omnisci("rain", "db", "u", "p", "h", protocol="ftp")


def test_it_reads_its_auth_file_and_shows_no_password(tmp_path):
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"username": "u", "password": "not to be seen", "host": "h"}))
    path.chmod(0o600)
    made = Stream2Omnisci("rain", "db", auth_path=str(path), protocol="https")
    assert (made.username, made.host, made.stream_type) == ("u", "h", "omnisci")
    assert made.log_str == "omnisci://h:6278/db table=rain_stream"
    assert made.target(tmp_path, tmp_path) == "omnisci://h:6278/db/rain_stream"
    assert "not to be seen" not in repr(made._login) + made.log_str


def test_text_becomes_categories_and_names_get_their_suffix():
    frame = pd.DataFrame({"id": [1, 2], "town": ["a", None], "at": pd.to_datetime(["2026-01-01", None])})
    cast = Stream2Omnisci.cast_categorical(frame, frame.dtypes)
    assert list(cast.columns) == ["id_t", "town_t", "at_t"]
    assert isinstance(cast["town_t"].dtype, pd.CategoricalDtype)
    assert cast["id_t"].tolist() == [1, 2]
    assert list(frame.columns) == ["id", "town", "at"]


def test_only_text_becomes_categories_whatever_else_a_column_of_objects_holds():
    columns = {
        "list": [["a"], None], "dict": [{"a": 1}, {}], "date": [dt.date(2026, 1, 1), None], "mixed": ["a", 1],
        "decimal": [Decimal("1.5"), None], "text": ["a", None], "nothing": [None, None], "bytes": [b"a", b"b"],
    }  # fmt: skip
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    for dtypes in (frame.dtypes, dict.fromkeys(columns, str)):
        cast = Stream2Omnisci.cast_categorical(frame, dtypes)
        assert [name for name in cast.columns if cast[name].dtype == "category"] == ["text_t", "nothing_t"]
        assert cast["list_t"].tolist() == [["a"], None]


def test_connect_gives_the_clients_connection(peer, caplog):
    one = stream(peer)
    assert not one.connected()
    con = one.connect()
    assert con is one.con
    assert one.connected()
    assert one.connected(con)
    assert not one.connected(None)
    assert con.get_tables() == []
    con.close()
    con._transport.close()
    logging.getLogger("api2db").propagate = True
    bad = stream(peer, password="not to be seen")
    assert bad.connect() is None
    assert not bad.connected()
    assert "Invalid credentials" in caplog.text
    assert "not to be seen" not in caplog.text


def test_a_frame_is_loaded_at_once_and_what_fails_is_kept_and_loaded_later(peer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = stream(peer)
    one.stream(pd.DataFrame({"id": [1], "town": ["a"]}))
    peer.kill()
    one.stream(pd.DataFrame({"id": [2], "town": ["b"]}), retry_depth=0)
    assert len(list((tmp_path / "STORE" / "upload_failed" / "rain" / "omnisci").glob("*.parquet"))) == 1
    peer.start()
    one.check_failures()
    assert peer.query("SELECT id_t, town_t FROM rain_stream ORDER BY id_t") == [(1, "a"), (2, "b")]
    assert not list((tmp_path / "STORE" / "upload_failed" / "rain" / "omnisci").glob("*.parquet"))
