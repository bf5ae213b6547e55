"""Paging that goes wrong in all the ways APIs have, and how a convention is found in the first answer."""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Iterator

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from api2db import Incremental, Rest, RestSource
from api2db.errors import ConfigError, SourceError
from api2db.sources.rest import (
    LinkHeader,
    NextCursor,
    NextUrl,
    OffsetLimit,
    PageNumber,
    Single,
)
from api2db.sources.rest.ask import Ask
from api2db.sources.rest.paging import Answered
from api2db.sources.rest.paging.detect import as_json, detected, of_json
from api2db.sources.rest.paging.link import relations
from api2db.sources.rest.paging.links import links
from tests.http_api import Answer
from tests.sources.rest_server import RestServer

COUNT, SIZE = 25, 10
ALL = list(range(COUNT))


@pytest.fixture
def server() -> Iterator[RestServer]:
    with RestServer([{"id": number} for number in ALL], size=SIZE) as api:
        yield api


def ids(pages):
    return [record["id"] for page in pages for record in page.records()]


def body(*numbers, **more):
    return Answer(body=json.dumps({"items": [{"id": number} for number in numbers], **more}).encode())


def test_a_server_that_gives_fewer_than_asked_for_is_read_to_its_end_and_that_is_said_once(server, caplog):
    caplog.set_level(logging.INFO)
    source = RestSource(server.root, "/silent_offset", paging=OffsetLimit(1000))
    polls = [[record["id"] for page in source(None) for record in page.records] for _ in range(2)]
    assert polls == [ALL, ALL]
    offsets = [request.params["offset"] for request in server.requests]
    assert offsets == ["0", "10", "20", "25"] * 2, "by what came, to the empty page"
    assert caplog.text.count("fewer records a page than asked for") == 1


def test_a_short_page_ends_where_that_is_said(server):
    assert ids(Rest(server.root).pages("/silent_offset", paging=OffsetLimit(SIZE, short_ends=True))) == ALL
    assert len(server.requests) == 3


@pytest.mark.parametrize("paging", [PageNumber(param="seite"), OffsetLimit(offset_param="ab")], ids=["page", "offset"])
def test_a_parameter_that_the_api_ignores_is_an_error_before_anything_comes_twice(server, paging):
    taken = []
    with pytest.raises(SourceError, match="ignores what asks for the next one"):
        for page in Rest(server.root).pages("/silent_number", paging=paging):
            taken += [record["id"] for record in page.records()]
    assert taken == ALL[:SIZE]


def test_the_last_page_given_again_is_known_also_by_a_poll_that_goes_on_there(server):
    source = RestSource(server.root, "/last_again", paging=PageNumber(repeat_ends=True))
    pages = source(None)
    cursor = [next(pages).cursor for _ in range(3)][-1]
    assert cursor["next"]["page"] == 4
    # Killed here; the next poll is handed the last cursor.
    assert [(page.records, page.cursor) for page in source(json.loads(json.dumps(cursor)))] == [([], {})]


def test_empty_pages_in_the_middle_end_nothing_where_a_cursor_goes_on(server):
    server.script(body(1, next="b"), body(next="c"), body(next="d"), body(2))
    assert ids(Rest(server.root).pages(paging=NextCursor("next", "cursor"))) == [1, 2]


def test_a_cursor_that_stays_is_an_error_before_anything_comes_twice(server):
    server.always(body(1, 2, next="same"))
    taken = []
    with pytest.raises(SourceError, match="asked for already"):
        for page in Rest(server.root).pages(paging=NextCursor("next", "cursor")):
            taken += page.records()
    assert len(taken) == 2


@pytest.mark.parametrize("further", ["same", "b"])
def test_a_cursor_that_a_post_takes_in_its_body_is_told_where_it_was_sent(server, further):
    server.script(body(1, 2, next_cursor="same"), body(1, 2, next_cursor=further))
    told = (
        r"no effect \('cursor' in the address; if .* body of a POST: paging=NextCursor\('next_cursor', field='cursor'\)"
    )
    with pytest.raises(SourceError, match=told):
        [page.records() for page in Rest(server.root).pages(method="POST", json={"page_size": 2})]


def test_pages_that_go_round_in_a_circle_are_an_error(server):
    server.script(body(1, next="/a"), body(2, next="/b"), body(3, next="/a"))
    with pytest.raises(SourceError, match="asked for already"):
        list(Rest(server.root).pages(paging=NextUrl()))


def test_more_that_is_announced_but_not_given_is_said(server, caplog):
    server.script(body(1, 2, total=9), body(total=9))
    assert ids(Rest(server.root).pages(paging=OffsetLimit(2, total="total"))) == [1, 2]
    assert "says=9 gave=2" in caplog.text


def test_what_moves_to_the_next_page_while_it_is_read_comes_once(server):
    pages = Rest(server.root).pages("/silent_offset", paging=OffsetLimit(SIZE), key="id")
    first = next(pages).records()
    server.replace([{"id": number} for number in [101, 102, *ALL]])  # two more at the front push two to the next page
    assert [record["id"] for record in first] + ids(pages) == ALL


