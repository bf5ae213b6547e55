"""However an API pages, whatever it has and wherever its reader is killed: every record comes, and none twice."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db import Incremental, Page, Rest, RestSource
from api2db.errors import ConfigError, SourceError
from api2db.sources.context import POLL, PollContext, PutOff
from api2db.sources.net.fetcher import Fetched, Fetcher
from api2db.sources.net.hosts import Hosts
from api2db.sources.net.retries import Retries
from api2db.sources.rest import LinkHeader, NextCursor, NextUrl, OffsetLimit, PageNumber
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.walk import Walk
from tests.http_api import HANG, OK, Answer
from tests.project_kit import Project, eventually
from tests.sources.rest_server import RestServer

QUERY = "query ($after: String) { feed { events(after: $after) { nodes pageInfo { hasNextPage endCursor } } } }"
PAGED = {
    "link": {"paging": LinkHeader()},
    "url": {"paging": NextUrl("links.next")},
    "cursor": {"paging": NextCursor("meta.next_cursor", "cursor")},
    "header_cursor": {"paging": NextCursor(header="X-Next", param="continue")},
    "last_id": {"paging": NextCursor(last="id", param="starting_after", has_more="has_more")},
    "offset": {"paging": OffsetLimit(4, total="total")},
    "silent_offset": {"paging": OffsetLimit(4)},
    "number": {"paging": PageNumber(4, pages="total_pages")},
    "silent_number": {"paging": PageNumber()},
    "last_again": {"paging": PageNumber(repeat_ends=True)},
    "graphql": {"query": QUERY, "records": "feed.events"},
}
FOUND = {"link": {}, "url": {}, "cursor": {}, "offset": {"params": {"limit": 4}}, "number": {"params": {"per_page": 4}}}


@pytest.fixture(scope="module")
def server() -> Iterator[RestServer]:
    with RestServer([]) as api:
        yield api


@pytest.fixture
def fresh() -> Iterator[RestServer]:
    with RestServer([]) as api:
        yield api


def json_of(value):
    return Answer(body=json.dumps(value).encode())


@given(data=st.data(), count=st.integers(0, 17), size=st.integers(1, 6))
@settings(max_examples=30)
def test_killed_after_any_pages_every_record_comes_once(server, data, count, size):
    path = data.draw(st.sampled_from(sorted(PAGED) + [f"{name} found" for name in sorted(FOUND)]))
    options = FOUND[path.removesuffix(" found")] if path.endswith(" found") else PAGED[path]
    server.size = size
    server.replace([{"id": str(number)} for number in range(count)])
    source = RestSource(server.root, "/" + path.removesuffix(" found"), **options)
    read, cursor = [], None
    while True:
        kept = data.draw(st.integers(1, 6), label="pages until the kill")
        for page, _ in zip(source(cursor), range(kept), strict=False):
            read += [record["id"] for record in page.records]
            cursor = json.loads(json.dumps(page.cursor))
        if cursor == {}:
            break
    assert read == [str(number) for number in range(count)]


@dataclass
class Remembering:
    """The seam of conditional requests: what was asked before and is as it was has no answer, but its memo."""

    fetcher: Fetcher
    memos: dict[str, object] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def fetch(
        self, ask: Ask, *, conditional: bool = True, repeatable: bool | None = None, whole: object = None
    ) -> Fetched:
        known = ask.identity() in self.memos and ask.url not in self.changed
        if conditional and known:
            return Fetched(None, self.memos[ask.identity()])
        fetched = self.fetcher.fetch(ask, conditional=conditional, repeatable=repeatable)
        assert fetched.answer is not None
        noted = Fetched(fetched.answer)
        noted.remember = lambda memo: self.memos.__setitem__(ask.identity(), memo)  # type: ignore[method-assign]
        return noted


DELTA = NextUrl(r"@odata\.nextLink", keep=r"@odata\.deltaLink")


def polled_once(source, cursor, pages=None):
    """Ids, and the cursor after so many pages, as it is read back."""
    taken, brought = 0, []
    for page in source(cursor):
        brought += [record["id"] for record in page.records]
        cursor, taken = json.loads(json.dumps(page.cursor)), taken + 1
        if taken == pages:
            break
    return brought, cursor


def test_the_address_of_what_changed_since_is_where_the_next_poll_begins_also_after_a_kill(fresh):
    def odata(*numbers, **link):
        return json_of({"value": [{"id": number} for number in numbers], **{f"@odata.{k}": v for k, v in link.items()}})

    source = RestSource(fresh.root, "/users/delta", records="value", paging=DELTA)
    fresh.script(odata(1, 2, nextLink="/p2"))
    brought, cursor = polled_once(source, None, pages=1)
    fresh.script(odata(3, deltaLink="/users/delta?token=a"))
    more, cursor = polled_once(source, cursor)
    assert (brought, more) == ([1, 2], [3])
    for token, numbers in (("b", [2]), ("b", []), ("c", [9])):
        fresh.script(odata(*numbers, deltaLink=f"/users/delta?token={token}"))
        brought, cursor = polled_once(source, cursor)
        assert brought == numbers
    fresh.script(Answer(204, b""))
    assert polled_once(source, cursor) == ([], cursor), "nothing is new, and nothing is forgotten"
    asked = [request.params.get("token") for request in fresh.requests]
    assert asked == [None, None, "a", "b", "b", "c"]
    fresh.script(odata(1))
    with pytest.raises(
        SourceError, match=r"there is no address at '@odata\\\\.deltaLink' for the next poll to begin with"
    ):
        polled_once(source, None)


@pytest.mark.parametrize(
    ("paging", "last"),
    [
        (NextCursor("after", "cursor", has_more="!end", keep=True), {"after": "c2", "end": True}),
        (NextCursor("next", "cursor", keep="sync"), {"sync": "c2"}),
        (NextUrl("url", has_more="!end", keep=True), {"url": "/x?cursor=c2", "end": True}),
    ],
)
def test_an_api_s_cursor_that_is_kept_is_what_the_next_poll_sends(fresh, paging, last):
    source = RestSource(fresh.root, "/x", records="items", paging=paging)
    fresh.script(*(json_of({"items": [{"id": number}], **last}) for number in (1, 2)))
    _, cursor = polled_once(source, None)
    assert polled_once(source, cursor) == ([2], cursor)
    assert [request.params.get("cursor") for request in fresh.requests] == [None, "c2"]


def test_after_the_last_record_the_next_poll_goes_on_also_where_none_came(fresh):
    source = RestSource(fresh.root, "/x", records="items", paging=NextCursor(last="id", param="after", keep=True))
    cursor = None
    for pages in ([[1, 2], []], [[]], [[3], []]):
        fresh.script(*(json_of({"items": [{"id": number} for number in some]}) for some in pages))
        brought, cursor = polled_once(source, cursor)
        assert brought == pages[0]
    assert cursor == {"next": {"cursor": 3}}


def test_a_cursor_that_could_not_be_kept_is_refused(fresh):
    with pytest.raises(ConfigError, match="keep= needs a cursor to keep it in: give cursor="):
        list(Rest(fresh.root).pages("/x", paging=DELTA))
    with pytest.raises(ConfigError, match="both say where the next poll begins"):
        list(Rest(fresh.root).pages("/x", since=Incremental("at", start="2026-01-01"), cursor=None, paging=DELTA))
    with pytest.raises(ConfigError, match="keep= goes with requests that stand for themselves"):
        RestSource(fresh.root, "/x/{a}", paging=DELTA, parent=RestSource(fresh.root, "/a"), parent_fields=["a"])
    token = POLL.set(PollContext(whole=True))
    try:
        with pytest.raises(ConfigError, match="keep= brings what is new alone"):
            list(RestSource(fresh.root, "/x", paging=DELTA)(None))
    finally:
        POLL.reset(token)
    assert not fresh.requests


def test_pages_that_are_unchanged_are_gone_through_and_bring_nothing(server):
    server.size = 2
    server.replace([{"id": number} for number in range(5)])
    source = RestSource(server.root, "/link", paging=LinkHeader())
    fetcher = Remembering(source.rest.fetcher)

    def poll(cursor):
        pages = Walk(source.plan, fetcher, cursor).pages()  # type: ignore[arg-type]
        return [([record["id"] for record in page.records()], page.cursor) for page in pages]

    assert [ids for ids, _ in poll(None)] == [[0, 1], [2, 3], [4]]
    assert poll({}) == [], "nothing changed, and the cursor is where it was"
    fetcher.changed = {f"{server.root}/link?at=2"}
    assert poll({}) == [([2, 3], {"next": {"url": f"{server.root}/link?at=4"}}), ([], {})]
    assert [cursor for _, cursor in poll({"next": {"url": f"{server.root}/link?at=4"}})] == [{}], "the cursor is told"


def test_a_page_that_its_reader_stopped_at_is_asked_for_in_full_since_what_follows_is_not_known(server):
    server.size = 2
    server.replace([{"id": number} for number in range(5)])
    source = RestSource(server.root, "/link", paging=LinkHeader())
    fetcher = Remembering(source.rest.fetcher)
    next(Walk(source.plan, fetcher, None).pages())  # type: ignore[arg-type]
    fetcher.memos[source.plan.first.identity()] = None
    pages = Walk(source.plan, fetcher, None).pages()  # type: ignore[arg-type]
    assert [record["id"] for page in pages for record in page.records()] == [0, 1, 2, 3, 4]


def test_where_a_loop_is_left_at_a_page_each_time_that_is_said_once(server, caplog, monkeypatch):
    monkeypatch.setattr("api2db.sources.rest.walk._told", set())
    source = RestSource(server.root, "/link", paging=LinkHeader())
    fetcher = Remembering(source.rest.fetcher)
    fetcher.memos[source.plan.first.identity()] = None
    for _ in range(2):
        next(Walk(source.plan, fetcher, None).pages())
    assert caplog.text.count("read the pages to their end, or say how many with max_pages=") == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_next_page_that_an_unchanged_one_told_and_nobody_knows_any_more_is_found_anew(server, caplog, status):
    server.size = 2
    server.replace([{"id": number} for number in range(5)])
    source = RestSource(server.root, "/link", paging=LinkHeader(), retry=0)
    fetcher = Remembering(source.rest.fetcher)

    def poll():
        return [record["id"] for page in Walk(source.plan, fetcher, None).pages() for record in page.records()]

    assert poll() == [0, 1, 2, 3, 4]
    first = source.plan.first.identity()
    fetcher.memos = {first: {"next": {"url": f"{server.root}/link?at=0&cursor=expired"}}}
    server.script(Answer(status))
    assert poll() == [0, 1, 2, 3, 4]
    memo = fetcher.memos[first]
    assert isinstance(memo, dict)
    assert memo["next"] == {"url": f"{server.root}/link?at=2"}, "and the next poll goes on there"
    assert poll() == []
    assert caplog.text.count(f"answered {status} to where it went on before: its pages are read anew") == 1
    fetcher.memos = {first: {"next": {"url": f"{server.root}/link?at=0&cursor=expired"}}}
    server.script(Answer(status), Answer(status))
    with pytest.raises(SourceError, match=f"answered {status}"):
        poll()


@pytest.mark.parametrize("cursor", ["2026-02-01", 7, {"next": "a"}, ["x"]])
def test_a_cursor_that_no_page_had_is_an_error_that_says_what_to_do(server, cursor):
    with pytest.raises(SourceError, match=r"api2db reset; or, .* params=\{'cursor': \.\.\.\}"):
        list(RestSource(server.root, "/link")(cursor))


COLLECTOR = """
    from api2db import RestSource, collector

    accounts = RestSource("{root}", "/accounts")
    orders = collector(every="1s", to=["database"], name="orders")(
        RestSource("{root}", "/accounts/{{account}}/orders", parent=accounts, parent_fields={{"account": "id"}})
    )
