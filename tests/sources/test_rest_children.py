"""Requests made from a parent's records go on after a kill where they were, and leave none out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from api2db import Incremental, Rest, RestSource
from api2db.errors import ConfigError, SourceError
from tests.http_api import Answer
from tests.sources.rest_server import RestServer

# Account n has the orders n-0 to n-(n-1).
ACCOUNTS = [3, 0, 7, 2, 5]
ORDERS = [(str(account), f"{account}-{number}") for account in ACCOUNTS for number in range(account)]


@pytest.fixture
def server() -> Iterator[RestServer]:
    with RestServer([{"id": str(number), "who": {"name": f"n{number}"}} for number in ACCOUNTS], size=3) as api:
        yield api


@pytest.fixture
def orders(server: RestServer) -> RestSource:
    api = Rest(server.root)
    accounts = RestSource(api, "/accounts")
    return RestSource(api, "/accounts/{account}/orders", parent=accounts, parent_fields={"account": "id"})


def read(pages):
    return [(row["account"], row["order"]) for page in pages for row in page.records or ()]


def test_a_request_is_made_for_each_record_of_the_parent_and_its_fields_are_in_the_rows(orders, server):
    pages = list(orders(None))
    assert read(pages) == ORDERS
    assert pages[-1].cursor == {}
    assert len({request.path for request in server.requests}) == 1 + len(ACCOUNTS)


@pytest.mark.parametrize("value", ["..", ".", ""])
def test_a_parents_value_that_would_ask_for_another_path_is_refused(server, value):
    def accounts(body):
        return [{"a": "0", "b": ""}, {"a": value, "b": ""}, {"a": value[:1], "b": value[1:]}]

    api = Rest(server.root, retry=0)
    parent = RestSource(api, "/accounts", records=accounts)
    for path in ("/accounts/{a}/orders", "/accounts/{a}{b}", "/accounts/{b}{a}?x=1"):
        polled = RestSource(api, path, records="", parent=parent, parent_fields=["a", "b"], ignore=(404,))(None)
        with pytest.raises(SourceError, match=f"a record of the parent has .*{{a}} '{value}'.* asks for another path"):
            list(polled)
    assert {request.path for request in server.requests} <= {"/accounts", "/accounts/0/orders", "/accounts/0"}
    named = RestSource(api, "/accounts/{a}-1/orders", params={"q": "{a}"}, parent=parent, parent_fields=["a"])
    server.script(*[Answer(body=b"[]")] * 4)
    list(named(None))
    assert f"/accounts/{value}-1/orders" in {request.path for request in server.requests}


def test_killed_after_any_page_it_goes_on_there_and_nothing_comes_twice_or_never(orders):
    cursors = [page.cursor for page in orders(None)]
    for killed_after in range(len(cursors) - 1):
        pages = orders(None)
        before = [next(pages) for _ in range(killed_after + 1)]
        after = orders(json.loads(json.dumps(before[-1].cursor)))
        assert read(before) + read(after) == ORDERS


def test_a_page_of_parents_that_the_api_has_forgotten_is_begun_anew_from_the_first_one(server):
    api = Rest(server.root, retry=0)
    parents = RestSource(api, "/accounts")
    orders = RestSource(api, "/accounts/{account}/orders", parent=parents, parent_fields={"account": "id"})
    cursor = next(page.cursor for page in orders(None) if page.cursor.get("parent"))
    server.script(Answer(410))
    pages = list(orders(json.loads(json.dumps(cursor))))
    assert read(pages) == ORDERS
    assert pages[0].cursor["parent"] == {}, "and a kill goes on from there"


def test_parents_may_be_a_list_of_what_is_known_and_a_kill_goes_on_where_it_was(server):
    known = [{"account": str(number), "kind": f"k{number}"} for number in ACCOUNTS]
    source = RestSource(server.root, "/accounts/{account}/orders", parent=known)
    cursors = [page.cursor for page in source(None)]
    assert cursors[-1] == {}
    assert len(server.requests) == sum(max(1, -(-number // 3)) for number in ACCOUNTS), "nobody asks for the parents"
    for killed_after in range(len(cursors) - 1):
        pages = source(None)
        before = [next(pages) for _ in range(killed_after + 1)]
        after = source(json.loads(json.dumps(before[-1].cursor)))
        rows = [row for page in (*before, *after) for row in page.records or ()]
        assert [(row["account"], row["order"]) for row in rows] == ORDERS
        assert all(row["kind"] == "k" + row["account"] for row in rows)
    named = RestSource(server.root, "/accounts/{id}/orders", parent=known, parent_fields={"id": "account"})
    assert next(named(None)).records[0] == {"id": "3", "order": "3-0"}


def test_a_limit_of_pages_is_that_of_the_whole_poll_and_the_next_poll_goes_on(server):
    api = Rest(server.root)
    source = RestSource(
        api, "/accounts/{id_}/orders", parent=RestSource(api, "/accounts"), parent_fields={"id_": "id"}, max_pages=2
    )
    found, cursor, polls = [], None, 0
    while cursor != {}:
        pages = list(source(cursor))
        assert sum(bool(page.records) for page in pages) <= 2
        cursor, polls = pages[-1].cursor, polls + 1
        found += [row["order"] for page in pages for row in page.records or ()]
    assert found == [order for _, order in ORDERS]
    assert polls > 2


@pytest.mark.parametrize("limit", [{"max_pages": 1}, {"deadline": 0.000001}])
def test_a_limit_of_the_parents_is_gone_on_after_by_the_next_poll(server, limit):
    api = Rest(server.root)
    source = RestSource(
        api, "/accounts/{id_}/orders", parent=RestSource(api, "/accounts", **limit), parent_fields={"id_": "id"}
    )
    polls, cursor = [], None
    while cursor != {}:
        pages = list(source(json.loads(json.dumps(cursor))))
        polls.append([row["order"] for page in pages for row in page.records or ()])
        cursor = pages[-1].cursor
    assert polls == [
        [f"{account}-{number}" for account in accounts for number in range(account)]
        for accounts in (ACCOUNTS[:3], ACCOUNTS[3:])
    ]


@pytest.mark.parametrize("limit", [{"max_pages": 1}, {"deadline": 0.000001}], ids=str)
def test_each_poll_asks_about_another_parent_however_alike_they_are_and_however_long_reading_them_takes(server, limit):
    server.replace([{"id": "2"}, {"id": "2"}, {"id": "1"}, {"id": "2"}, {"id": "3"}])
    server.size = 4
    api = Rest(server.root)
    source = RestSource(
        api, "/accounts/{id_}/orders", parent=RestSource(api, "/accounts"), parent_fields={"id_": "id"}, **limit
    )
    polls, cursor = [], None
    for _ in range(3):
        pages = list(source(cursor))
        polls.append([row["order"] for page in pages for row in page.records or ()])
        cursor = json.loads(json.dumps(pages[-1].cursor))
    assert polls == [["2-0", "2-1"], ["1-0"], ["3-0", "3-1", "3-2"]]
    assert cursor == {}


def test_parents_that_are_all_asked_at_each_poll_can_have_no_limit():
    accounts = RestSource("http://127.0.0.1:9", "/accounts", max_pages=3)
    orders = RestSource("http://127.0.0.1:9", "/{id}/orders", parent=accounts, parent_fields=("id",))
    for parent in (accounts, orders):
        with pytest.raises(ConfigError, match=r"each poll needs all of the parent's records: .* without max_pages="):
            RestSource(
                "http://127.0.0.1:9", "/{id}", incremental=Incremental("n", "n", start=0), parent=parent,
                parent_fields=("id",),
            )  # fmt: skip


def test_a_parent_that_changed_has_its_page_begun_anew_and_none_is_left_out(orders, server):
    pages = orders(None)
    before = [next(pages) for _ in range(4)]
    assert before[-1].cursor["of"]
    server.replace([{"id": "9"}, {"id": "7"}, {"id": "8"}, {"id": "2"}])
    found = read(orders(before[-1].cursor))
    assert [order for account, order in found if account == "7"] == [f"7-{number}" for number in (6,)]
    assert {account for account, _ in found} == {"7", "8", "2"}
    server.replace([{"id": "4"}, {"id": "2"}])
    assert {account for account, _ in read(orders(before[-1].cursor))} == {"4", "2"}


def test_children_of_children_go_on_too(server):
    api = Rest(server.root)
    accounts = RestSource(api, "/accounts")
    orders = RestSource(api, "/accounts/{a}/orders", parent=accounts, parent_fields={"a": "id"})
    items = RestSource(api, "/link", params={"q": "{o}"}, parent=orders, parent_fields={"o": "order", "account": "a"})
    whole = list(items(None))
    rows = [(row["account"], row["o"], row["id"]) for page in whole for row in page.records or ()]
    assert rows == [(account, order, str(number)) for account, order in ORDERS for number in ACCOUNTS]
    cut = len(whole) // 2
    pages = items(None)
    cursor = [next(pages) for _ in range(cut)][-1].cursor
    further = list(items(json.loads(json.dumps(cursor))))
    assert [page.records for page in further] == [page.records for page in whole[cut:]]


def test_a_child_that_is_gone_is_passed_over_where_that_is_said(server):
    api = Rest(server.root)
    accounts = RestSource(api, "/accounts")
    options = {"parent": accounts, "parent_fields": {"n": "who.name"}}
    assert read(RestSource(api, "/gone/{n}", ignore=(404,), **options)(None)) == []
    with pytest.raises(SourceError, match="gone/n3 answered 404"):
        list(RestSource(api, "/gone/{n}", **options)(None))


def test_values_are_quoted_in_the_path_and_keep_their_type_in_a_body(server):
    server.script(Answer(body=b'[{"id": "a/b?c", "n": 7}]'))
    api = Rest(server.root)
    source = RestSource(
        api,
        "/link/{id_}",
        method="POST",
        json={"n": "{n}", "text": "n={n}", "all": ["{n}"]},
        parent=RestSource(api, "/accounts"),
        parent_fields={"id_": "id", "n": "n"},
    )
    list(source(None))
    asked = server.requests[1]
    assert asked.path == "/link/a%2Fb%3Fc"
    assert json.loads(asked.body) == {"n": 7, "text": "n=7", "all": [7]}


def test_a_field_that_the_rows_have_themselves_is_an_error_that_says_how_to_name_it(server):
    api = Rest(server.root)
    accounts = RestSource(api, "/accounts")
    with pytest.raises(SourceError, match=r"parent_fields=\{'parent_id': 'id'\}"):
        list(RestSource(api, "/link", params={"a": "{id}"}, parent=accounts, parent_fields=("id",))(None))


def test_a_parent_without_the_field_that_is_needed_is_an_error(server):
    api = Rest(server.root)
    source = RestSource(api, "/x/{nr}", parent=RestSource(api, "/accounts"), parent_fields={"nr": "number"})
    with pytest.raises(SourceError, match=r"no 'number', which the request names \{nr\}"):
        list(source(None))


PARENT = RestSource("http://127.0.0.1:9", "/accounts")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "/a/{id}/b"}, "names a field of a parent, but there is no parent="),
        ({"path": "/a", "parent_fields": ("id",)}, "and there is none"),
        ({"path": "/a/{idd}", "parent": PARENT, "parent_fields": ("id",)}, "isn't among .*did you mean 'id'"),
        ({"path": "/a", "parent": PARENT, "parent_fields": ("id",)}, "nothing of the parent is in the request"),
        ({"path": "/a/{id", "parent": PARENT}, "can't be filled in"),
        ({"path": "/a/{id.x}", "parent": PARENT}, "no name of a parent's field"),
        ({"path": "/a/{id}", "parent": "accounts"}, "parent= can't be str: a parent is another RestSource, or a list"),
        ({"path": "/a/{id}", "parent": ["accounts"]}, "can't be a list with .*: a parent is another"),
        ({"path": "/a/{id}", "parent": []}, "names none"),
        ({"path": "/a/{id}", "parent": [{"id": 1}, {"di": 1}]}, "record 1 of parent= has other fields"),
        ({"path": "/a/{id}", "parent": [{"id": 1}, {"id": 1}]}, "has .'id': 1. twice"),
        ({"path": "/a/{idd}", "parent": [{"id": 1}]}, "isn't among .*did you mean 'id'"),
        ({"path": "/a/{id}", "parent": PARENT, "parent_fields": {"id": "a..b"}}, "an empty part"),
        ({"records": "a..b"}, "an empty part"),
        ({"records": 7}, "neither a path"),
        ({"paging": "offset"}, "no way of paging"),
        ({"max_pages": 0}, "at least 1"),
        ({"deadline": "soon"}, "not a duration"),
        ({"json": {}, "body": b""}, "not both"),
        ({"json": object()}, "can't be sent as JSON"),
        ({"params": {"a": b"x"}}, "parameter 'a' can't be bytes"),
        ({"variables": {}}, "those of a query="),
        ({"query": "{ a }", "json": {}}, "query= or a body"),
        ({"query": "query($after: String) { a }", "records": "a"}, "doesn't ask for pageInfo"),
        ({"pagign": None}, "no option 'pagign'; did you mean 'paging'"),
        ({"deadline_s": -1}, "more than 0"),
        ({"max_bytes": "many"}, "is not a size"),
        ({"rates": "1/s"}, "no option 'rates'; did you mean 'rate'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_when_the_project_starts_with_file_and_line(options, told):
    with pytest.raises(ConfigError, match=rf"^sources/test_rest_children.py:\d+: (?!sources).*{told}"):
        RestSource("http://127.0.0.1:9", **options)


def test_an_option_of_the_api_is_said_there():
    with pytest.raises(ConfigError, match="an option of the Rest that is given"):
        RestSource(Rest("http://127.0.0.1:9"), rate="1/s")


@pytest.mark.parametrize("base", ["api.example.org", "ftp://example.org", "", 7])
def test_a_base_that_is_no_address_is_refused(base):
    with pytest.raises(ConfigError, match="an address that begins with https://"):
        Rest(base)