def test_what_has_changed_when_it_comes_again_is_news(server):
    server.script(body(1, 2, next="b"), body(2, 3, next="c"), Answer(body=b'{"items": [{"id": 3, "changed": true}]}'))
    pages = Rest(server.root).pages(paging=NextCursor("next", "cursor"), key="id")
    assert [page.records() for page in pages] == [[{"id": 1}, {"id": 2}], [{"id": 3}], [{"id": 3, "changed": True}]]


def test_a_limit_of_pages_leaves_the_rest_to_the_next_poll(server):
    source = RestSource(server.root, "/link", max_pages=2)
    polls, cursor = [], None
    for _ in range(3):
        pages = list(source(cursor))
        cursor = pages[-1].cursor
        polls.append([record["id"] for page in pages for record in page.records])
    assert polls == [ALL[:20], ALL[20:], ALL[:20]]


@pytest.mark.parametrize(
    ("paging", "more", "is_open"),
    [
        (PageNumber(2), {}, False),
        (PageNumber(3), {}, True),
        (PageNumber(), {}, True),
        (PageNumber(3, total="n"), {"n": 9}, False),
        (PageNumber(3, total="n"), {"n": 1}, True),
        (PageNumber(3, pages="n"), {"n": 9}, False),
        (PageNumber(3, has_more="more"), {"more": True}, False),
        (NextCursor("next", "page", empty_ends=True), {"next": 2}, True),
        (NextCursor("next", "page"), {"next": 2}, False),
        (OffsetLimit(3), {}, False),
    ],
    ids=str,
)
def test_a_page_on_which_records_may_be_added_is_known_as_such(server, paging, more, is_open):
    server.script(body(1, 2, **more))
    page = next(RestSource(server.root, records="items", paging=paging)(None))
    assert ("open" in page.cursor["next"]) == is_open


def test_a_deadline_leaves_the_rest_to_the_next_poll_and_without_a_cursor_it_is_an_error(server):
    first, *others = list(RestSource(server.root, "/link", deadline=0)(None))
    assert not others
    assert first.cursor["next"]["url"].endswith("at=10")
    with pytest.raises(SourceError, match=r"deadline of 0 s is over after 1 pages"):
        list(Rest(server.root).pages("/link", deadline=0))


def test_a_status_that_means_nothing_here_ends_the_pages(server):
    assert list(Rest(server.root).pages("/nowhere", ignore=(404,))) == []
    with pytest.raises(SourceError, match="answered 404"):
        list(Rest(server.root).pages("/nowhere"))


def test_no_content_is_the_end_of_the_pages_and_no_error(server):
    server.script(Answer(204, b""), body(1, 2), Answer(204, b""))
    assert list(Rest(server.root).pages("/x")) == []
    assert ids(Rest(server.root).pages("/x", paging=PageNumber(), records="items")) == [1, 2]
    assert len(server.requests) == 3


def test_graphql_errors_in_an_answer_with_status_200_are_errors(server):
    server.script(Answer(body=b'{"data": null, "errors": [{"message": "Field \'x\' does not exist"}]}'))
    with pytest.raises(SourceError, match=r"POST http://.*/graphql answered 200.*Field 'x' does not exist"):
        list(Rest(server.root).graphql("{ x }"))


@pytest.mark.parametrize(
    ("query", "records", "told"),
    [
        ("query($after: String) { a { nodes } }", "a", "doesn't ask for pageInfo"),
        ("{ a { nodes pageInfo { hasNextPage } } }", "a", r"declare \$after: String"),
        ("query($after: String) { a(after: $after) { pageInfo } }", None, "say which connection"),
    ],
)
def test_a_query_that_could_not_go_on_is_refused_before_it_is_asked(server, query, records, told):
    with pytest.raises(ConfigError, match=told):
        Rest(server.root).graphql(query, records=records)
    assert not server.requests


@pytest.mark.parametrize(
    "make",
    [
        lambda: NextCursor("next"),
        lambda: NextCursor(param="cursor"),
        lambda: NextCursor("next", "cursor", header="X"),
        lambda: NextCursor("a..b", "cursor"),
        lambda: NextCursor("next", "cursor", alone="verb"),
        lambda: NextUrl("a..b"),
        lambda: NextUrl(has_more="!a..b"),
        lambda: OffsetLimit(0),
        lambda: PageNumber(0),
        lambda: PageNumber(total="a..b"),
        lambda: OffsetLimit("10"),
        lambda: PageNumber(start="1"),
        lambda: PageNumber(True),
    ],
)
def test_a_convention_that_lacks_its_parameter_is_refused_when_it_is_declared(make):
    with pytest.raises(ConfigError, match=r"^sources/test_rest_paging.py:\d+: "):
        make()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"key": 5}, "key=5: give the name"),
        ({"key": "a..b"}, "'a..b'"),
        ({"ignore": 404}, "ignore=404: give HTTP statuses"),
        ({"ignore": ("404",)}, "give HTTP statuses"),
        ({"params": [("a", 1)]}, "params= are names with values"),
        ({"headers": [("a", "b")]}, "headers= are names with values"),
        ({"method": "FETCH"}, "method='FETCH' is none of GET, POST"),
        ({"method": None}, "method=None is none of GET"),
        ({"conditional": "no"}, "conditional='no': give True or False"),
        ({"max_pages": "3"}, "max_pages='3': give a whole number"),
    ],
)
def test_an_option_that_would_be_misread_is_refused_with_its_line(server, options, told):
    line = r"^sources/test_rest_paging.py:\d+: .*" + re.escape(told)
    with pytest.raises(ConfigError, match=line):
        RestSource(server.root, "/link", **options)
    with pytest.raises(ConfigError, match=line):
        Rest(server.root).pages("/link", **options)
    if options.keys() & {"params", "headers", "conditional"}:
        with pytest.raises(ConfigError, match=line):
            Rest(server.root, **options)