"""


def test_a_daemon_killed_in_the_middle_of_a_parents_children_goes_on_at_the_page_it_was_at(server, tmp_path):
    accounts = [4, 1, 5]
    server.size = 2
    server.replace([{"id": str(number)} for number in accounts])
    project = Project(tmp_path, orders=COLLECTOR.format(root=server.root))
    before = len(server.requests)
    # Two accounts, two pages of the first one's orders, one of the second's; the third account, two of its pages.
    server.script(*[OK] * 6, HANG)
    try:
        process = project.start()
        eventually(lambda: len(server.requests) == before + 7, what="the seventh request hangs")
        project.stop(process, signal.SIGKILL)
        asked = server.paths[before:]
        server.release()
        process = project.start()
        eventually(lambda: len(project.sqlite("SELECT 1 FROM orders")) >= sum(accounts), what="all are there")
        project.stop(process)
    finally:
        project.close()
    rows = [row for (row,) in project.sqlite('SELECT "order" FROM orders LIMIT 10')]
    assert rows == [f"{account}-{number}" for account in accounts for number in range(account)]
    again = server.paths[before + 7 :]
    assert again[:2] == [asked[4], asked[6]], "the parents' page that was worked on, and the request that was cut off"


@pytest.mark.parametrize("declared", [True, False], ids=["source", "function"])
@pytest.mark.parametrize("max_pages", [None, 1])
def test_a_page_that_came_before_and_was_pushed_to_where_a_poll_goes_on_is_passed_over(server, declared, max_pages):
    """Killed after a page; then just as many records as it has come in on top."""
    server.size = 2
    server.replace([{"id": number} for number in range(6)])
    paging = OffsetLimit(2)

    def pages(cursor):
        if declared:
            return RestSource(server.root, "/silent_offset", paging=paging, max_pages=max_pages)(cursor)
        found = Rest(server.root).pages("/silent_offset", paging=paging, max_pages=max_pages, cursor=cursor)
        return (page.rows() for page in found)

    killed = pages({})
    first = next(killed)
    server.replace([{"id": number} for number in (8, 9, *range(6))])
    read, cursor = [], first.cursor
    while cursor:
        for page in pages(json.loads(json.dumps(cursor))):
            read += [record["id"] for record in page.records or ()]
            cursor = page.cursor
    assert read == [2, 3, 4, 5]


@pytest.mark.parametrize("max_pages", [None, 1])
@pytest.mark.parametrize(("path", "paging"), [("silent_number", PageNumber(param="p")), ("offset", OffsetLimit(10))])
def test_where_a_poll_goes_on_and_gets_the_same_page_again_and_again_it_stays_there(server, path, paging, max_pages):
    server.replace([{"id": number} for number in range(25)])
    source = RestSource(server.root, f"/{path}", paging=paging, max_pages=max_pages)
    page = next(source(None))
    server.always(Answer(body=json.dumps(page.records).encode()))
    for _ in range(2):
        with pytest.raises(SourceError, match="ignores what asks for the next one"):
            assert not any(each.records or each.cursor != page.cursor for each in source(page.cursor))
    server.always(None)


def test_a_poll_that_is_put_off_behind_a_page_that_came_again_stays_there(server):
    server.replace([{"id": number} for number in range(25)])
    api = Rest(server.root, rate="1/s", retry=Retries(max_wait_s=0.01))
    source = RestSource(api, "/offset", paging=OffsetLimit(10))
    page = next(source(None))
    server.always(Answer(body=json.dumps(page.records).encode()))
    token = POLL.set(PollContext("records", hosts=Hosts()))  # a budget of its own
    asked = len(server.requests)
    try:
        with pytest.raises(PutOff):
            assert not any(each.records or each.cursor != page.cursor for each in source(page.cursor))
    finally:
        POLL.reset(token)
        server.always(None)
    assert len(server.requests) == asked + 1


_WAYS = {
    "page": (PageNumber(2), "page"),
    "offset": (OffsetLimit(2), "offset"),
    "cursor": (NextCursor("next", param="after"), "after"),
    "link": (LinkHeader(), "at"),
    "found": (None, "at"),
}


@pytest.mark.parametrize(
    ("before", "now"), [pair for pair in itertools.permutations(_WAYS, 2) if pair != ("found", "link")]
)
def test_a_cursor_of_another_way_of_paging_begins_anew(server, before, now):
    body = json.dumps({"items": [{"id": 0}, {"id": 1}], "next": "z"}).encode()
    server.always(Answer(body=body, headers=(("Link", '</?at=2>; rel="next"'),)))
    cursor = next(RestSource(server.root, paging=_WAYS[before][0])(None)).cursor
    assert cursor["next"]
    again = next(RestSource(server.root, paging=_WAYS[now][0])(cursor))
    server.always(None)
    assert [record["id"] for record in again.records] == [0, 1]
    first = {"page": "1", "offset": "0"}
    assert {name: server.requests[-1].params.get(name, first.get(name)) for _, name in _WAYS.values()} == {
        "page": "1",
        "offset": "0",
        "after": None,
        "at": None,
    }


EXPIRED = {
    "422": Answer(422, b'{"error": {"type": "LIST_RECORDS_ITERATOR_NOT_AVAILABLE"}}'),
    "404": Answer(404, b"{}"),
    "200 and an error": Answer(200, b'{"ok": false, "error": "invalid_cursor"}'),
    "200 and GraphQL errors": Answer(
        200, b'{"data": null, "errors": [{"message": "Invalid cursor"}]}', (("Content-Type", "application/json"),)
    ),
}


def _by_loop(server, path, options):
    api = Rest(server.root, retry=0)

    def poll(cursor):
        if "query" in options:
            pages = api.graphql(QUERY, path="/graphql", records="feed.events", cursor=cursor)
        else:
            pages = api.pages("/" + path, paging=options["paging"], cursor=cursor)
        where = {"cursor": "items", "last_id": "data", "url": "data.items"}.get(path)
        for page in pages:
            yield Page(page.records(where), page.cursor)

    return poll


@pytest.mark.parametrize("how", ["declared", "by a loop"])
@pytest.mark.parametrize(
    ("path", "expired"),
    [("cursor", "422"), ("last_id", "404"), ("url", "200 and an error"), ("graphql", "200 and GraphQL errors")],
)
def test_a_cursor_of_the_apis_that_has_expired_begins_anew_in_that_poll_once(server, caplog, path, expired, how):
    server.size = 2
    server.replace([{"id": str(number)} for number in range(5)])
    poll = _by_loop(server, path, PAGED[path])
    if how == "declared":
        poll = RestSource(Rest(server.root, retry=0), "/" + path, **PAGED[path])
    first = next(iter(poll({})))
    server.script(EXPIRED[expired])
    pages = list(poll(json.loads(json.dumps(first.cursor))))
    assert [record["id"] for page in pages for record in page.records or ()] == ["0", "1", "2", "3", "4"]
    assert pages[-1].cursor == {}
    assert "its pages are read from the first on" in caplog.text
    assert "without a key= they are stored twice" in caplog.text
    server.script(EXPIRED[expired], EXPIRED[expired])
    with pytest.raises(SourceError):
        list(poll(first.cursor))


def test_where_a_loop_finds_no_records_at_a_kept_cursor_that_poll_fails_and_the_next_begins_anew(server):
    server.size = 2
    server.replace([{"id": str(number)} for number in range(5)])
    poll = _by_loop(server, "cursor", PAGED["cursor"])
    cursor = next(iter(poll({}))).cursor
    for _ in range(2):
        server.script(Answer(200, b'{"state": "gone"}'))
        with pytest.raises(SourceError, match="nothing at 'items'"):
            list(poll(cursor))
        assert [record["id"] for page in poll(cursor) for record in page.records or ()] == ["0", "1", "2", "3", "4"]


def test_an_answer_where_a_poll_goes_on_that_only_looks_odd_is_taken_as_it_is(server):
    server.size = 2
    server.replace([{"id": str(number)} for number in range(3)])
    poll = _by_loop(server, "cursor", PAGED["cursor"])
    cursor = next(iter(poll({}))).cursor
    before = len(server.requests)
    server.script(Answer(200, b'{"items": [], "errors": ["one is missing"]}'))
    assert [page.records for page in poll(cursor)] == [[]]
    assert len(server.requests) == before + 1
