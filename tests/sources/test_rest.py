"""A client of REST APIs: requests, pages, rows, cursors."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from api2db import Http, Page, Rest, RestSource
from api2db.errors import ConfigError, SourceError
from api2db.secret import redact
from api2db.sources.context import POLL, PollContext
from api2db.sources.exchanges import WATCH, Watch
from api2db.sources.net.retries import Retries
from api2db.sources.rest import Single
from tests.http_api import SERVER_ERROR, Answer, HttpApi


def numbered(first, last, **headers):
    """An answer with the records ``{"n": first}`` to ``{"n": last - 1}``."""
    body = json.dumps([{"n": number} for number in range(first, last)]).encode()
    return Answer(body=body, headers=tuple(headers.items()))


def linked(api, page):
    return {"Link": f'<{api.url}?page={page}>; rel="next"'}


def test_pages_follow_the_link_header_to_its_end(http_api: HttpApi):
    http_api.script(numbered(0, 3, **linked(http_api, 2)), numbered(3, 5))
    pages = list(Rest(http_api.url).pages())
    assert [page.records() for page in pages] == [[{"n": 0}, {"n": 1}, {"n": 2}], [{"n": 3}, {"n": 4}]]
    assert [request.params for request in http_api.requests] == [{}, {"page": "2"}]


def test_rows_are_a_table_of_the_columns_named(http_api: HttpApi):
    http_api.script(numbered(0, 2))
    (page,) = Rest(http_api.url).pages()
    assert page.rows(number="n:int", text="n:str").table.to_pylist() == [
        {"number": 0, "text": "0"},
        {"number": 1, "text": "1"},
    ]


def test_a_page_says_where_the_next_poll_goes_on(http_api: HttpApi):
    api = Rest(http_api.url)
    http_api.script(numbered(0, 2, **linked(http_api, 2)), numbered(2, 3))
    first = next(api.pages(cursor=None)).rows(n="n:int")
    assert isinstance(first, Page)
    rest = [page.rows(n="n:int") for page in api.pages(cursor=json.loads(json.dumps(first.cursor)))]
    assert [page.records.table.to_pylist() for page in rest] == [[{"n": 2}]]
    assert rest[-1].cursor == {}, "the next poll begins at the beginning"


def test_a_declared_source_yields_pages_with_their_cursors(http_api: HttpApi):
    http_api.script(numbered(0, 2, **linked(http_api, 2)), numbered(2, 3))
    pages = list(RestSource(http_api.url, params={"state": "open"})(None))
    assert [page.records for page in pages] == [[{"n": 0}, {"n": 1}], [{"n": 2}]]
    assert http_api.requests[0].params == {"state": "open"}


def test_a_next_page_that_was_asked_for_already_is_an_error_and_not_an_endless_loop(http_api: HttpApi):
    http_api.always(numbered(0, 2, **linked(http_api, 1)))
    taken = []
    with pytest.raises(SourceError, match="asked for already"):
        for page in Rest(http_api.url).pages():
            taken.append(page.records())
    assert len(taken) == 1


def test_a_token_in_the_path_is_in_no_line_of_the_log_and_in_no_cause(http_api: HttpApi, caplog):
    token = "123456:AAHsecret/TOKEN-x"
    address = f"{http_api.url}/bot{quote(token, safe='')}"
    http_api.always(numbered(0, 2, Link=f'<{address}>; rel="next"'))
    api = Rest(address, secrets=(token,))
    watch = Watch()
    held = WATCH.set(watch)
    try:
        with caplog.at_level("INFO"), pytest.raises(SourceError) as caught:
            list(api.pages())
        with Http(secrets=("other-token",)) as http:
            http.get(f"{http_api.url}/other-token")
    finally:
        WATCH.reset(held)
    shown = [str(caught.value), *map(redact, caplog.messages), *(each.url for each in watch.exchanges), repr(api)]
    assert caplog.messages
    assert not [text for text in shown if "secret" in text or "other-token" in text]
    assert f"{http_api.url}/bot***" in shown[-1]


def test_secrets_are_texts_in_a_tuple(http_api: HttpApi):
    with pytest.raises(ConfigError, match=r"secrets=...\): give texts in a tuple"):
        Rest(http_api.url, secrets="a-token-alone")


def test_an_option_that_does_not_exist_is_told_with_the_line_it_is_in(http_api: HttpApi):
    with pytest.raises(ConfigError, match=r"sources/test_rest.py:\d+: .*'rat'; did you mean 'rate'"):
        Rest(http_api.url, rat="60/min")


def test_one_answer_may_be_asked_for_in_any_way_and_comes_whether_anything_changed_or_not(http_api: HttpApi):
    http_api.always(Answer(body=b'{"rows": [{"n": 1}]}', headers=(("ETag", '"1"'),)))
    api = Rest(http_api.url, headers={"X-Of": "all"})
    asked = {"params": {"method": "list"}, "headers": {"X-Of": "one"}, "json": {"page": 1}}
    state: dict[str, Any] = {}
    for _ in range(2):
        token = POLL.set(PollContext(state=state))
        try:
            assert api.get(method="post", size=2, **asked).records("rows") == [{"n": 1}]
            list(api.pages(records="rows", paging=Single()))
        finally:
            POLL.reset(token)
    first, _, second, unchanged = http_api.requests
    assert first.headers["Content-Type"] == "application/json"
    assert (json.loads(first.body), first.params) == ({"page": 1}, {"method": "list", "size": "2"})
    assert first.headers["X-Of"] == "one"
    assert second.headers.get("If-None-Match") is None
    assert unchanged.headers.get("If-None-Match") == '"1"'
    http_api.script(SERVER_ERROR)
    assert Rest(http_api.url, retry=Retries(retries=1, base_s=0.01)).get(method="POST", body="x").ok