LINK = {"Link": '</x?page=2>; rel="next"'}


@pytest.mark.parametrize(
    ("params", "headers", "answer", "found"),
    [
        ({}, LINK, [], LinkHeader()),
        ({"page": 1}, LINK, {"next": "/a"}, LinkHeader()),
        ({}, {"Link": "</style.css>; rel=preload"}, [], Single()),
        ({}, {}, {"next": "https://api.example.org/?page=2"}, NextUrl("next")),
        ({}, {}, {"_links": {"next": {"href": "/a?page=2"}}}, NextUrl("_links.next.href")),
        ({}, {}, {"@odata.nextLink": "https://api.example.org/a?$skip=2"}, NextUrl(r"@odata\.nextLink")),
        ({"page": 1}, {}, {"count": 1, "next": None, "results": []}, Single()),
        ({}, {}, {"nextPageToken": "abc"}, NextCursor("nextPageToken", "pageToken")),
        ({}, {}, {"response_metadata": {"next_cursor": "a="}}, NextCursor("response_metadata.next_cursor", "cursor")),
        ({"limit": 5}, {}, {"response_metadata": {"next_cursor": None}, "total": 9}, Single()),
        ({"limit": 5}, {}, {"total": 9}, OffsetLimit(5, total="total")),
        ({"offset": 0, "limit": 5}, {}, [], OffsetLimit(5)),
        ({"skip": 10, "top": 5}, {}, {"total": 90}, OffsetLimit(5, offset_param="skip", limit_param="top", start=10)),
        ({"limit": 5}, {}, {"offset": 0, "total": 9}, OffsetLimit(5, total="total")),
        ({"limit": 5}, {}, [], Single()),
        ({"page": 0, "size": 5}, {}, [], PageNumber(5, size_param="size", start=0)),
        ({"page": 1}, {}, {"has_more": True}, PageNumber(has_more="has_more")),
        ({}, {}, {"page": 1, "total_pages": 4}, PageNumber(pages="total_pages")),
        ({}, {}, {"page": {"number": 0, "totalPages": 4}}, PageNumber(pages="page.totalPages", start=0)),
        ({"per_page": 5}, {}, {"page": 1, "total": 9}, PageNumber(total="total")),
        ({"page[number]": 1, "page[size]": 5}, {}, [], PageNumber(5, param="page[number]", size_param="page[size]")),
        ({"page[size]": 5}, {}, {"meta": {"page": {"number": 1, "total-pages": 4}}},
         PageNumber(param="page[number]", pages="meta.page.total-pages")),
        ({"page[limit]": 5}, {}, {"meta": {"total": 9}},
         OffsetLimit(5, offset_param="page[offset]", limit_param="page[limit]", total="meta.total")),
        ({"page[offset]": 0}, {}, [], OffsetLimit(offset_param="page[offset]")),
        ({"page[size]": 5}, {}, {"links": {"next": "/a?page%5Bnumber%5D=2"}, "data": []}, NextUrl("links.next")),
        ({}, {}, {"next_page": 2, "results": []}, NextCursor("next_page", "page", empty_ends=True)),
        ({"p": 0}, {}, {"meta": {"nextPage": "1"}}, NextCursor("meta.nextPage", "p", empty_ends=True)),
        ({"page[size]": 5}, {}, {"meta": {"next_page": 2}},
         NextCursor("meta.next_page", "page[number]", empty_ends=True)),
        ({"limit": 5}, {}, {"next_page": None, "total": 5}, Single()),
        ({}, {}, {"next_page": {"offset": "eyJ", "uri": "https://api.example.org/?at=2"}}, NextUrl("next_page.uri")),
        ({"limit": 5}, {}, {"meta": {"next_token": "b26", "total": 9}}, NextCursor("meta.next_token", "next_token")),
        ({}, {}, {"NextToken": "AAQA"}, NextCursor("NextToken", "NextToken")),
        ({}, {}, {"paging": {"next": {"after": "NTI1"}}}, NextCursor("paging.next.after", "after")),
        ({}, {}, {"pages": {"page": 1, "next": {"starting_after": "WzE2"}, "total_pages": 7}},
         NextCursor("pages.next.starting_after", "starting_after")),
        ({}, {"Link": "</x?page=2>; rel=NEXT"}, [], LinkHeader()),
        ({}, {"Link": '</x?page=2>; title="2"; rel="next last"'}, [], LinkHeader()),
        ({}, {"X-Next-Page": "2"}, [], NextCursor(header="X-Next-Page", param="page")),
        ({}, {}, {"next": "x?p=2"}, NextUrl("next")),
        ({}, {}, {"@odata.nextLink": "x?$skip=4"}, NextUrl(r"@odata\.nextLink")),
        ({}, {}, {"links": {"next": "more"}}, NextUrl("links.next")),
        ({}, {}, {"next": 2}, NextCursor("next", "page")),
        ({"p": 0}, {}, {"next": 1}, NextCursor("next", "p")),
        ({}, {}, {"metadata": {"continue": "eyJ2"}, "items": []}, NextCursor("metadata.continue", "continue")),
        ({"page": 1}, {}, {"next": None, "has_more": True}, PageNumber(has_more="has_more")),
        ({"cursor": "a"}, {}, {"cursor": "a", "data": []}, Single()),
        ({}, {}, {"done": False, "nextRecordsUrl": "/query/1-100"}, NextUrl("nextRecordsUrl")),
        ({}, {}, {"feed": {"link": [{"@rel": "self", "@href": "/a"}, {"@rel": "next", "@href": "a?start=9"}]}},
         NextUrl("feed.link")),
        ({}, {}, {"feed": {"link": {"@rel": "self", "@href": "/a"}}}, Single()),
        ({}, {}, {"total": 0, "link": [{"relation": "next", "url": "/a?page=2"}]}, NextUrl("link")),
        ({}, {}, {"rss": {"channel": {"atom:link": {"@rel": "next", "@href": "/a?page=2"}}}},
         NextUrl(r"rss.channel.atom\:link")),
        ({}, {}, {"end_of_stream": False, "after_url": "https://api.example.org/a?cursor=b", "before_url": None},
         NextUrl("after_url", has_more="!end_of_stream")),
        ({}, {}, {"offset": "itr1/rec9"}, NextCursor("offset", "offset")),
        ({}, {}, {"startAt": 0, "maxResults": 50, "total": 90},
         OffsetLimit(offset_param="startAt", limit_param="maxResults", total="total")),
        ({"$limit": 5, "$offset": 0}, {}, [], OffsetLimit(5, offset_param="$offset", limit_param="$limit")),
        ({}, {}, {"next": "abc", "has_more": False}, Single()),
        ({}, {}, {"total": 4, "data": []}, Single()),
        ({}, {}, {"features": []}, Single()),
    ],
)  # fmt: skip
def test_the_convention_is_found_in_the_first_answer_and_kept_in_the_cursor(params, headers, answer, found):
    response = requests.Response()
    response.headers.update(headers)
    response.url = "https://api.example.org/a"
    ask = Ask("GET", response.url).with_params(**params)
    assert detected(Answered(ask, {}, response, answer, list)) == found
    assert of_json(json.loads(json.dumps(as_json(found)))) == found


