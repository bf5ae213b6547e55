"""A store into BigQuery: the files of a folder, composed, in the table once."""

from __future__ import annotations

from pathlib import Path

import pytest

from api2db.store import Store2Bigquery
from tests.bigquery import PROJECT, Emulator
from tests.google_front import ANSWER_LOST
from tests.store_kit import Shop, names_in, write_file, write_files


def test_a_store_loads_the_files_of_a_folder_once_though_the_answer_is_lost(
    bigquery: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "in", 3)
    write_file(tmp_path / "in" / "again.parquet", (tmp_path / "in" / "1.parquet").read_bytes())
    did = bigquery.dataset()
    store = Store2Bigquery(
        "weather",
        3600,
        str(bigquery.keys),
        PROJECT,
        did,
        "t",
        path="in",
        move_shards_path="done",
        load_every=0,
        api_endpoint=bigquery.url,
    )
    bigquery.front.fail(ANSWER_LOST, lambda seen: seen.is_load)
    shop = Shop(tmp_path, store)
    try:
        assert shop.run() == ("ok", None)
        shop.close()
        shop = Shop(tmp_path, store)
        assert shop.run() == ("ok", None)
        assert (names_in(tmp_path / "in"), len(names_in(tmp_path / "done"))) == ([], 4)
        rows = bigquery.query(f"SELECT id, text FROM {did}.t ORDER BY id")
        assert rows == [(number, f"row {number}") for number in range(30)]
        assert bigquery.front.loads[f"{did}.t"] == 1
        assert shop.audit().holds is True
    finally:
        shop.close()
