"""Networks and servers that lose, reset and never answer: the load ends, says why, and is in once when repeated."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import make_url

from api2db.batch import Receipt
from api2db.chaos.proxy import Fate, Proxy
from api2db.errors import RetryableError
from api2db.sinks.sql import SqlSink
from tests.contract.conftest import MakeSink
from tests.contract.places import Place, Quarantine, batch, load

pytestmark = pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)

COMMIT = {"postgresql": b"COMMIT\0", "mariadb": b"\x03COMMIT"}
PLAIN = {"postgresql": {"sslmode": "disable"}, "mariadb": {"ssl_mode": "disabled"}}


def test_a_connection_that_is_lost_at_any_moment_costs_a_repeat_and_no_row(place: Place) -> None:
    with Proxy(place.url.host or "", place.url.port or 0, b"unused") as proxy:
        url = place.url.set(port=proxy.port).update_query_dict({**PLAIN[place.name], "read_timeout": "1"})
        sink = SqlSink(stream="s", url=url, table="t")
        load(sink, batch({"id": [0], "x": ["first"]}))
        moments = [
            (Fate.RESET, b"amidst the rows"),
            (Fate.UNANSWERED, b"amidst the rows"),
            (Fate.RESET, b"_api2db_ledger"),
            (Fate.UNANSWERED, b"_api2db_ledger"),
            (Fate.RESET, COMMIT[place.name]),
            (Fate.UNANSWERED, COMMIT[place.name]),
            (Fate.ANSWER_LOST, COMMIT[place.name]),
        ]
        for number, (fate, needle) in enumerate(moments, 1):
            one = batch({"id": [number] * 3, "x": ["before", "amidst the rows", "behind"]})
            proxy.arm(fate, needle)
            with pytest.raises(RetryableError, match="stream s: table t"):
                load(sink, one)
            assert proxy.cut.is_set()
            again = sink.load([one], Quarantine())
            assert again == [Receipt(one.batch_id, 3, duplicate=fate is Fate.ANSWER_LOST)], (fate, needle)
        sink.close()
    assert place.query("SELECT id, count(*) FROM t GROUP BY id ORDER BY id") == [(0, 1), *((n, 3) for n in range(1, 8))]


def test_a_server_that_accepts_and_never_says_a_word_is_given_up(place: Place, make_sink: MakeSink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = make_url(place.url).set(port=silent.getsockname()[1]).update_query_dict({"connect_timeout": "2"})
        with pytest.raises(RetryableError, match=r"stream weather/sql: table t: .*(time|lost)"):
            make_sink(url=url, table="t").connect()