def test_a_number_of_the_next_page_and_parameters_in_brackets_are_sent_as_the_api_has_them(server):
    server.script(body(1, meta={"next_page": 2}), body(2, meta={"next_page": None}))
    assert ids(Rest(server.root).pages(params={"page[size]": 1})) == [1, 2]
    server.script(body(1, next_page=2), body(2, next_page=3), body(next_page=4))
    assert ids(Rest(server.root).pages(params={"page[size]": 1})) == [1, 2]
    numbered = [body(number, meta={"page": {"number": number, "total_pages": 2}}) for number in (1, 2)]
    server.script(*numbered)
    assert ids(Rest(server.root).pages(params={"page[number]": 1, "page[size]": 1})) == [1, 2]
    assert [request.params.get("page[number]") for request in server.requests] == [None, "2", None, "2", "3", "1", "2"]
    assert {request.params["page[size]"] for request in server.requests} == {"1"}


def test_more_without_a_way_to_ask_for_it_is_an_error_and_not_a_silent_end(server):
    server.script(body(1, has_more=True))
    with pytest.raises(SourceError, match="'has_more' says that there is more, but nothing how to ask for it"):
        ids(Rest(server.root).pages())


@pytest.mark.parametrize(
    ("params", "headers", "more", "told"),
    [
        *(({}, {}, {name: "a1"}, f"'{name}' seems to ask for the next page") for name in (
            "next", "cursor", "after", "nextPage", "next_id", "marker", "bookmark", "scroll_id", "continue",
        )),
        ({}, {}, {"next": 100}, "'next' seems to ask for the next page"),
        ({}, {}, {"total": 10}, "'total' says that there are 10, but these are 4"),
        ({}, {}, {"count": 10}, "'count' says that there are 10"),
        ({}, {}, {"total_pages": 3}, "'total_pages' says that there are 3 pages"),
        ({}, {"X-Total-Count": "10"}, {}, "the header X-Total-Count says that there are 10"),
        ({}, {"X-WP-TotalPages": "3"}, {}, "the header X-WP-TotalPages says that there are 3 pages"),
        ({}, {"Content-Range": "items 0-3/10"}, {}, "the header Content-Range says that there are 10"),
        ({}, {}, {"has_more": True, "next": None}, "'has_more' says that there is more"),
        ({}, {}, {"has_more": "true"}, "'has_more' says that there is more"),
        ({}, {}, {"done": False}, "'done': false says that there is more"),
        ({}, {}, {"isLast": False, "next": None}, "'isLast': false says that there is more"),
        ({}, {}, {"end_of_stream": "false"}, "'end_of_stream': false says that there is more"),
        ({}, {}, {"LastEvaluatedKey": {"id": 3}}, "'LastEvaluatedKey' seems to ask for the next page"),
        ({}, {}, {"continue": {"cmcontinue": "x"}}, "'continue' seems to ask for the next page"),
        ({}, {}, {"pagination": {"pages": 3}}, "'pagination.pages' says that there are 3 pages"),
        ({}, {}, {"nbHits": 10, "nbPages": 3}, "'nbHits' says that there are 10"),
        ({}, {}, {"totalSize": 10}, "'totalSize' says that there are 10, but these are 4"),
        ({"$limit": 4}, {}, {}, "$limit=4 were asked for and came"),
        ({"limit": 4}, {}, {}, "limit=4 were asked for and came"),
        ({"limit": 4}, {}, None, "limit=4 were asked for and came"),
        ({}, {"X-Total-Count": "10"}, None, "the header X-Total-Count says that there are 10"),
    ],
)  # fmt: skip
def test_the_first_page_is_never_taken_for_all_where_the_answer_says_that_there_is_more(
    server, params, headers, more, told
):
    records = [{"id": number} for number in range(4)]
    answer = records if more is None else {"items": records, **more}
    server.always(Answer(body=json.dumps(answer).encode(), headers=tuple(headers.items())))
    with pytest.raises(SourceError, match=re.escape(told)):
        ids(Rest(server.root).pages(params=params))
    assert ids(Rest(server.root).pages(params=params, paging=Single())) == [0, 1, 2, 3]


