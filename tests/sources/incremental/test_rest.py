"""A REST client that asks for what is new alone."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from api2db import Incremental, Page, Rest, RestSource, collector
from api2db.errors import ConfigError, SourceError
from api2db.failpoint import arm_disk
from api2db.runtime.isolated.granting import Granting
from api2db.runtime.isolated.remote import RemotePoll
from api2db.sources.context import POLL, PollContext, PutOff
from api2db.sources.net.hosts import Hosts
from api2db.sources.net.retries import Retries
from api2db.sources.rest import PageNumber, Single
from tests.http_api import OK, SERVER_ERROR, TOO_MANY, Answer
from tests.sources.incremental.server import START, SinceServer, at, event
from tests.sources.net.kit import Polls


@pytest.fixture
def server():
    with SinceServer([event(number) for number in range(25)]) as api:
        yield api


@contextmanager
def polled(folder: Path | None = None):
    """As in the daemon, but that nothing is remembered of answers."""
    token = POLL.set(PollContext("events", seen=folder))
    try:
        yield
    finally:
        POLL.reset(token)


def poll(source, cursor=None, folder=None):
    """The ids of one poll, and the cursor after it."""
    ids = []
    with polled(folder):
        for page in source(cursor):
            ids += [record["id"] for record in page.records or ()]
            cursor = json.loads(json.dumps(page.cursor))
    return ids, cursor


def events(server, path="/events", **options):
    options = {"start": at(0), "lag": "5m", "order": "ascending", **options}
    return RestSource(Rest(server.root, retry=0), path, params={"since": Incremental("at", **options)})


def test_only_what_is_new_is_asked_for_and_delivered(server):
    source = events(server)
    ids, cursor = poll(source)
    assert ids == list(range(25))
    server.add(event(25), event(99, 23.5))
    ids, cursor = poll(source, cursor)
    assert ids == [99, 25], "the late one too, and none of those that were seen again"
    assert server.asked[0] == {"since": at(0)}
    assert server.asked[-1] == {"since": at(19)}, "the newest less the lag"
    assert poll(source, cursor) == ([], cursor)


def test_a_record_that_changed_is_delivered_again_and_one_that_only_looks_older_is_not(server):
    source = events(server, identity=("id", "state"))
    _, cursor = poll(source)
    server.replace([event(number, state="paid" if number == 23 else None, views=number) for number in range(25)])
    assert poll(source, cursor)[0] == [23]


def test_a_poll_that_ends_at_any_page_goes_on_at_the_next(server):
    source = events(server, lag=None)
    ids, cursor = [], None
    for _ in range(3):
        with polled():
            page = next(source(cursor))
        ids += [record["id"] for record in page.records]
        cursor = page.cursor
    assert ids == list(range(25))
    assert [one.get("page", "1") for one in server.asked] == ["1", "2", "3"]


def numbered(server, paging, order=None, **options):
    new = {"since": Incremental("at", start=at(0), order=order)}
    return RestSource(Rest(server.root, retry=0), "/events", params=new, records="items", paging=paging, **options)


@pytest.mark.parametrize("order", [None, "ascending"])
@pytest.mark.parametrize("paging", [PageNumber(10), PageNumber()], ids=str)
def test_a_short_last_page_is_asked_for_again_by_the_poll_that_goes_on_and_what_fills_it_is_new(server, paging, order):
    source, ids, cursor = numbered(server, paging, order), [], None
    server.script(OK, OK, OK, SERVER_ERROR)
    with polled(), pytest.raises(SourceError, match="500"):
        for page in source(None):
            ids += [record["id"] for record in page.records]
            cursor = json.loads(json.dumps(page.cursor))
    server.add(*(event(number) for number in range(25, 34)))
    more, cursor = poll(source, cursor)
    assert (ids, more) == (list(range(25)), list(range(25, 34)))
    assert [one["page"] for one in server.asked[:7]] == ["1", "2", "3", "4", "3", "4", "5"]
    assert poll(source, cursor)[0] == []


@pytest.mark.parametrize("limit", [{"max_pages": 1}, {"deadline": 0}], ids=str)
def test_a_poll_that_is_cut_short_brings_a_page_however_often_the_one_before_is_asked_for_again(server, limit):
    source, polls, cursor = numbered(server, PageNumber(), **limit), [], None
    for _ in range(3):
        ids, cursor = poll(source, cursor)
        polls.append(ids)
    assert polls == [list(range(10)), list(range(10, 20)), list(range(20, 25))]


def test_windows_are_asked_for_one_after_the_other_and_never_again(server):
    day = 24 * 60
    server.replace([event(number, number * day) for number in range(25)])
    new = Incremental("at", "since", start=at(0), window="10d", until_param="until", order="ascending")
    source = RestSource(server.root, "/events", incremental=new)
    ids, cursor = poll(source)
    assert ids == list(range(25))
    ends = [(one["since"], one["until"]) for one in server.asked]
    assert ends[:2] == [(at(0), at(10 * day)), (at(10 * day), at(20 * day))]
    assert ends[-1][0] in (at(20 * day), at(30 * day)), "the last one goes up to now"
    before = len(ends)
    server.add(event(25, (dt.datetime.now(dt.UTC) - START).total_seconds() / 60 - 1))
    assert poll(source, cursor)[0] == [25]
    assert len(server.asked) == before + 1


def test_a_window_of_which_the_api_says_that_there_is_nothing_is_over(server):
    day = 24 * 60
    server.replace([event(number, number * day) for number in range(20, 25)])
    server.empty_is_404 = True
    new = Incremental("at", "since", start=at(0), window="10d", until_param="until")
    ids, cursor = poll(RestSource(server.root, "/events", incremental=new, ignore=(404,)))
    assert (ids, server.asked[1]["since"]) == (list(range(20, 25)), at(10 * day))
    assert "walk" not in cursor["since"]


def test_newest_first_pages_are_read_until_one_is_known():
    with SinceServer([event(number) for number in range(30)], newest_first=True) as server:
        source = RestSource(server.root, "/events", incremental=Incremental("at", order="newest_first", format="iso"))
        ids, cursor = poll(source)
        assert ids == list(range(29, -1, -1))
        server.add(*(event(number) for number in range(30, 45)))
        before = len(server.requests)
        ids, cursor = poll(source, cursor)
        assert ids == list(range(44, 29, -1))
        assert [one.get("page", "1") for one in server.asked[before:]] == ["1", "2"]


def test_an_answer_that_is_unchanged_is_asked_for_once_and_nothing_behind_it():
    with SinceServer([event(number) for number in range(30)], newest_first=True) as server:
        source = RestSource(server.root, "/events", incremental=Incremental("at", order="newest_first", format="iso"))
        cursor, state = None, {}
        for requests, news in ((3, 30), (1, 5), (1, 0)):
            before, token = len(server.requests), POLL.set(context := PollContext("events", state=dict(state)))
            pages = list(source(cursor))
            POLL.reset(token)
            cursor, state = pages[-1].cursor if pages else cursor, context.state
            assert (len(server.requests) - before, sum(len(page.records) for page in pages)) == (requests, news)
            if news == 30:
                server.add(*(event(number) for number in range(30, 35)))


def test_newest_first_pages_that_were_cut_short_leave_no_gap():
    with SinceServer([event(number) for number in range(30)], newest_first=True) as server:
        source = RestSource(server.root, "/events", incremental=Incremental("at", order="newest_first", format="iso"))
        with polled():
            page = next(source(None))
        ids = [record["id"] for record in page.records]
        server.add(*(event(number) for number in range(30, 37)))
        more, cursor = poll(source, page.cursor)
        assert sorted(ids + more) == list(range(37)), "those of the gap, and those that came meanwhile, each once"
        assert poll(source, cursor)[0] == []


def test_what_may_come_again_is_beside_the_cursor_where_it_is_much(server, tmp_path):
    source = events(server, lag="1d")
    _, cursor = poll(source, folder=tmp_path / "seen")
    assert len(json.dumps(cursor)) < 200
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["events.1"]
    server.add(event(25))
    assert poll(source, cursor, tmp_path / "seen")[0] == [25]


def test_a_collector_s_own_process_is_told_where_that_is(tmp_path):
    given = Granting(PollContext("events", seen=tmp_path)).given
    assert RemotePoll.of(given, lambda call: None).seen == tmp_path


def test_without_what_was_seen_the_source_says_so_instead_of_delivering_twice(server, tmp_path):
    source = events(server, lag="1d")
    _, cursor = poll(source, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(SourceError, match=r"events\.1 .*damaged.* lacks records .* api2db reset --to VALUE"):
        poll(source, cursor, tmp_path)
    file.unlink()
    with pytest.raises(SourceError, match=r"No such file.*put it back"):
        poll(source, cursor, tmp_path)
    assert poll(source, at(20), tmp_path)[0] == [20, 21, 22, 23, 24], "as after api2db reset --to"


@pytest.mark.parametrize("change", range(1, 13))
def test_a_full_disk_fails_the_poll_and_what_was_not_accepted_comes_with_the_next(server, tmp_path, change):
    source, ids, cursor = events(server, lag="1d"), [], None
    server.add(*(event(number) for number in range(25, 45)))
    arm_disk(f"ENOSPC@{change}@{tmp_path}")
    try:
        with (
            polled(tmp_path / "seen"),
            pytest.raises(SourceError, match=r"can't be written.*No space left.*nothing of"),
        ):
            for page in source(None):
                ids += [record["id"] for record in page.records]
                cursor = json.loads(json.dumps(page.cursor))
    finally:
        arm_disk(f"ENOSPC@999999@{tmp_path}")
    assert ids + poll(source, cursor, tmp_path / "seen")[0] == list(range(45))


@pytest.mark.parametrize("change", [1, 4, 8])
def test_a_full_disk_while_one_partition_is_read_loses_nothing_of_it_to_the_cursor_of_another(tmp_path, change):
    with SinceServer([], size=30) as server:
        server.accounts = {name: [event(100 * ord(name) + number, number) for number in range(30)] for name in "abc"}
        how = Incremental("at", "since", start=at(0), lag="1d", partitions=["a", "b", "c"], partition_param="account")
        source, ids, cursor = RestSource(server.root, "/events", incremental=how, records="items"), [], None
        arm_disk(f"ENOSPC@{change}@{tmp_path}")
        try:
            with polled(tmp_path / "seen"), pytest.raises(SourceError, match=r"can't be written.*No space left"):
                for page in source(None):
                    ids += [record["id"] for record in page.records]
                    cursor = json.loads(json.dumps(page.cursor))
        finally:
            arm_disk(f"ENOSPC@999999@{tmp_path}")
        ids += poll(source, cursor, tmp_path / "seen")[0]
        assert ids == [record["id"] for name in "abc" for record in server.accounts[name]]


@pytest.mark.parametrize("status", [410, 200])
def test_a_step_the_api_forgot_is_begun_anew_and_nothing_is_delivered_twice(server, tmp_path, status):
    source = events(server)
    with polled(tmp_path):
        page = next(source(None))
    server.script(Answer(status, b'{"ok": false, "error": "cursor expired"}'))
    ids, _ = poll(source, page.cursor, tmp_path)
    assert [record["id"] for record in page.records] + ids == list(range(25))
    assert {"since": at(9)} in server.asked, "from the last record that was accepted on"


def test_each_partition_has_a_cursor_of_its_own_and_one_that_fails_holds_up_no_other(server):
    server.accounts = {name: [event(number, account=name) for number in range(3)] for name in "abc"}
    how = Incremental("at", "since", start=at(1), partitions=["a", "b", "c"], partition_param="account")
    source = RestSource(Rest(server.root, retry=0), "/events", incremental=how)
    server.script(Answer(body=b'{"items": [{"id": 9, "at": "whenever"}]}'))
    with (
        polled(),
        pytest.raises(SourceError, match=r"1 of 3 partitions failed \(a\), the others went on; a: .*'whenever'"),
    ):
        pages = []
        for page in source(None):
            pages.append(page)
    assert [(one["account"], one["id"]) for page in pages for one in page.records] == [
        ("b", 1),
        ("b", 2),
        ("c", 1),
        ("c", 2),
    ]
    server.accounts["b"].append(event(7, account="b"))
    ids, cursor = poll(source, pages[-1].cursor)
    assert ids == [1, 2, 7], "what a had all along, and b's new one"
    assert set(cursor["since"]["parts"]) == {"a", "b", "c"}


def early(source, cursor, state=None):
    """The ids of a poll with a budget of its own, which may put it off, and the cursor after it."""
    ids, context = [], PollContext("events", state=state or {}, hosts=Hosts())
    token = POLL.set(context)
    try:
        for page in source(cursor):
            ids += [record["id"] for record in page.records or ()]
            cursor = json.loads(json.dumps(page.cursor))
    except PutOff:
        return ids, cursor, state or {}
    finally:
        POLL.reset(token)
    return ids, cursor, context.state


def accounts_of(server, how, **options):
    """By partitions, by a parent's records, or asked by a function; a new one each time: nobody holds it back."""
    options = {"paging": Single(), "records": "items", **options}
    limits = {name: options.pop(name) for name in ("rate",) if name in options}
    api = Rest(server.root, retry=Retries(retries=0, max_wait_s=0.01), **limits)
    if how == "parent":
        new = Incremental("at", "since", start=at(0))
        parent = RestSource(server.root, "/accounts", paging=Single(), records="items")
        fields = {"account": "id"}
        return RestSource(
            api, "/accounts/{account}/events", incremental=new, parent=parent, parent_fields=fields, **options
        )
    new = Incremental("at", "since", start=at(0), partitions=["a", "b", "c", "d", "e"], partition_param="account")
    if how == "partitions":
        return RestSource(api, "/events", incremental=new, **options)
    return lambda cursor: (
        Page(page.records(), page.cursor) for page in api.pages("/events", incremental=new, cursor=cursor, **options)
    )


