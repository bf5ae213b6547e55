"""Programs written for the documented API run as they are: killed again and again, they lose and double nothing."""

from __future__ import annotations

import collections
import json

import pandas as pd
import pytest

from api2db.layout import Layout
from api2db.runtime.status import read_status
from api2db.stream.file_converter import FileConverter
from tests.compat.feed import ROWS, Feed
from tests.compat.kit import Program
from tests.project_kit import eventually


def auth(server) -> dict[str, str]:
    return {"username": server.user, "password": server.password, "host": server.host}


@pytest.fixture
def started(tmp_path):
    """``started(name, Feed(...), AUTH files)``: the program, its environment to be added; ended after the test."""
    made = []

    def make(name, feed, **files):
        program = Program(tmp_path, name, feed, **files)
        made.append(program)
        return program

    yield make
    for program in made:
        program.close()
        program.feed.close()


def ids_of(rows) -> list[int]:
    return [row[0] for row in rows]


def weather(number, ids):
    """Each row has its own way to be odd."""
    odd = [
        {"temp": "21.5", "meta": {"stations": "12"}, "rain": 0, "snow": 1, "town": "Aachen", "note": "x", "wind": 3},
        {"temp": "n/a", "meta": {}, "snow": None, "town": None, "wind": "strong"},
        {"temp": None, "meta": {"stations": "many"}, "rain": "", "snow": "no", "town": "NaN", "note": "null"},
        {"meta": None, "rain": [0], "town": "nil", "note": 5, "wind": "1e3"},
    ]
    return {"data": {"rows": [{"id": str(key), **odd[key % 10]} for key in ids]}}


def test_features_of_all_types_and_what_stands_for_missing_values(started, postgres, database):
    feed = Feed(weather=weather)
    program = started("features", feed, sql_auth=auth(postgres))
    program.env |= {"DB": database, "PORT": str(postgres.port)}
    program.killed_at("sink.committed:2", "spool.renamed:3")
    program.run_to_the_end()
    rows = postgres.psql("SELECT * FROM weather", database)
    feed.audit("weather", ids_of(rows))
    expected = {
        0: (21.5, 12, False, True, "Aachen", "x", 3.0),
        1: (-1.5, -1, True, False, "unknown", None, None),
        2: (-1.5, -1, False, True, "unknown", None, None),
        3: (-1.5, -1, True, False, "unknown", "5", 1000.0),
    }
    assert {row[0] % 10: row[1:] for row in rows} == expected
    frame = program.parquet("STORE/weather/parquet")
    feed.audit("weather", frame["id"])
    assert sorted(frame["id"]) == sorted(ids_of(rows))


def orders(number, ids):
    """Two items in one order, one in a dict, one swapped; and an order without items."""
    if not ids:
        return {"shop": {"name": "none"}, "round": 0, "orders": []}
    item = [{"id": key, "item": f"thing {key}", "price": key + 0.5} for key in ids]
    item[2] |= {"item": item[2]["price"], "price": item[2]["item"]}
    rows = [
        {"customer": "a", "items": item[:2]},
        {"customer": "b", "items": item[2]},
        {"customer": "c", "items": [item[3]]},
        {"customer": "d"},
        {"customer": "e", "items": {"id": 1, "item": "priceless"}},
    ]
    return {"shop": {"name": "corner"}, "round": str(number), "orders": rows}