FOUR = [{"id": number, "done": False, "total": 9, "next": "/a"} for number in range(4)]


@pytest.mark.parametrize(
    ("answer", "records", "told"),
    [
        ({"hits": {"total": {"value": 9, "relation": "eq"}, "hits": FOUR}}, "hits.hits",
         "'hits.total.value' says that there are 9, but these are 4"),
        ({"hits": {"total": {"value": 4, "relation": "gte"}, "hits": FOUR}}, "hits.hits", "'hits.total.value' says"),
        ([{"page": 1, "pages": 3, "total": 9}, FOUR], "1", "'0.total' says that there are 9, but these are 4"),
        ({"data": {"after": "t3_x", "children": FOUR}}, "data.children", "NextCursor('data.after', param=...)"),
        ({"data": {"items": FOUR, "meta": {"results": {"total": 9}}}}, "data.items", "'data.meta.results.total' says"),
        ({"a.b": {"result": {"isLast": False, "items": FOUR}}}, r"a\.b.result.items", "result.isLast': false says"),
    ],
)  # fmt: skip
def test_what_is_said_beside_the_records_of_more_is_heard_wherever_they_are(server, answer, records, told):
    server.always(Answer(body=json.dumps(answer).encode()))
    with pytest.raises(SourceError, match=re.escape(told)):
        ids(Rest(server.root).pages(records=records))
    with pytest.raises(SourceError, match=re.escape(told)):
        for page in Rest(server.root).pages():
            page.rows(records)


@pytest.mark.parametrize(
    ("params", "answer", "records"),
    [
        ({}, FOUR, None),
        ({}, {"items": FOUR}, None),
        ({}, {"items": FOUR, "summary": {"total": 9, "done": False}}, None),
        ({}, {"id": 0, "done": False, "total": 9}, ""),
        ({}, {"order": FOUR[0]}, "order"),
        ({}, [{"items": FOUR, "done": False, "total": 9}], lambda body: body[0]["items"]),
        ({"limit": 4}, {"items": FOUR, "has_more": False}, None),
        ({"limit": 4}, {"items": FOUR, "next": None}, None),
        ({"$limit": 4}, {"items": FOUR, "totalSize": 4}, None),
    ],
)
def test_what_records_or_others_say_of_themselves_is_taken_for_no_further_page(server, params, answer, records):
    server.always(Answer(body=json.dumps(answer).encode()))
    assert ids(Rest(server.root).pages(params=params, records=records)) in ([0, 1, 2, 3], [0])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"params": {"start": 1795302420, "step": 15}},
        {"params": {"start": Incremental("id", start=2020), "end": 2021}},
        {"params": {"offset": Incremental("id", start=0), "limit": 100}},
    ],
    ids=["a time", "a number that says what is new", "an offset that says what is new"],
)
def test_where_what_is_asked_for_begins_is_no_offset_of_pages(server, options):
    server.always(body(2021, 2022))
    assert [record["id"] for page in RestSource(server.root, **options)(None) for record in page.records] == [
        2021,
        2022,
    ]
    assert len(server.requests) == 1


def test_as_many_records_as_the_body_asked_for_may_not_be_all(server):
    server.always(body(1, 2))
    with pytest.raises(SourceError, match="size=2 were asked for and came"):
        ids(Rest(server.root).pages(method="POST", json={"size": 2}))