@pytest.mark.parametrize("limit", [{"max_pages": 2}, {"deadline": 0}, {"rate": "2/h"}], ids=str)
@pytest.mark.parametrize("how", ["partitions", "parent", "function"])
def test_a_poll_that_ends_early_is_gone_on_with_the_partition_behind_however_quiet_all_are(server, how, limit):
    server.accounts = {name: [event(ord(name))] for name in "abcde"}
    found, cursor = [], None
    for _ in range(6):
        ids, cursor, _ = early(accounts_of(server, how, **limit), cursor)
        found += ids
    assert sorted(found) == [ord(name) for name in "abcde"]
    server.accounts["d"].append(event(7, 200))
    ids = [early(accounts_of(server, how, **limit), cursor)]
    for _ in range(4):
        ids.append(early(accounts_of(server, how, **limit), ids[-1][1]))
    assert [found for found, _, _ in ids if found] == [[7]]


def test_a_partition_that_is_told_to_wait_at_each_poll_holds_up_no_other(server):
    server.accounts = {name: [event(ord(name))] for name in "abc"}
    server.failing["/accounts/b/events"] = TOO_MANY
    found, cursor = [], None
    for _ in range(3):
        ids, cursor, _ = early(accounts_of(server, "parent"), cursor)
        found += ids
    assert found == [ord("a"), ord("c")]
    del server.failing["/accounts/b/events"]
    assert early(accounts_of(server, "parent"), cursor)[0] == [ord("b")]


