"""A store into HeavyDB's peer: the files of a folder, composed, in the table once."""

from __future__ import annotations

import json

from api2db.store import Store2Omnisci
from tests.omnisci.kit import DATABASE, PASSWORD, USER
from tests.store_kit import Shop, names_in, write_file, write_files


def test_a_store_loads_the_files_of_a_folder_once(peer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "in", 3)
    write_file(tmp_path / "in" / "again.parquet", (tmp_path / "in" / "1.parquet").read_bytes())
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"username": USER, "password": PASSWORD, "host": "127.0.0.1", "port": peer.port}))
    auth.chmod(0o600)
    store = Store2Omnisci("weather", 3600, DATABASE, auth_path=str(auth), path="in", move_shards_path="done")
    shop = Shop(tmp_path, store)
    try:
        assert shop.run() == ("ok", None)
        assert (names_in(tmp_path / "in"), len(names_in(tmp_path / "done"))) == ([], 4)
        assert shop.run() == ("ok", None)
        rows = peer.query("SELECT id_t, text_t FROM weather_stream ORDER BY id_t")
        assert rows == [(number, f"row {number}") for number in range(30)]
        assert shop.audit().holds is True
    finally:
        shop.close()