def test_a_feed_is_read_by_the_next_link_of_its_pages(server):
    link = '<link rel="self" href="/feed"/><link rel="next" href="/feed?start=1"/>'
    for with_next, more in ((link, {}), (link, {"paging": NextUrl("feed.link")})):
        server.script(
            *(
                Answer(
                    body=f"<feed>{head}<entry><id>{at}</id></entry></feed>".encode(),
                    content_type="application/atom+xml",
                )
                for at, head in enumerate((with_next, ""))
            )
        )
        pages = Rest(server.root).pages("/feed", records="feed.entry", **more)
        assert [record["id"] for page in pages for record in page.records()] == ["0", "1"]


@pytest.mark.parametrize("records", [None, "items"])
@pytest.mark.parametrize(
    ("paging", "more", "told"),
    [
        (NextCursor("meta.nextcursor", "c"), {"has_more": True},
         "there is nothing at 'meta.nextcursor', so that this would be the only page, but 'has_more' says"),
        (NextCursor("meta.nextcursor", "c", has_more="hasmore"), {"meta": {"next_cursor": "b"}},
         "but 'meta.next_cursor' seems to be what asks for the next one; correct paging="),
        (NextCursor("nextcursor", "c", has_more="has_more"), {"has_more": True}, "nothing is at 'nextcursor'"),
        (NextCursor(header="X-Nxt", param="c"), {"done": False}, "there is no header X-Nxt, so that"),
        (NextCursor("next_cursor", "c", has_more="!endofstream"), {"next_cursor": "b"}, "nothing at 'endofstream', so"),
        (NextUrl("meta.next"), {"links": {"next": "/b"}}, "there is nothing at 'meta.next', so that"),
        (NextUrl("meta.next"), {"done": False}, "but 'done': false says that there is more"),
        (LinkHeader(), {"links": {"next": "/b"}}, "there is no header Link, so that"),
    ],
)  # fmt: skip
def test_a_wrong_path_in_what_was_said_of_paging_is_an_error_where_there_is_more(server, paging, more, told, records):
    server.always(body(1, 2, **more))
    taken = []
    with pytest.raises(SourceError, match=re.escape(told)):
        for page in Rest(server.root).pages(paging=paging, records=records):
            taken += page.records()
    assert not taken


@pytest.mark.parametrize(
    ("paging", "more"),
    [
        (NextCursor("next", "c"), {"next": None, "total": 9}),
        (NextCursor("cursor", "c", has_more="has_more"), {"has_more": False, "total": 9, "next": "/b"}),
        (NextUrl("links.next"), {"links": {"next": None}, "complete": False}),
        (NextUrl("links.next"), {"links": {"self": "/a"}, "done": True}),
        (NextUrl("link"), {"link": [{"rel": "self", "href": "/a"}], "total": 9}),
    ],
)
def test_an_only_page_that_says_so_is_the_end(server, caplog, paging, more):
    server.always(body(1, 2, **more))
    assert ids(Rest(server.root).pages(paging=paging, records="items")) == [1, 2]
    assert "only page" not in caplog.text


def test_a_total_above_the_only_page_is_told_once_since_it_may_count_something_else(server, caplog):
    server.always(body(1, 2, total=9))
    for _ in range(2):
        assert ids(Rest(server.root).pages(paging=NextUrl("meta.next"))) == [1, 2]
    assert caplog.text.count("there is nothing at 'meta.next', so that this would be the only page, but 'total'") == 1


@pytest.mark.parametrize(
    ("paging", "key"),
    [
        (NextCursor("next", "cursor"), None),
        (NextUrl("next"), None),
        (None, None),
        (LinkHeader(), None),
        (PageNumber(), "id"),
        (NextCursor("next", "cursor"), "id"),
    ],
)
def test_the_same_records_with_a_new_token_each_time_are_an_error_before_they_come_twice(server, paging, key):
    class Signing(RestServer):
        def _at_signing(self, request):
            at = f"/signing?token={len(self.requests)}"
            records = [{"id": 1, **({"asked": len(self.requests)} if key else {})}]
            return Answer(body=json.dumps({"items": records, "next": at}).encode(),
                          headers=(("Link", f"<{at}>; rel=next"),))  # fmt: skip

    taken = []
    with (
        Signing([]) as api,
        pytest.raises(SourceError, match=r"GET http.*/signing.*has the records of the page before"),
    ):
        for page in Rest(api.root).pages("/signing", paging=paging, key=key):
            taken += page.records()
            assert len(taken) == 1, "once"


def test_the_last_page_again_with_another_time_in_it_ends_the_pages_where_that_is_said(server):
    server.script(*(Answer(body=b'[{"id": %d, "asked": %d}]' % (min(at, 2), at)) for at in (1, 2, 3)))
    assert ids(Rest(server.root).pages(paging=PageNumber(repeat_ends=True), key="id")) == [1, 2]


def test_a_last_record_without_the_id_to_go_on_after_is_an_error(server):
    server.script(Answer(body=b'{"items": [{"id": 1}, {"name": "x"}]}'))
    with pytest.raises(SourceError, match="the last record has no 'id' to go on after"):
        list(Rest(server.root).pages(records="items", paging=NextCursor(last="id", param="after")))