def test_partitions_that_somebody_had_begin_elsewhere_do_so_whichever_poll_comes_to_them(server):
    server.accounts = {name: [event(ord(name)), event(ord(name) + 100)] for name in "abc"}
    ids, cursor, _ = early(accounts_of(server, "parent", max_pages=1), at(150))
    for _ in range(2):
        more, cursor, _ = early(accounts_of(server, "parent", max_pages=1), cursor)
        ids += more
    assert ids == [ord(name) + 100 for name in "abc"]


def test_a_partition_that_fails_fails_the_poll_also_where_a_limit_ends_it(server):
    server.accounts = {name: [event(ord(name))] for name in "abc"}
    server.failing["/accounts/a/events"] = SERVER_ERROR
    with pytest.raises(SourceError, match=r"1 of 3 partitions failed \(a\), the others went on"):
        early(accounts_of(server, "parent", max_pages=1), None)
    assert [request.path for request in server.requests][1:] == ["/accounts/a/events", "/accounts/b/events"]


def limited(server, how, limit, **new):
    """Asked by a declared source, or by a function."""
    what = {"records": "items", "paging": PageNumber(), "incremental": Incremental("at", "since", start=at(0), **new)}
    api = Rest(server.root, retry=0)
    if how == "source":
        return RestSource(api, "/events", **what, **limit)

    def source(cursor):
        for page in api.pages("/events", cursor=cursor, **what, **limit):
            yield page.rows()

    return source