def test_globals_flattened_lists_and_swapped_values(started, postgres, database):
    feed = Feed(orders=orders)
    program = started("orders", feed)
    program.env |= {"DB": database, "PORT": str(postgres.port), "DB_HOST": postgres.host}
    program.env |= {"DB_USER": postgres.user, "DB_PASSWORD": postgres.password}
    program.killed_after(3)
    program.killed_at("sink.loaded:3", "spool.fanned_out:2")
    program.run_to_the_end()
    rows = postgres.psql("SELECT id, customer, item, price, shop, round, region FROM orders", database)
    feed.audit("orders", ids_of(rows))
    customers = {0: "a", 1: "a", 2: "b", 3: "c"}
    for key, *values in rows:
        assert values == [customers[key % 10], f"thing {key}", key + 0.5, "corner", key // 10, None]
    files = [json.loads(path.read_text()) for path in (program.folder / "out" / "orders").glob("*.json")]
    feed.audit("orders", [row["id"] for rows in files for row in rows])
    # debug=False: on the console only what needs attention.
    assert "accepted" in program.log("orders")
    assert "accepted collector=" not in program.console


def prices(number, ids):
    nets = ["1", 2, None, 4]
    days = ["31.12.2025", "01.02.2026", "03.02.2026", "2026-02-04"]
    return {
        "prices": [
            {"id": key, "name": f"p{key}", "net": nets[key % 10], "day": days[key % 10]}
            for key in ids
        ]
    }  # fmt: skip


def test_every_post_processor(started, mariadb, mariadb_database):
    feed = Feed(prices=prices)
    program = started("prices", feed, sql_auth=auth(mariadb))
    program.env |= {"DB": mariadb_database, "PORT": str(mariadb.port)}
    program.killed_at("sink.ledger:2")
    program.killed_after(3)
    program.run_to_the_end()
    columns = "id, name, net, year, gross, label, DATE_FORMAT(day, '%Y-%m-%d %T')"
    rows = mariadb.query(f"SELECT {columns} FROM prices", mariadb_database)
    # The third has no price, the fourth no day: DropNa.
    feed.audit("prices", ids_of(rows), dropped=(2, 3))
    for key, *values in rows:
        day = "2025-12-31 00:00:00" if key % 10 == 0 else "2026-02-01 00:00:00"
        net = key % 10 + 1
        assert values == [f"P{key}", net, 2026, net * 1.5, f"P{key}!", day]
    frames = [pd.read_csv(path) for path in (program.store / "prices" / "csv").glob("*.csv")]
    feed.audit("prices", pd.concat(frames)["id"], dropped=(2, 3))


def test_merge_static_with_what_other_collectors_keep_fresh(started):
    feed = Feed(
        towns=lambda number, ids: {"rows": [{"station": key % 10, "town": f"t{number}"} for key in ids]},
        owners=lambda number, ids: {"rows": [{"station": key % 10, "owner": number} for key in ids[:2]]},
        readings=lambda number, ids: {"rows": [{"id": key, "station": key % 10} for key in ids]},
    )
    program = started("stations", feed)
    program.killed_at("spool.written:1")
    program.killed_after(9)
    program.killed_at("local.prepared:4")
    program.run_to_the_end(9)
    frame = program.parquet("out/readings")
    feed.audit("readings", frame["id"])
    assert list(frame.columns) == ["id", "station", "town", "owner"]
    # The first town of a station stays, as DataFrame.drop_duplicates has it; owners are those of the newest answer.
    assert frame.groupby("station")["town"].nunique().eq(1).all()
    assert frame["town"].notna().all()
    assert frame[frame["station"] < 2]["owner"].notna().all()
    assert frame[frame["station"] > 1]["owner"].isna().all()
    towns = pd.read_pickle(program.folder / "CACHE" / "towns_static.pickle")
    assert sorted(towns["station"]) == list(range(ROWS))


def levels(number, ids):
    return [{"id": key, "level": key / 4, "river": f"r{key % 10}", "high": key % 2 == 1} for key in ids]


def test_files_in_three_modes_and_four_formats(started, monkeypatch):
    feed = Feed(levels=levels)
    program = started("files", feed)
    program.killed_at("local.publishing:9", "spool.linked:5")
    program.killed_after(3)
    program.run_to_the_end()
    monkeypatch.chdir(program.folder)
    dtypes = FileConverter(name="levels").build_dtypes()
    served = feed.served("levels")
    for fmt in ("parquet", "json", "pickle", "csv"):
        shards = FileConverter.static_compose_df_from_dir(f"STORE/levels/{fmt}/", fmt, move_shards_path="read/")
        update = FileConverter.static_load_df(f"CACHE/levels_static.{fmt}", fmt, dtypes)
        replace = FileConverter.static_load_df(f"out/newest.{fmt}", fmt, dtypes)
        rivers = FileConverter.static_load_df(f"out/rivers.{fmt}", fmt, dtypes)
        assert shards is not None
        feed.audit("levels", shards["id"])
        assert sorted(update["id"]) == sorted(shards["id"])
        assert sorted(replace["id"]) == sorted(shards["id"])[-ROWS:]
        assert rivers["river"].tolist() == [f"r{row}" for row in range(ROWS)]
        assert rivers["id"].tolist() == sorted(shards["id"])[:ROWS]
        assert (update["level"] * 4 == update["id"]).all()
        assert (update["high"] == update["id"] % 2).all()
    assert served >= 4


def test_stores_load_what_a_stream_has_sharded(started, postgres, database, mariadb, mariadb_database):
    """Each row is served, and so stored, twice but for the poll that brought it."""
    feed = Feed(
        tides=lambda number, ids: {"rows": [{"id": key, "level": key / 4, "port": f"p {key}"} for key in ids * 2]}
    )
    program = started("stores", feed, sql_auth=auth(postgres))
    program.env |= {"DB": database, "PORT": str(postgres.port), "MY_DB": mariadb_database, "MY_USER": mariadb.user}
    program.env |= {"MY_PASSWORD": mariadb.password, "MY_HOST": mariadb.host, "MY_PORT": str(mariadb.port)}
    program.killed_at("composing.planned:1")
    program.killed_after(3)
    program.run_to_the_end()
    # The newest files are left until nobody can be writing to them.
    folders = [program.folder / "STORE" / "tides" / "parquet", program.folder / "shards" / "csv"]
    process = program.start(env=program.env)
    eventually(lambda: not any(any(folder.glob("*.*")) for folder in folders), what="empty folders")
    eventually(lambda: not program.waiting(), what="delivery")
    assert program.stop(process) == 0, program.console
    for ids in (
        ids_of(postgres.psql("SELECT id FROM tides", database)),
        ids_of(mariadb.query("SELECT id FROM tides", mariadb_database)),
        sorted(set(program.parquet("shards/loaded")["id"])),
    ):
        feed.audit("tides", ids)
    stores = {each.collector: each for each in read_status(Layout(program.store)).collectors}
    assert set(stores) == {"tides", "tides.store.sql.postgresql", "tides.store.sql.mariadb"}
    assert stores["tides.store.sql.postgresql"].rows == len(ids)
    assert (program.folder / "shards" / "composed").is_dir()


def test_several_streams_of_one_collector_each_have_every_row(started, postgres, database, mariadb, mariadb_database):
    second = postgres.create_database()
    try:
        feed = Feed(events=lambda number, ids: {"events": [{"id": key, "what": f"e\t'{key}"} for key in ids]})
        program = started("fanout", feed, postgres=auth(postgres))
        program.env |= {"PG_PORT": str(postgres.port), "PG_DB_1": database, "PG_DB_2": second}
        program.env |= {"MY_DB": mariadb_database, "MY_USER": mariadb.user, "MY_PASSWORD": mariadb.password}
        program.env |= {"MY_HOST": mariadb.host, "MY_PORT": str(mariadb.port)}
        program.killed_at("sink.committed:4", "spool.linked:6", "journal.delivered:5")
        program.killed_after(4)
        program.run_to_the_end()
        found = [
            ids_of(postgres.psql("SELECT id FROM events", database)),
            ids_of(postgres.psql("SELECT id FROM events", second)),
            ids_of(mariadb.query("SELECT id FROM events", mariadb_database)),
            program.parquet("STORE/events/parquet")["id"].tolist(),
            program.parquet("archive")["id"].tolist(),
        ]
        for ids in found:
            feed.audit("events", ids)
        assert len({tuple(sorted(ids)) for ids in found}) == 1
        assert {text for (text,) in postgres.psql("SELECT what FROM events", second)} == {
            f"e\t'{key}" for key in found[0]
        }
    finally:
        postgres.drop_database(second)


def test_tables_replaced_by_each_poll_and_tables_that_may_not_be_there(started, postgres, database):
    def rows(number, ids):
        return {"rows": [{"id": key, "poll": number} for key in ids]}

    feed = Feed(newest=rows, fresh=rows, taken=rows)
    program = started("snapshot", feed, sql_auth=auth(postgres))
    program.env |= {"DB": database, "PORT": str(postgres.port)}
    postgres.psql("CREATE TABLE taken (id bigint, poll bigint); INSERT INTO taken VALUES (1, 1)", database)
    program.killed_at("sink.committed:3", "spool.renamed:5")
    program.killed_after(9)
    program.run_to_the_end(9, stays=["sql.postgresql"])
    # Somebody else's table: nothing is added, nothing is lost, the other stream has it all.
    assert postgres.psql("SELECT * FROM taken", database) == [(1, 1)]
    feed.audit("taken", program.parquet("STORE/taken/parquet")["id"])
    kept = [path for path in program.waiting() if path.parent.parent.name == "taken"]
    assert sorted(pd.concat(pd.read_parquet(path) for path in kept)["id"]) == sorted(
        program.parquet("STORE/taken/parquet")["id"]
    )
    assert "taken" in program.log("taken")
    # A table of one's own is filled.
    feed.audit("fresh", ids_of(postgres.psql("SELECT id FROM fresh", database)))
    # A replacement is the newest poll, whole.
    newest = postgres.psql("SELECT id, poll FROM newest ORDER BY id", database)
    assert len(newest) == ROWS
    assert {poll for _, poll in newest} == {max(program.parquet("STORE/newest/parquet")["poll"])}


def test_classes_of_ones_own(started, postgres, database):
    def customers(number, ids):
        rows = [{"id": key, "name": "test" if key % 10 == 3 else "Ann", "points": key} for key in ids]
        return {"answer": {"customers": rows}}

    feed = Feed(customers=customers)
    program = started("own_classes", feed, sql_auth=auth(postgres))
    program.env |= {"DB": database, "PORT": str(postgres.port)}
    program.killed_at("sink.committed:2", "journal.delivered:4")
    program.killed_after(4)
    program.run_to_the_end()
    rows = postgres.psql("SELECT id, name, points FROM customers", database)
    feed.audit("customers", ids_of(rows), dropped=[3])
    assert all((name, points) == ("***", 2 * key) for key, name, points in rows)
    frame = program.parquet("STORE/customers/parquet")
    feed.audit("customers", frame["id"])
    assert set(frame["tag"]) == {"customers"}
    # What a class does by itself is done at least once: nothing is missing, and what is there twice was under way.
    lines = [int(line) for line in (program.folder / "journal.txt").read_text().split()]
    feed.audit("customers", set(lines))
    assert set(lines) == set(frame["id"])
    assert max(collections.Counter(lines).values()) <= 3


def test_streams_without_collectors(started, postgres, database):
    feed = Feed(called=lambda number, ids: ids, queued=lambda number, ids: ids, filed=lambda number, ids: ids)
    program = started("alone", feed, sql_auth=auth(postgres))
    program.env |= {"DB": database, "PORT": str(postgres.port)}
    program.killed_after(6)
    program.killed_at("sink.committed:3", "spool.renamed:4")
    process = program.start(env=program.env)
    before = len(feed.requests)
    eventually(lambda: len(feed.requests) >= before + 6 or process.poll() is not None, what="answers")
    assert process.poll() is None, program.console
    feed.end()
    (program.folder / "stop").touch()
    assert process.wait(60) == 0, program.console
    assert program.waiting() == []
    feed.audit("called", ids_of(postgres.psql("SELECT id FROM called", database)))
    feed.audit("queued", ids_of(postgres.psql("SELECT id FROM queued", database)))
    feed.audit("filed", program.parquet("shards")["id"])


def test_shards_composed_while_they_come_in(started):
    feed = Feed(numbers=lambda number, ids: ids)
    program = started("compose", feed)
    program.killed_after(7, 9, 5)
    program.run_to_the_end(8)
    for fmt, read in (("parquet", pd.read_parquet), ("csv", pd.read_csv)):
        folder, sharded, composed = (program.folder / name / fmt for name in ("STORE/numbers", "sharded", "composed"))
        # The program may have ended in the middle of composing: the next compose finishes that, then composes the rest.
        FileConverter.static_compose_df_from_dir(
            path=f"{folder}/", fmt=fmt, move_shards_path=f"{sharded}/", move_composed_path=f"{composed}/"
        )
        assert not list(folder.glob(f"*.{fmt}"))
        for target in (sharded, composed):
            feed.audit("numbers", [key for path in target.glob(f"*.{fmt}") for key in read(path)["id"]])


def test_an_api_that_is_not_always_there(started, mariadb, mariadb_database):
    def tickets(number, ids):
        return {"answer": number, "tickets": [{"id": key, "title": "None" if key % 10 else "t"} for key in ids]}

    feed = Feed(tickets=tickets, loud=lambda number, ids: ids)
    program = started("flaky", feed, sql_auth=auth(mariadb), api_keys={"key": "k1"})
    program.env |= {"DB": mariadb_database, "PORT": str(mariadb.port)}
    program.killed_after(14, per_poll=2)
    program.killed_at("spool.renamed:6", "sink.committed:2", per_poll=2)
    program.run_to_the_end(16)
    rows = mariadb.query("SELECT id, title, answer FROM tickets", mariadb_database)
    feed.audit("tickets", ids_of(rows))
    assert all((title, answer) == (None if key % 10 else "t", key // 10) for key, title, answer in rows)
    feed.audit("tickets", program.parquet("STORE/tickets/parquet")["id"])
    feed.audit("loud", program.parquet("STORE/loud/parquet")["id"])
    assert all(request.headers["X-Key"] == "k1" for request in feed.requests if request.path == "/tickets")
    # What fails is told in the collector's log, with what the program itself says there.
    assert "the API said no" in program.log("tickets")
    assert "about to fail, poll 3" in program.log("tickets")
    assert not (program.folder / "LOGS" / "disabled.log").exists()
    assert "accepted collector=loud" in program.console
    assert "accepted collector=tickets" not in program.console


def test_a_project_as_pmake_made_it(started):
    def data(number, ids):
        return {"data": [{"id": key} for key in ids]}

    feed = Feed(rain=data, sun=data)
    program = started("project", feed)
    program.killed_after(5)
    program.killed_at("spool.renamed:3")
    program.run_to_the_end(6)
    for name in ("rain", "sun"):
        feed.audit(name, program.parquet(f"STORE/{name}/parquet")["id"])
    assert not (program.store / "snow").exists()