def test_a_cursor_of_several_sort_keys_is_sent_back_as_it_came(server):
    hits = [{"id": number, "sort": [number, f"k{number}"]} for number in range(5)]
    server.script(*(Answer(body=json.dumps({"hits": {"hits": hits[at : at + 2]}}).encode()) for at in (0, 2, 4, 6)))
    paging = NextCursor(last="sort", field="search_after")
    source = RestSource(server.root, method="POST", json={"size": 2}, records="hits.hits", paging=paging)
    first = next(iter(source(None)))
    assert [record["id"] for page in source(json.loads(json.dumps(first.cursor))) for record in page.records] == [
        2,
        3,
        4,
    ]
    asked = [json.loads(request.body) for request in server.requests]
    assert asked == [{"size": 2}, *({"size": 2, "search_after": [at, f"k{at}"]} for at in (1, 3, 4))]
    server.script(body({"sort": 1}))
    with pytest.raises(SourceError, match=r"is an object with 'sort': a parameter holds no other"):
        ids(Rest(server.root).pages(paging=NextCursor(last="id", param="after")))


@pytest.mark.parametrize(
    "paging",
    [
        None,
        NextUrl("next_page", has_more="!end_of_stream"),
        NextCursor("count", "page", has_more="!end_of_stream"),
        PageNumber(has_more="!end_of_stream"),
        OffsetLimit(has_more="!end_of_stream"),
    ],
)
def test_a_flag_that_says_the_end_ends_the_pages_though_there_is_always_a_next_address(server, paging):
    server.script(
        body(1, count=2, next_page="/x?at=2", end_of_stream=False),
        body(2, count=3, next_page="/x?at=2", end_of_stream=True),
    )
    assert ids(Rest(server.root).pages("/x", paging=paging)) == [1, 2]
    assert len(server.requests) == 2


def test_a_flag_that_says_more_without_an_address_to_go_on_to_is_an_error(server):
    server.always(body(1, done=False))
    with pytest.raises(SourceError, match="'!done' says that there is more, but there is no address at 'next'"):
        ids(Rest(server.root).pages(paging=NextUrl(has_more="!done")))


@pytest.mark.parametrize("alone", [True, ("verb",)])
def test_a_token_that_holds_the_question_is_sent_without_it_and_with_the_credentials(server, alone):
    server.script(body(1, token="t2"), body(2, token=""))
    api = Rest(server.root, params={"api_key": "s3cret-of-this-api"})
    paging = NextCursor("token", "resumptionToken", alone=alone)
    assert ids(api.pages(params={"verb": "ListRecords", "prefix": "oai_dc"}, paging=paging)) == [1, 2]
    kept = {} if alone is True else {"verb": "ListRecords"}
    assert server.requests[-1].params == {"api_key": "s3cret-of-this-api", **kept, "resumptionToken": "t2"}
    server.script(body(1, token="t2"), body(2, token=""))
    scroll = NextCursor("token", field="scroll_id", alone=("verb",))
    assert ids(api.pages(method="POST", json={"verb": "a", "size": 1}, paging=scroll)) == [1, 2]
    assert json.loads(server.requests[-1].body) == {"verb": "a", "scroll_id": "t2"}


def test_has_more_may_be_a_text_for_cursors_too(server):
    server.script(body(1, next="a", has_more="true"), body(2, next="b", has_more="false"))
    assert ids(Rest(server.root).pages(paging=NextCursor("next", "cursor", has_more="has_more"))) == [1, 2]


def test_more_that_comes_without_the_cursor_to_go_on_from_is_an_error_and_no_end(server):
    info = {"hasNextPage": True}
    server.script(Answer(body=json.dumps({"data": {"a": {"nodes": [{"id": 1}], "pageInfo": info}}}).encode()))
    query = "query($after: String) { a(after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }"
    with pytest.raises(SourceError, match=r"pageInfo at .* has a next page, but no endCursor"):
        list(Rest(server.root).graphql(query, records="a.nodes"))
    server.script(body(1, next=None, has_more=True))
    with pytest.raises(SourceError, match="'has_more' says that there is more, but no cursor came with it"):
        list(Rest(server.root).pages(paging=NextCursor("next", "cursor", has_more="has_more"), records="items"))


@pytest.mark.parametrize("total", [-1, "-1", 1, 3])
def test_a_total_that_is_exceeded_is_not_believed_and_that_is_said_once(server, caplog, total):
    server.script(*(body(*numbers, total=total) for numbers in ((1, 2), (3, 4), (5,), ())))
    assert ids(Rest(server.root).pages(paging=OffsetLimit(2, total="total"))) == [1, 2, 3, 4, 5]
    assert caplog.text.count("fewer than it gives") == 1


@pytest.mark.parametrize("total", [float("inf"), float("nan"), 1.5, "many", True])
def test_a_total_that_is_no_whole_number_is_an_error_that_says_so(total):
    response = requests.Response()
    response.url = "https://api.example.org/a"
    seen = Answered(Ask("GET", response.url), {}, response, {"total": total}, lambda: [{"id": 1}])
    with pytest.raises(SourceError, match=r"the total at 'total' should be a whole number"):
        OffsetLimit(2, total="total").after(seen)