@pytest.mark.parametrize("limit", [{"max_pages": 1}, {"deadline": 0}], ids=str)
@pytest.mark.parametrize("order", [None, "ascending"])
@pytest.mark.parametrize("how", ["source", "function"])
def test_what_is_new_behind_pages_that_are_unchanged_comes_however_few_pages_a_poll_may_ask_for(
    how, order, limit, tmp_path
):
    with SinceServer([event(number) for number in range(5)], size=3) as server:
        polls = Polls(tmp_path, limited(server, how, limit, order=order, lag="1d"))
        for count in (5, 8, 12):
            server.replace([event(number) for number in range(count)])
            for _ in range(12):
                assert polls.poll() == ("ok", None)
            assert sorted(row["id"] for rows in polls.rows for row in rows) == list(range(count))
        polls.close()


@pytest.mark.parametrize("order", [None, "ascending"])
def test_what_fills_a_page_that_was_unchanged_is_not_passed_over_where_a_poll_goes_on_behind_it(order, tmp_path):
    with SinceServer([event(number) for number in range(2)], size=3) as server:
        polls = Polls(tmp_path, limited(server, "source", {"max_pages": 1}, order=order))
        for count in (2, 5, 8):
            server.replace([event(number) for number in range(count)])
            for _ in range(8):
                polls.poll()
            assert sorted(row["id"] for rows in polls.rows for row in rows) == list(range(count))
            while '"walk"' not in str(polls.shards.cursor):  # behind the first page, which is as it was
                assert polls.poll() == ("ok", None)
        polls.close()


