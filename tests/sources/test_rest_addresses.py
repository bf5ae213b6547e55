"""The address of the next page: what an API repeats of a credential is neither kept, nor lost, nor shown elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from api2db import Rest, RestSource
from api2db.errors import ConfigError, SourceError
from api2db.secret import remember
from api2db.sources.rest.paging import LinkHeader, NextUrl
from tests.http_api import Answer
from tests.sources.rest_server import RestServer

KEY = "s3cret-of-mine"


@pytest.fixture
def server() -> Iterator[RestServer]:
    with RestServer([{"id": 0}]) as api:
        yield api


def linked(address: str) -> Answer:
    return Answer(
        body=json.dumps([{"id": 1, "further": address}]).encode(), headers=(("Link", f'<{address}>; rel="next"'),)
    )


LAST = Answer(body=b'[{"id": 2}]')


def told(pages) -> tuple[list[str], str]:
    """The queries that were sent, and all cursors as text."""
    read = [(urlsplit(page.answer.request.url).query, json.dumps(page.cursor)) for page in pages]
    return [query for query, _ in read], " ".join(cursor for _, cursor in read)


def test_a_credential_that_an_api_repeats_in_its_addresses_is_sent_again_but_not_kept_in_the_cursor(server):
    link = '</items?api_key=s3cret-of-mine&sig=hunter2hunter2&q=a%2Fb+c&page=2>; rel="next"'
    server.script(Answer(body=b'[{"id": 1}]', headers=(("Link", link),)), Answer(body=b'[{"id": 2}]'))
    api = Rest(server.root, auth={"type": "key", "key": "hunter2hunter2", "param": "sig"})
    source = RestSource(api, "/items", params={"api_key": "s3cret-of-mine", "q": "a/b c"})
    cursor = json.loads(json.dumps(next(source(None)).cursor))
    assert cursor["next"]["url"] == f"{server.root}/items?q=a%2Fb+c&page=2"
    assert "s3cret" not in json.dumps(cursor)
    assert [page.records for page in source(cursor)] == [[{"id": 2}]]
    sent = {"api_key": "s3cret-of-mine", "q": "a/b c", "page": "2", "sig": "hunter2hunter2"}
    assert server.requests[1].params == sent


@pytest.mark.parametrize("mine", [{}, {"auth": ("me", "postgres")}], ids=["another's password", "its own password"])
def test_a_parameter_whose_value_is_a_credential_by_chance_is_sent_again(server, mine):
    remember("postgres")
    server.script(linked("/search?o=3&q=postgres&db=postgres" if not mine else "/search?o=3&q=postgres"), LAST)
    queries, kept = told(Rest(server.root, **mine).pages("/search", q="postgres", cursor=None))
    assert queries == ["q=postgres", "o=3&db=postgres&q=postgres" if not mine else "o=3&q=postgres"]
    assert "q=postgres" not in kept


def test_of_a_parameter_with_several_values_each_is_sent_once(server):
    remember("postgres")
    server.script(linked("/search?o=3&q=a&q=postgres&q=more"), LAST)
    queries, kept = told(Rest(server.root).pages("/search", q=["a", "postgres"], cursor=None))
    assert queries[1] == "o=3&q=more&q=a&q=postgres"
    assert "postgres" not in kept


def signed(request):
    request.prepare_url(request.url, {"sig2": KEY, "at": "5"})
    return request


@pytest.mark.parametrize(
    ("options", "name", "query"),
    [
        ({"params": {"u": KEY}, "secrets": (KEY,)}, "u", f"page=2&u={KEY}"),
        ({"params": {"appid": KEY}}, "appid", f"page=2&appid={KEY}"),
        ({"params": {"u": KEY}, "secrets": (KEY,)}, "key", f"page=2&u={KEY}"),
        ({"headers": {"X-Mine": KEY}, "secrets": (KEY,)}, "key", "page=2"),
        ({"headers": {"X-Api-Key": KEY}}, "key", "page=2"),
        ({"auth": {"type": "bearer", "token": KEY}}, "access_token", "page=2"),
        ({"auth": signed}, "at=5&sig2", f"page=2&sig2={KEY}&at=5"),
    ],
    ids=["secrets=", "appid", "under another name", "in a header", "in a header called so", "bearer", "hook"],
)
def test_a_credential_however_it_is_sent_is_not_kept_and_sent_once(server, options, name, query):
    server.script(linked(f"/x?page=2&{name}={KEY}"), LAST)
    queries, kept = told(Rest(server.root, **options).pages("/x", cursor=None))
    assert queries[1] == query
    assert KEY not in kept


PLUS = "abcd+efgh/ij kl=="
SPELLED = ["abcd+efgh/ij+kl==", "abcd%2Befgh%2Fij+kl%3D%3D", "abcd%2befgh/ij%20kl=%3d"]


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize(
    "options",
    [
        {"auth": {"type": "key", "key": PLUS, "param": "apikey"}},
        {"params": {"apikey": PLUS}},
        {"params": {"u": PLUS}, "secrets": (PLUS,)},
        {"headers": {"X-Api-Key": PLUS}},
    ],
    ids=["auth", "parameter", "secrets=", "header"],
)
def test_a_credential_with_a_plus_is_known_however_an_api_spells_it(server, options, spelled):
    server.script(linked(f"/x?page=2&apikey={spelled}&u={spelled}&q=a+b"), LAST)
    api = Rest(server.root, **options)
    queries, kept = told(api.pages("/x", paging=LinkHeader(), cursor=None))
    assert queries[1] == "&".join(filter(None, ("page=2&q=a+b", queries[0])))
    assert "abcd" not in kept
    with RestServer([{"id": 1}]) as other:
        server.script(linked(f"{other.root}/{spelled}"))
        with pytest.raises(SourceError, match="has a credential in it"):
            list(api.pages("/x", paging=LinkHeader()))
        assert not other.requests


def test_a_credential_in_the_path_is_not_kept(server):
    server.script(linked(f"/bot{KEY}/x?page=2"), linked("?page=3"), LAST)
    queries, kept = told(Rest(f"{server.root}/bot{KEY}", secrets=(KEY,)).pages("/x", cursor=None))
    assert queries == ["", "page=2", "page=3"]
    assert {request.path for request in server.requests} == {f"/bot{KEY}/x"}
    assert KEY not in kept


def test_of_what_nobody_sends_again_nothing_is_left_out(server):
    """It may be named as a secret, and read by another collector: this API said it, and wants to have it."""
    remember("token-of-another")
    server.script(linked("/x?page=2&key=token-of-another&c=not-sent-yet"), LAST)
    queries, _ = told(Rest(server.root, secrets=("not-sent-yet",)).pages("/x", cursor=None))
    assert queries[1] == "page=2&key=token-of-another&c=not-sent-yet"


@pytest.mark.parametrize("next_page", ["/x?page=2", "{root}/x?page=2", "http://{user}@{host}/x?page=2"])
def test_user_and_password_of_an_address_are_in_no_cursor_and_sent_to_that_host_alone(server, next_page):
    user, host = f"me:{KEY}", server.root.removeprefix("http://")
    basic = f"Basic {base64.b64encode(user.encode()).decode()}"
    with RestServer([{"id": 3}]) as other:
        server.script(linked(next_page.format(root=server.root, user=user, host=host)), linked(f"{other.root}/link"))
        source = RestSource(f"http://{user}@{host}", "/x", params={"api_key": KEY}, paging=LinkHeader())
        cursors = [page.cursor for page in source(None)]
        assert [request.headers.get("Authorization") for request in server.requests] == [basic, basic]
        assert "Authorization" not in other.requests[0].headers
    assert KEY not in json.dumps(cursors)


def test_a_cursor_of_before_that_has_user_and_password_in_it_is_read(server):
    user, host = f"me:{KEY}", server.root.removeprefix("http://")
    server.script(LAST)
    source = RestSource(f"http://{user}@{host}", "/x", params={"api_key": KEY}, paging=NextUrl())
    old = {"next": {"url": f"http://{user}@{host}/x?page=2", "with": ["api_key"]}}
    assert [page.cursor for page in source(old)] == [{}]
    assert server.requests[0].params == {"page": "2", "api_key": KEY}
    assert server.requests[0].headers["Authorization"].startswith("Basic ")


def test_a_credential_among_the_parameters_goes_to_no_other_host(server):
    with RestServer([{"id": 1}]) as other:
        link = f'<{other.root}/link?api_key=s3cret-of-mine>; rel="next"'
        server.script(Answer(body=b'[{"id": 0}]', headers=(("Link", link),)))
        pages = Rest(server.root).pages("/link", api_key="s3cret-of-mine")
        assert [record["id"] for page in pages for record in page.records()] == [0, 1]
        assert other.requests[0].params == {}


@pytest.mark.parametrize(
    "where",
    [
        "/y/{key}",
        "/y?q={key}",
        "/y?a={key}-1",
        "/y?u=https%3A%2F%2Fa%2F%3Fapi_key%3D{key}",
        "/y?u=https%253A%252F%252Fa%252F%253Fapi_key%253D{key}",
    ],
)
@pytest.mark.parametrize(
    "options",
    [{"params": {"api_key": KEY}}, {"auth": ("me", KEY)}, {"auth": {"type": "bearer", "token": KEY}}],
    ids=["parameter", "password", "bearer"],
)
def test_an_address_of_another_host_with_a_credential_anywhere_in_it_is_not_asked(server, options, where):
    with RestServer([{"id": 1}]) as other:
        server.script(linked(other.root + where.format(key=KEY)))
        with pytest.raises(
            SourceError, match=r"of another host, 127\.0\.0\.1:\d+, and has a credential in it"
        ) as raised:
            list(Rest(server.root, **options).pages("/x"))
        assert not other.requests
    assert KEY not in str(raised.value)


def test_an_address_of_another_host_that_repeats_a_filter_with_a_credentials_value_is_not_asked_without_it(server):
    remember("postgres")
    with RestServer([{"id": 1}]) as other:
        server.script(linked(f"{other.root}/link?q=postgres"))
        with pytest.raises(SourceError, match="declare it as an API of its own"):
            list(Rest(server.root).pages("/x", q="postgres"))
        assert not other.requests


def test_an_address_that_cannot_be_read_is_an_error_that_names_the_request(server):
    server.script(linked("http://[::1/x"))
    with pytest.raises(SourceError, match=r"GET .*/x: the next page's address isn't one that can be read"):
        list(Rest(server.root).pages("/x"))


@pytest.mark.parametrize("more", [f"?key={KEY}", f"/v1/?key={KEY}", "/v1#part"])
def test_a_base_with_parameters_or_a_fragment_is_refused_at_the_start(more):
    with pytest.raises(ConfigError, match=r"^sources/test_rest_addresses.py:\d+: .*params=") as raised:
        Rest(f"https://api.example.org{more}")
    assert KEY not in str(raised.value)