def test_whoever_begins_at_a_later_page_is_asked_for_none_behind_the_last(server):
    server.script(*(body(number, page=number, total_pages=3) for number in (2, 3)))
    assert ids(Rest(server.root).pages(page=2)) == [2, 3]
    assert [request.params["page"] for request in server.requests] == ["2", "3"]


def test_a_convention_that_was_found_is_gone_on_with_by_the_next_poll(server):
    source = RestSource(server.root, "/number", params={"per_page": 10}, max_pages=1)
    read, cursor = [], None
    for _ in range(3):
        (page,) = source(cursor)
        cursor = json.loads(json.dumps(page.cursor))
        read += [record["id"] for record in page.records]
    assert read == ALL
    assert cursor == {}


def test_what_was_found_is_logged_once(server, caplog):
    caplog.set_level(logging.INFO)
    api = Rest(server.root)
    for _ in range(2):
        assert ids(api.pages("/url")) == ALL
    assert caplog.text.count("paging found") == 1
    assert "by=NextUrl(path='links.next'" in caplog.text


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ('</x?page=2>; title="a=b"; rel="next"', "/x?page=2"),
        ('</x?page=2>; title="a;b, <c>; rel=prev"; rel="next"', "/x?page=2"),
        ('</x?page=2>; title="a \\" b"; rel="next"', "/x?page=2"),
        ('</x;v=1?page=2>; rel="next"', "/x;v=1?page=2"),
        ('</x?v=a;b,c&page=2>; rel="next"', "/x?v=a;b,c&page=2"),
        ("< /x?page=2 > ;REL = next ; title", "/x?page=2"),
        ('</1>; rel="first", </2>; rel="prev next"; rel="last",, </3>; rel=next', "/2"),
        ('</1> junk; rel="first", </2>;; rel="next"', "/2"),
        ('</2>; rel="next', "/2"),
        ("</1>; rel=next\\", None),
        ("</2>; rel='next'", "/2"),
        ('</2; rel="next"', "/2"),
        ("https://x/2; rel=next, </1>; rel=first", "https://x/2"),
        ('</1>; title="; rel=next"', None),
        ("</1>, ; rel=prev", None),
        ("rel=next", None),
        ('</1>; rel="next"; anchor="#part", </2>; rel=next', "/2"),
        ('</1>; anchor="/authors/5"; rel="next"', None),
        ('</1>; anchor="http://[/items"; rel="next"', None),
        ('</2>; rel="next"; anchor=""', "/2"),
        ('</2>; rel="next"; anchor="https://api.example/items"', "/2"),
    ],
)
def test_a_link_header_is_read_as_its_rfc_says_or_as_it_is_meant(header, address):
    assert relations(header, "http://inner.example/items?q=1").get("next") == address


_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
_name = st.text("abcXYZ*-", min_size=1, max_size=5).filter(lambda name: name.lower() != "rel")
_token = st.text('abc=\\<>"', min_size=1, max_size=6).filter(lambda text: not text.startswith('"'))
_parameter = st.one_of(_name.map(lambda name: (name, None)), st.tuples(_name, st.booleans(), _text, _token))


@given(
    st.lists(st.tuples(_text.filter(lambda text: ">" not in text), st.lists(_parameter, max_size=3)), max_size=4),
    st.lists(st.sampled_from(["", " ", "\t"]), min_size=1, max_size=5),
)
@example([("/x;v=1?a=b;c,d", [("title", True, 'a="b"; rel=next, <c>', "x")])], [""])
def test_links_that_are_written_as_the_rfc_says_are_read_back(written, spaces):
    space = itertools.cycle(spaces)
    texts, expected = [], []
    for target, parameters in written:
        text, read = f"<{target}>", []
        for name, *value in parameters:
            text += f"{next(space)};{next(space)}{name}"
            if value == [None]:
                read.append((name.lower(), ""))
                continue
            is_quoted, quoted, token = value
            escaped = quoted.replace("\\", "\\\\").replace('"', '\\"')
            text += next(space) + "=" + next(space) + (f'"{escaped}"' if is_quoted else token)
            read.append((name.lower(), quoted if is_quoted else token))
        texts.append(text + next(space))
        expected.append((target.strip(" "), read))
    assert list(links(",".join(texts))) == expected


@given(st.text('<>;,="\\ \tarel', max_size=40))
def test_no_link_header_is_an_error(header):
    relations(header)


@pytest.mark.parametrize("odd", [{}, {"name": "\ud800", "number": 2**70}], ids=["plain", "beyond JSON"])
@pytest.mark.parametrize(
    "paging", [OffsetLimit(), OffsetLimit(repeat_ends=True), NextCursor("next", param="after")], ids=repr
)
def test_large_pages_that_differ_in_a_single_record_all_come(server, paging, odd):
    pages = [[{"value": 0, **odd} for _ in range(1200)] for _ in range(3)]
    for number, page in enumerate(pages):
        page[7 + 1100 * (number == 2)]["value"] = 1 + number
    for number, page in enumerate([*pages, []]):
        server.script(Answer(body=json.dumps({"items": page, "next": number + 1 if page else None}).encode()))
    read = list(Rest(server.root).pages(paging=paging, records="items"))
    assert [[record["value"] for record in page.records() if record["value"]] for page in read if page.records()] == [
        [1],
        [2],
        [3],
    ]