def test_an_api_that_is_away_fails_the_poll_at_once_however_many_partitions_there_are(server):
    how = Incremental("at", "since", start=at(1), partitions=["a", "b", "c"], partition_param="account")
    source = RestSource(Rest(server.root, retry=0), "/events", incremental=how)
    server.close()
    with pytest.raises(SourceError, match=r"Connection refused") as error:
        poll(source)
    assert "partitions failed" not in str(error.value)


def test_each_record_of_a_parent_has_a_cursor_of_its_own_and_a_new_one_begins_at_the_start(server):
    server.accounts = {"a": [event(1)], "b": [event(2), event(3)]}
    source = RestSource(
        Rest(server.root, retry=0),
        "/accounts/{account}/events",
        params={"since": Incremental("at", start=at(0), lag="5m")},
        parent=RestSource(server.root, "/accounts"),
        parent_fields={"account": "id"},
    )
    with polled():
        pages = list(source(None))
    assert [record for page in pages for record in page.records] == [
        {"account": "a", **event(1)},
        {"account": "b", **event(2)},
        {"account": "b", **event(3)},
    ]
    server.accounts |= {"a": [event(1), event(9)], "c": [event(4)]}
    assert sorted(poll(source, pages[-1].cursor)[0]) == [4, 9]


def test_each_of_a_list_of_parents_has_a_cursor_of_its_own_too(server):
    server.accounts = {"a": [event(1)], "b": [event(2), event(3)]}

    def source(*names):
        new = {"since": Incremental("at", start=at(0), lag="5m"), "account": "{name}"}
        return RestSource(Rest(server.root), "/events", params=new, parent=[{"name": one} for one in names])

    with polled():
        pages = list(source("a", "b")(None))
    rows = [record for page in pages for record in page.records]
    assert rows == [{"name": name, **one} for name, found in server.accounts.items() for one in found]
    server.accounts |= {"a": [event(1), event(9)], "c": [event(4)]}
    assert sorted(poll(source("a", "b", "c"), pages[-1].cursor)[0]) == [4, 9]


def test_a_function_that_asks_page_by_page_gets_what_is_new(server):
    api = Rest(server.root)

    def recent(cursor):
        for page in api.pages("/events", since=Incremental("at", start=at(20), lag="2m"), cursor=cursor):
            yield page.rows("items", number="id:int")

    with polled():
        (first,) = recent(None)
    assert first.records.table.to_pylist() == [{"number": number} for number in range(20, 25)]
    server.add(event(25))
    with polled():
        (second,) = recent(json.loads(json.dumps(first.cursor)))
    assert second.records.table.to_pylist() == [{"number": 25}]


def test_a_function_that_yields_what_is_new_without_the_cursor_after_it_is_told_so(server):
    api = Rest(server.root)

    def pages(cursor):
        return api.pages("/events", since=Incremental("at", start=at(0)), cursor=cursor)

    def bare(cursor):
        for page in pages(cursor):
            yield page.records()

    def at_once(cursor):
        rows = [record for page in pages(cursor) for record in page.records()]
        return rows

    def whole(cursor):
        rows = []
        for page in pages(cursor):
            rows += page.records()
        yield Page(rows, page.cursor)

    for function in (bare, at_once):
        with polled(), pytest.raises(SourceError, match=r"yield page.rows\(...\), or Page\(rows, page.cursor\)"):
            list(collector(every="1m", name="events")(function).poll(None))
    with polled():
        (page,) = collector(every="1m", name="events")(whole).poll(None)
    assert len(page.records) == 25


def test_records_that_are_all_older_than_what_was_asked_for_are_told_once(server, caplog):
    server.replace([{"id": number, "at": 1_772_366_400 + number} for number in range(3)])
    server.ignores_bounds = True
    source = RestSource(server.root, "/events", params={"since": Incremental("at:ms", start="2026-01-01")})
    ids, cursor = poll(source)
    assert (ids, poll(source, cursor)[0]) == ([], [])
    (told,) = [record.getMessage() for record in caplog.records]
    assert "older than what was asked for" in told
    assert "'at:ms'" in told


def test_what_is_new_may_be_asked_for_in_the_body(server):
    source = RestSource(
        server.root,
        "/events",
        method="POST",
        json={"filter": {"state": "open"}},
        incremental=Incremental("at", "filter.since", start=at(23), sent_in="json"),
    )
    assert poll(source)[0] == [23, 24]
    assert json.loads(server.requests[0].body) == {"filter": {"state": "open", "since": at(23)}}


def test_what_is_new_may_be_asked_for_in_a_list_of_the_body(server):
    search = {"filter": {}, "filterGroups": [{"filters": [{"propertyName": "at", "operator": "GTE"}]}, {}]}
    source = RestSource(
        server.root,
        "/events",
        method="POST",
        json=search,
        incremental=Incremental(
            "at", {"filterGroups.0.filters.0.value": "{since}", "filterGroups.-1.n": "1"}, start=at(23), sent_in="json"
        ),
    )
    poll(source)
    groups = [{"filters": [{"propertyName": "at", "operator": "GTE", "value": at(23)}]}, {"n": "1"}]
    assert json.loads(server.requests[0].body) == search | {"filterGroups": groups}
    for param in ("filterGroups.2.value", "filterGroups.value", "filterGroups.0.filters.0.operator.x"):
        how = Incremental("at", param, start=at(23), sent_in="json")
        source = RestSource(server.root, "/events", method="POST", json=search, incremental=how)
        with pytest.raises(ConfigError, match=f"the field '{param}' can't be set in the body"):
            poll(source)


@pytest.mark.parametrize("param", ["n", None], ids=["param", "value"])
def test_a_partition_is_sent_in_the_body_as_it_was_declared_beside_a_number_that_says_what_is_new(server, param):
    new = Incremental("id", param, start=1, sent_in="json", partitions=["acme", "12", 13], partition_param="of.account")
    given = {"incremental": new} if param else {"params": {"n": new}}
    source = RestSource(server.root, "/events", method="POST", json={"filter": {}}, **given)
    poll(source)
    sent = [json.loads(request.body) for request in server.requests]
    assert [one["of"]["account"] for one in sent[::3]] == ["acme", "12", 13], "each has three pages"
    assert {one["n"] for one in sent} == {1}


def test_an_answer_that_fails_is_no_partition_s_end(server):
    source = events(server)
    server.script(SERVER_ERROR)
    with pytest.raises(SourceError, match="500"):
        poll(source)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"field": "at"}, "give start="),
        ({"field": "at", "start": "2026", "format": "sometimes"}, "one of iso, iso-naive"),
        ({"field": "at", "start": at(0), "zone": "Mars/Olympus"}, "no time zone"),
        ({"field": "at", "start": "yesterday", "format": "iso"}, "'yesterday' is no value of 'at'"),
        ({"field": "at", "start": at(0), "lag": "soon"}, "'soon' is not a duration"),
        ({"field": "n", "start": 5, "lag": "1h"}, "'1h' isn't a number"),
        ({"field": "n", "start": "abc", "lag": "1h"}, "lag and window need times or numbers"),
        ({"field": "at", "start": at(0), "order": "newest"}, "'ascending', 'newest_first' or None"),
        ({"field": "at", "start": at(0), "window": "1d"}, "until_param"),
        ({"field": "at", "window": "1d", "until_param": "to", "format": "iso"}, "needs start="),
        ({"field": "n", "start": 5, "window": 10, "until_param": "to"}, "window= needs times"),
        ({"field": "at", "start": at(0), "window": "1h", "until_param": "to", "format": "date"}, "shorter than"),
        ({"field": "at", "start": at(0), "format": "%H:%M"}, "leaves out the year"),
        ({"field": "at", "start": at(0), "param": {"q": "all"}}, "no {since}"),
        ({"field": "at", "start": at(0), "partitions": ["a"]}, "belong together"),
        ({"field": "at", "start": at(0), "partitions": "ab", "partition_param": "p"}, "each once"),
        ({"field": "id", "format": "opaque"}, "order='ascending'"),
        ({"field": "at", "start": at(0), "sent_in": "head"}, "'params' or 'json'"),
        ({"field": "a..b", "start": at(0)}, "empty part"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_mistake_is_told_when_it_is_declared(options, said):
    with pytest.raises(ConfigError, match=r"^Incremental\('") as error:
        Incremental(**options)
    assert said in str(error.value)


def test_a_table_that_each_poll_replaces_is_not_replaced_with_what_is_new_alone(server):
    token = POLL.set(PollContext("events", whole=True))
    try:
        with pytest.raises(ConfigError, match=r"replaces the table.*key="):
            list(events(server)(None))
    finally:
        POLL.reset(token)


def test_a_second_incremental_in_one_poll_is_refused(server):
    with polled():
        list(events(server)(None))
        with pytest.raises(ConfigError, match="a collector for each"):
            list(events(server)(None))


def test_a_mistake_in_a_request_is_told_with_its_line(server):
    new = Incremental("at", start=at(0))
    for make in (
        lambda: RestSource(server.root, params={"since": new}, incremental=new),
        lambda: RestSource(server.root, params={"since": Incremental("at", "from", start=at(0))}),
        lambda: Rest(server.root).pages("/events", since=new),
    ):
        with pytest.raises(ConfigError, match=r"^incremental/test_rest\.py:\d+: .*Incremental"):
            make()


def test_records_that_are_not_as_declared_are_an_error_that_says_which(server):
    with pytest.raises(SourceError, match="aren't 'newest_first' by 'at'"):
        poll(events(server, order="newest_first"))
    with pytest.raises(SourceError, match="'when' is in none of the 10 records"):
        poll(RestSource(server.root, "/events", incremental=Incremental("when", start=at(0))))
    with pytest.raises(SourceError, match="nothing at identity='uuid'"):
        poll(events(server, identity="uuid"))
    with pytest.raises(SourceError, match="the cursor is one of partitions"):
        poll(events(server), {"since": {"parts": {"a": {}}}})
    with pytest.raises(SourceError, match=r"isn't one of 'at' .* api2db reset"):
        poll(events(server), {"since": {"high": "z"}})
    with pytest.raises(SourceError, match=rf"holds '{at(0)}' in record 1 of a page: it is no number"):
        poll(RestSource(server.root, "/events", incremental=Incremental("at:ms", start=at(0))))
