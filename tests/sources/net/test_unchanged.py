"""What is unchanged since a poll that was accepted whole isn't loaded again; anything else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.auth import HTTPBasicAuth

from api2db import Incremental, Rest, RestSource
from api2db.runtime.job import End
from api2db.sources.context import PollContext
from api2db.sources.http import Http, HttpError
from api2db.sources.net.auth.named import read_credentials
from api2db.sources.net.fetcher import Fetched, Fetcher
from api2db.sources.net.retries import Retries
from api2db.sources.net.validators import MOST, Validators
from api2db.sources.rest import LinkHeader, NextCursor, NextUrl, PageNumber
from api2db.sources.rest.ask import Ask
from tests.http_api import OK, SERVER_ERROR, Answer, HttpApi, Record, Request
from tests.sources.incremental.server import SinceServer, at, event
from tests.sources.net.kit import Polls, get, quick, records

NOT_MODIFIED = Answer(304, b"")
Make = Callable[..., Polls]


@pytest.fixture
def polls(tmp_path: Path) -> Iterator[Make]:
    """A second call is a restart of the daemon."""
    made: list[Polls] = []

    def make(source: Any, **options: Any) -> Polls:
        for each in made:
            each.close()
        made.append(Polls(tmp_path, source, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def pages_of(fetcher: Fetcher, *urls: str, seen: list[Fetched] | None = None) -> Callable[[], Iterator[Any]]:
    """A collector that asks for one address after the other."""

    def source() -> Iterator[Any]:
        for url in urls:
            fetched = fetcher.fetch(get(url))
            if seen is not None:
                seen.append(fetched)
            if fetched.answer is not None:
                yield fetched.answer.json()

    return source


def tagged(tag: str, body: bytes | None = None, **headers: str) -> Answer:
    return Answer(body=body, headers=(("ETag", tag), *headers.items()))


def conditions(api: HttpApi) -> list[tuple[str | None, str | None]]:
    return [(each.headers.get("If-None-Match"), each.headers.get("If-Modified-Since")) for each in api.requests]


@pytest.mark.parametrize("how", ["pages", "parents"])
def test_a_poll_that_is_put_off_is_gone_on_with_behind_what_was_unchanged(polls: Make, how: str) -> None:
    with SinceServer([event(number) for number in range(12)], size=2) as server:
        server.accounts = {name: [event(ord(name))] for name in "abcdef"}

        def poll(**limit: Any) -> list[int]:
            """With a budget of its own, as after a while."""
            api = Rest(server.root, retry=Retries(max_wait_s=0.01), **limit)
            accounts = RestSource(api, "/accounts")
            given: dict[str, Any] = {} if how == "pages" else {"parent": accounts, "parent_fields": {"account": "id"}}
            made = polls(RestSource(api, "/accounts/{account}/events" if given else "/events", **given))
            had = len(made.rows)
            outcomes.append(made.poll()[0])
            return [row["id"] for rows in made.rows[had:] for row in rows]

        outcomes = list[str]()
        assert len(poll()) == (12 if how == "pages" else 6)
        assert poll() == []
        server.add(event(12))
        server.accounts["f"].append(event(12, 600))
        assert 12 in [row for _ in range(4) for row in poll(rate="3/s")]
        assert outcomes[2:4] == ["waiting", "waiting"]


@pytest.mark.parametrize("how", ["source", "function", "parents"])
def test_a_table_that_each_poll_replaces_has_all_pages_also_after_a_poll_that_failed_on_the_way(
    polls: Make, how: str
) -> None:
    with SinceServer([event(number) for number in range(6)], size=2) as server:
        server.accounts = {
            name: [event(number) for number in numbers] for name, numbers in (("a", (0, 1)), ("b", (2,)))
        }
        api = Rest(server.root, retry=0)
        source: Any = RestSource(api, "/events")
        if how == "function":
            source = lambda cursor: (page.rows() for page in api.pages("/events", cursor=cursor))  # noqa: E731
        elif how == "parents":
            accounts = RestSource(api, "/accounts")
            source = RestSource(api, "/accounts/{a}/events", parent=accounts, parent_fields={"a": "id"})
        made = polls(source, replaces=True)
        server.script(*[OK] * (2 if how == "parents" else 1), SERVER_ERROR)
        assert [made.poll()[0], made.poll()[0]] == ["failed", "ok"]
        whole = [[0, 1], [2], []] if how == "parents" else [[0, 1], [2, 3], [4, 5], []]
        assert [[row["id"] for row in rows] for rows in made.rows] == [[0, 1], *whole]


@pytest.mark.parametrize("how", ["pages", "parents", "partitions"])
def test_a_poll_that_is_killed_where_nothing_was_new_for_long_is_gone_on_with_there(
    polls: Make, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api2db.sources.rest.quiet.LONGEST_S", 0.0)
    with SinceServer([event(number) for number in range(5)], size=1) as server:
        server.accounts = {name: [event(ord(name))] for name in "abcde"}
        api = Rest(server.root, retry=0)
        given: dict[str, Any] = {}
        if how != "pages":
            given = {"parent": RestSource(api, "/accounts"), "parent_fields": {"account": "id"}}
        if how == "partitions":
            given["incremental"] = Incremental("at", "since", start=at(0))
        source = RestSource(api, "/accounts/{account}/events" if given else "/events", **given)
        killed = iter((None, None, 3))

        def until_killed(cursor: Any) -> Iterator[Any]:
            left = next(killed, None)
            for page in source(cursor):
                yield page
                if left is not None and (left := left - 1) == 0:
                    raise SystemExit

        made = polls(until_killed)
        assert [made.poll()[0] for _ in range(3)] == ["ok", "ok", "failed"]
        asked = len(server.requests)
        assert made.poll()[0] == "ok"
        rest = [request for request in server.requests[asked:] if request.path != "/accounts"]
        assert len(rest) == (5 if how == "partitions" else 2)
        name = "events" if how == "pages" else "accounts/d/events"
        assert (rest[0].path, rest[0].params.get("page")) == (f"/{name}", "4" if how == "pages" else None)
        assert sum(map(len, made.rows)) == 5, "each was new once"


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"'], ids=["strong", "weak"])
def test_an_answer_that_is_not_modified_is_neither_sent_nor_loaded_again(
    polls: Make, http_api: HttpApi, tag: str
) -> None:
    http_api.script(tagged(tag), NOT_MODIFIED, tagged('"2"', b'[{"id": 2}]'))
    made = polls(pages_of(quick(), http_api.url))
    unchanged = []
    for _ in range(3):
        assert made.poll() == ("ok", None)
        unchanged.append(made.job.unchanged)
    assert made.rows == [[{"id": 1}], [{"id": 2}]]
    assert conditions(http_api) == [(None, None), (tag, None), (tag, None)]
    assert unchanged == [False, True, False]


def test_the_time_of_the_last_change_is_given_back_as_it_came(polls: Make, http_api: HttpApi) -> None:
    when = "Wed, 21 Oct 2015 07:28:00 GMT"
    http_api.script(Answer(headers=(("Last-Modified", when),)), NOT_MODIFIED, NOT_MODIFIED)
    made = polls(pages_of(quick(), http_api.url))
    for _ in range(3):
        made.poll()
    assert made.rows == [[{"id": 1}]]
    assert conditions(http_api) == [(None, None), (None, when), (None, when)]


def test_the_same_body_is_unchanged_whatever_the_server_says_of_it(polls: Make, http_api: HttpApi) -> None:
    http_api.script(Answer(), Answer(), tagged('"new"'), Answer(body=b'[{"id": 3}]'))
    made = polls(pages_of(quick(), http_api.url))
    for _ in range(4):
        assert made.poll() == ("ok", None)
    assert made.rows == [[{"id": 1}], [{"id": 3}]]


def test_what_is_remembered_outlives_a_restart_and_is_written_only_when_it_changed(
    polls: Make, http_api: HttpApi
) -> None:
    http_api.script(tagged('"1"'), NOT_MODIFIED, NOT_MODIFIED)
    source = pages_of(quick(), http_api.url)
    made = polls(source)
    made.poll()
    path = made.spool.layout.poll_state("c")
    written = path.stat()
    made.poll()
    made = polls(source)
    made.poll()
    assert conditions(http_api) == [(None, None), ('"1"', None), ('"1"', None)]
    assert path.stat().st_ino == written.st_ino


def test_of_a_poll_that_wasnt_accepted_whole_nothing_is_remembered(polls: Make, http_api: HttpApi) -> None:
    """Killed, stopped or failed after a page: it may not have been accepted, so it is asked for in full."""
    http_api.always(tagged('"1"'))
    http_api.script(tagged('"1"'), SERVER_ERROR)
    source = pages_of(quick(retry={"retries": 0}), http_api.url, http_api.url + "/2")
    made = polls(source)
    assert made.poll()[0] == "failed"
    made.stop.set()
    assert made.poll()[0] == "stopped"
    made = polls(source)
    assert made.poll() == ("ok", None)
    assert conditions(http_api) == [(None, None)] * 5
    made.poll()
    assert conditions(http_api)[5:] == [('"1"', None)] * 2


@pytest.mark.parametrize("ending", ["failed", "killed"])
def test_a_page_that_is_again_what_it_was_before_a_poll_that_did_not_end_well_is_loaded_again(
    polls: Make, http_api: HttpApi, ending: str
) -> None:
    """That poll accepted what came in between: the table has that, whatever the last whole poll had."""
    old, new, further = (Answer(body=body) for body in (b'[{"id": 0}]', b'[{"id": 1}]', b'[{"id": 2}]'))
    http_api.script(old, further, new, SERVER_ERROR)
    source = pages_of(quick(retry={"retries": 0}), http_api.url, http_api.url + "/2")
    made = polls(source)
    assert [made.poll()[0] for _ in range(2)] == ["ok", "failed"]
    if ending == "killed":
        made = polls(source)  # nothing is settled: its start finds what was accepted
    http_api.script(SERVER_ERROR, old, further, old, further)
    assert [made.poll()[0] for _ in range(3)] == ["failed", "ok", "ok"]
    assert made.rows == [[{"id": row}] for row in (0, 2, 1, 0, 2)]


@pytest.mark.parametrize("tag", [None, '"1"'], ids=["digest", "tag"])
def test_what_a_page_had_when_it_was_read_anew_is_what_the_next_poll_compares_with(
    polls: Make, http_api: HttpApi, tag: str | None
) -> None:
    """Page 2 isn't known any more, so page 1, unchanged before, is read again: it has another row now."""
    pages = [f'{{"items": [{{"id": {row}}}], "next": "?page=2"}}'.encode() for row in (0, 1)]
    headers = () if tag is None else (("ETag", tag),)
    old, new = (Answer(body=body, headers=headers) for body in pages)
    last, gone = Answer(body=b'{"items": [{"id": 2}]}'), Answer(404, b"")
    made = polls(RestSource(http_api.url, records="items", paging=NextUrl("next")))
    http_api.script(old, last, NOT_MODIFIED if tag else old, gone, new, last, last, old, last)
    for _ in range(3):
        assert made.poll() == ("ok", None)
    assert made.rows[-1] == [{"id": 0}]


@pytest.mark.parametrize("way", ["get", "pages", "unconditional"])
def test_what_a_collector_reads_besides_is_what_the_next_poll_compares_with(
    polls: Make, http_api: HttpApi, way: str
) -> None:
    old, new = (Answer(body=body) for body in (b'[{"id": 0}]', b'[{"id": 1}]'))
    rest, other = Rest(http_api.url), Rest(http_api.url, conditional=False)
    ways: dict[str, Callable[[], Any]] = {
        "get": lambda: iter([rest.get().json()]),
        "pages": lambda: (page.rows("", id="id") for page in rest.pages()),
        "unconditional": lambda: (page.rows("", id="id") for page in other.pages()),
    }
    second: list[str] = []

    def source() -> Iterator[Any]:
        for read in ("pages", *second):
            yield from ways[read]()

    made = polls(source)
    http_api.script(old, old, new, old)
    made.poll()
    second.append(way)
    made.poll()  # the one of the two finds what was, the other something new
    second.clear()
    made.poll()
    assert [row["id"] for batch in made.rows for row in batch] == [0, 1, 0]


def test_the_same_request_in_one_poll_is_left_out_only_as_long_as_it_brought_nothing_new(
    polls: Make, http_api: HttpApi
) -> None:
    old, new = tagged('"1"', b'[{"id": 0}]'), tagged('"2"', b'[{"id": 1}]')
    made = polls(pages_of(quick(), http_api.url, http_api.url))
    http_api.script(old, old, new, old, NOT_MODIFIED, NOT_MODIFIED)
    for _ in range(3):
        assert made.poll() == ("ok", None)
    assert [row["id"] for batch in made.rows for row in batch] == [0, 0, 1, 0]


def test_of_a_poll_that_was_put_off_nothing_is_remembered(polls: Make, http_api: HttpApi) -> None:
    """Its first page was read, and lost with it."""
    later = Answer(429, b"", headers=(("Retry-After", "7200"),))

    def source() -> Any:
        return [row for rows in pages_of(quick(), http_api.url, http_api.url + "/2")() for row in rows] or None

    made = polls(source)
    http_api.script(Answer(), Answer(body=b"[]"), Answer(body=b'[{"id": 2}]'), later)
    assert [made.poll()[0] for _ in range(2)] == ["ok", "waiting"]
    http_api.script(Answer(body=b'[{"id": 2}]'), Answer(body=b"[]"))
    assert made.poll() == ("ok", None)
    assert made.rows == [[{"id": 1}], [{"id": 2}]]


def test_a_poll_that_failed_and_accepted_nothing_leaves_unchanged_what_was(polls: Make, http_api: HttpApi) -> None:
    http_api.script(
        Answer(), Answer(body=b'[{"id": 2}]'), Answer(), SERVER_ERROR, Answer(), Answer(body=b'[{"id": 2}]')
    )
    made = polls(pages_of(quick(retry={"retries": 0}), http_api.url, http_api.url + "/2"))
    assert [made.poll()[0] for _ in range(3)] == ["ok", "failed", "ok"]
    assert made.rows == [[{"id": 1}], [{"id": 2}]]


def test_a_page_that_cant_be_shaped_is_asked_for_in_full_again(polls: Make, http_api: HttpApi) -> None:
    http_api.script(tagged('"1"', b'["no record"]'), tagged('"1"'))
    made = polls(pages_of(quick(), http_api.url))
    assert made.poll()[0] == "failed"
    assert made.poll() == ("ok", None)
    assert conditions(http_api) == [(None, None)] * 2
    assert made.rows == [[{"id": 1}]]


def test_a_reset_of_the_cursor_has_everything_asked_for_again_also_amidst_a_poll(
    polls: Make, http_api: HttpApi
) -> None:
    http_api.always(tagged('"1"'))
    fetch = pages_of(quick(), http_api.url)
    resetting = False

    def source() -> Iterator[Any]:
        yield from fetch()
        if resetting:
            made.shards.reset_cursor(None)

    made = polls(source)
    made.poll()
    made.shards.reset_cursor(None)
    made.poll()
    resetting = True
    http_api.script(tagged('"2"', b'[{"id": 2}]'))
    assert "reset while it was polled" in str(made.poll()[1])
    resetting = False
    made.poll()
    assert conditions(http_api) == [(None, None), (None, None), ('"1"', None), (None, None)]


def test_a_state_file_that_is_moved_away_has_everything_asked_for_again(polls: Make, http_api: HttpApi) -> None:
    http_api.always(tagged('"1"'))
    source = pages_of(quick(), http_api.url)
    made = polls(source)
    made.poll()
    made = polls(source)
    made.poll()
    made.shards.settle()
    made.spool.layout.state("c").unlink()
    made = polls(source)
    made.poll()
    assert [tag for tag, _ in conditions(http_api)] == [None, '"1"', None]


def test_what_was_remembered_with_an_answer_comes_with_the_word_that_it_is_unchanged(
    polls: Make, http_api: HttpApi
) -> None:
    http_api.script(tagged('"1"'), NOT_MODIFIED, NOT_MODIFIED)
    fetcher, memos = quick(), []

    def source() -> Any:
        fetched = fetcher.fetch(get(http_api.url))
        memos.append(fetched.memo)
        if fetched.answer is not None:
            fetched.remember({"next": [2]})
        return records(fetched)

    made = polls(source)
    for _ in range(3):
        made.poll()
    assert memos == [None, {"next": [2]}, {"next": [2]}]


def test_what_a_server_wants_nobody_to_store_is_not_stored(polls: Make, http_api: HttpApi) -> None:
    http_api.always(tagged('"1"', **{"Cache-Control": "private, No-Store"}))
    made = polls(pages_of(quick(), http_api.url))
    made.poll()
    made.poll()
    assert conditions(http_api) == [(None, None)] * 2
    assert made.rows == [[{"id": 1}]] * 2


@pytest.mark.parametrize("off", ["fetcher", "request"])
def test_remembering_can_be_left_off(polls: Make, http_api: HttpApi, off: str) -> None:
    http_api.always(tagged('"1"'))
    fetcher = quick(conditional=off != "fetcher")
    made = polls(lambda: records(fetcher.fetch(get(http_api.url), conditional=off != "request")))
    made.poll()
    made.poll()
    assert conditions(http_api) == [(None, None)] * 2
    assert made.rows == [[{"id": 1}]] * 2
    assert not made.job.unchanged


def test_outside_of_polls_every_answer_is_whole(http_api: HttpApi) -> None:
    http_api.always(tagged('"1"'))
    fetcher = quick()
    assert [records(fetcher.fetch(get(http_api.url))) for _ in range(2)] == [[{"id": 1}]] * 2
    assert conditions(http_api) == [(None, None)] * 2


def test_only_the_answers_to_the_last_requests_are_remembered(http_api: HttpApi) -> None:
    http_api.script(tagged('"1"'))
    with Http() as http:
        answer = http.get(http_api.url)
    keys = [str(number) for number in range(MOST + 20)]
    state: dict[str, Any] = {}
    for _ in range(2):
        context = PollContext(state=state)
        validators = Validators.of(context)
        sent = [validators.headers(key, "GET") for key in keys]
        assert not any(validators.unchanged(key, answer) for key in keys[:20])
        for key in keys[20:]:
            validators.unchanged(key, answer)
        state = json.loads(json.dumps(context.state))
    assert sent == [{}] * 20 + [{"If-None-Match": '"1"'}] * MOST


def test_one_accounts_answer_is_never_taken_for_anothers(polls: Make, http_api: HttpApi) -> None:
    """The same address, asked by accounts that differ by credentials, by a header of the API, or of the request."""
    by_name = [quick(auth={"type": "bearer", "token": f"token-of-{name}"}) for name in "ab"]
    by_header = [quick(http={"headers": {"X-Account": name}}) for name in "ab"]
    by_hook = [quick(auth=HTTPBasicAuth("me", name)) for name in "ab"]
    plain = quick()
    asks = [Ask("GET", http_api.url, headers=(("X-Account", name),)) for name in "ab"]

    def source() -> Iterator[Any]:
        for fetcher in (*by_name, *by_header, *by_hook):
            yield records(fetcher.fetch(get(http_api.url)))
        for ask in asks:
            yield records(plain.fetch(ask))

    made = polls(source)
    one, other = Answer(body=b'[{"id": 1}]'), Answer(body=b'[{"id": 2}]')
    http_api.script(*[one, other] * 4)
    made.poll()
    http_api.script(*[other, other] * 4)  # what the first has now is what the second had all along
    made.poll()
    assert made.rows == [[{"id": 1}], [{"id": 2}]] * 4 + [[{"id": 2}]] * 4


def test_of_another_accounts_credentials_in_the_same_file_nothing_is_remembered(
    polls: Make, http_api: HttpApi, tmp_path: Path
) -> None:
    """Also when the first account's come back: the table has the rows of the one in between."""
    for row in (0, 1, 2):
        http_api.script(tagged('"1"', b'[{"id": %d}]' % row), NOT_MODIFIED)
    (tmp_path / "AUTH").mkdir()
    source = pages_of(quick(auth="acc"), http_api.url)
    made = polls(source)
    for restart, token in enumerate(("of-one-account", "of-another-one", "of-one-account")):
        (tmp_path / "AUTH" / "acc.json").write_text(json.dumps({"type": "bearer", "token": token}))
        made = polls(source) if restart else made
        assert [made.poll() for _ in range(2)] == [("ok", None)] * 2
    assert made.rows == [[{"id": 0}], [{"id": 1}], [{"id": 2}]]
    assert [tag for tag, _ in conditions(http_api)] == [None, '"1"'] * 3


def test_an_account_is_the_same_with_another_password_or_client_secret() -> None:
    oauth = {"type": "oauth2", "token_url": "https://login.example.org/token", "client_id": "me"}
    basic = {"type": "basic", "username": "me"}

    def account(**fields: str) -> str:
        return read_credentials(fields, "acc", "acc.json").account()

    assert account(**basic, password="one") == account(**basic, password="two")
    assert account(**oauth, client_secret="one") == account(**oauth, client_secret="two")
    others = [
        account(**basic, password="one"),
        account(**{**basic, "username": "you"}, password="one"),
        account(**oauth, client_secret="one"),
        account(**{**oauth, "client_id": "you"}, client_secret="one"),
        account(**oauth, refresh_token="one"),
        account(**oauth, refresh_token="two"),
        account(type="bearer", token="one"),
        account(type="bearer", token="two"),
    ]
    assert len(set(others)) == len(others)


def test_what_is_remembered_lets_nobody_find_out_a_credential(http_api: HttpApi, tmp_path: Path) -> None:
    """Digests of the same credential and request differ from STORE to STORE, by a key that only its owner reads."""
    http_api.always(tagged('"1"'))
    kept = []
    for name in "ab":
        made = Polls(tmp_path / name, pages_of(quick(auth=("me", "short")), http_api.url + "?pin=1234"))
        made.poll()
        kept.append(json.loads(made.spool.layout.poll_state("c").read_bytes())["state"]["validators"])
        made.close()
        assert made.spool.layout.key.stat().st_mode & 0o777 == 0o600
    [(key, entry)], [(other_key, other)] = (each.items() for each in kept)
    assert key != other_key
    assert entry["account"] != other["account"]


def test_a_cache_that_answers_unasked_for_is_found_out(polls: Make, http_api: HttpApi) -> None:
    http_api.script(NOT_MODIFIED)
    made = polls(pages_of(quick(), http_api.url))
    assert "nobody asked whether it was modified" in str(made.poll()[1])


def test_a_poll_that_replaces_brings_all_its_rows_or_none(polls: Make, http_api: HttpApi) -> None:
    """A table of one page isn't loaded again; of two pages none is left out because only the other changed."""
    http_api.always(tagged('"1"'))
    source = pages_of(quick(), http_api.url)
    made = polls(source, replaces=True)
    made.poll()
    made.poll()
    made.poll()
    assert [tag for tag, _ in conditions(http_api)] == [None, '"1"', '"1"']
    one = len(made.rows)
    two_pages = pages_of(quick(), http_api.url, http_api.url + "/2")
    made.job.collector.import_target = two_pages
    http_api.always(Answer(body=b"[]"))
    http_api.script(NOT_MODIFIED)
    assert "left some out since they were unchanged" in str(made.poll()[1])
    http_api.always(tagged('"1"'))
    for _ in range(2):
        assert made.poll() == ("ok", None)
    assert [tag for tag, _ in conditions(http_api)][5:] == [None] * 4
    assert one < len(made.rows)


def test_a_file_that_was_damaged_costs_requests_and_no_rows(polls: Make, http_api: HttpApi) -> None:
    http_api.always(tagged('"1"'))
    made = polls(pages_of(quick(), http_api.url))
    made.poll()
    made.spool.layout.poll_state("c").write_bytes(b'{"state": {"valid')
    assert made.poll() == ("ok", None)
    assert conditions(http_api) == [(None, None)] * 2


def test_an_answer_that_is_an_error_changes_nothing_that_is_remembered(polls: Make, http_api: HttpApi) -> None:
    http_api.script(tagged('"1"'), Answer(404, b""), NOT_MODIFIED)
    fetcher = quick()

    def source() -> Any:
        try:
            return records(fetcher.fetch(get(http_api.url)))
        except HttpError:
            return None

    made = polls(source)
    for _ in range(3):
        assert made.poll() == ("ok", None)
    assert [tag for tag, _ in conditions(http_api)] == [None, '"1"', '"1"']


class Growing(HttpApi):
    """``/grows`` in pages of ``size``; a header alone says that there is another one, and the ETag is of the body.

    forgets  304 carries none of those headers
    """

    tags = True
    forgets = False
    size = 2

    def answer_to(self, request: Request) -> tuple[Answer, list[Record]]:
        super().answer_to(request)
        number = int(request.params.get("page", 1))
        with self._changed:
            records = self._records[self.size * (number - 1) : self.size * number]
            further = len(self._records) > self.size * number
        body = json.dumps(records).encode()
        own = (("Link", f'</grows?page={number + 1}>; rel="next"'), ("X-Next", str(number + 1))) if further else ()
        tag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if request.headers.get("If-None-Match") == tag:
            return Answer(304, b"", headers=() if self.forgets else own), []
        return Answer(body=body, headers=(("ETag", tag), *own) if self.tags else own), []


_BY = {"link": LinkHeader(), "cursor": NextCursor(header="X-Next", param="page"), "found": None}
_WAYS = [
    *((way, name) for way in ("same body", "304") for name in _BY),
    *(("304 without it", name) for name in ("link", "cursor")),  # of "found" nobody said that it is in a header
]


@pytest.mark.parametrize(("way", "name"), _WAYS)
def test_a_next_page_that_a_header_tells_of_is_read_also_where_the_body_before_it_stays(
    polls: Make, way: str, name: str
) -> None:
    with Growing([{"id": 0}, {"id": 1}]) as api:
        api.tags, api.forgets = way != "same body", way == "304 without it"
        made = polls(RestSource(api.url.replace("records", "grows"), paging=_BY[name]))
        for further in ([], [{"id": 2}, {"id": 3}], [], [{"id": 4}], []):
            api.add(*further)
            assert made.poll() == ("ok", None)
        assert [row["id"] for batch in made.rows for row in batch] == [0, 1, 2, 3, 4]
        if api.tags:
            assert api.requests[-3].headers.get("If-None-Match"), "what has a next page is asked for by its tag"


def test_a_last_page_that_is_short_is_asked_for_by_its_tag(polls: Make) -> None:
    with Growing([{"id": 0}]) as api:
        made = polls(RestSource(api.url.replace("records", "grows"), params={"limit": 2}, paging=LinkHeader()))
        made.poll()
        made.poll()
        assert made.job.unchanged
        assert api.requests[1].headers.get("If-None-Match")


@pytest.mark.parametrize("further", [(), (("Link", '</records?page=2>; rel="next"'),)])
def test_a_page_that_has_lost_its_row_of_names_fails_also_behind_one_that_is_unchanged(
    polls: Make, http_api: HttpApi, further: Any
) -> None:
    def page(body: bytes, *more: tuple[str, str]) -> Answer:
        return Answer(body=body, headers=(("ETag", body.hex()), *more), content_type="text/csv")

    paging = LinkHeader() if further else PageNumber(2)
    bodies = (b"id,name\n1,a\n2,b\n",) if further else (b"id,name\n1,a\n2,b\n", b"id,name\n3,c\n", b"")
    http_api.script(*(page(body) for body in bodies))
    http_api.script(page(bodies[0], *further), page(b"3,c\n4,d\n"))
    made = polls(RestSource(Rest(http_api.url, retry=0), paging=paging))
    assert made.poll() == ("ok", None)
    assert "named as on the first page read ('id', 'name')" in str(made.poll()[1])


@pytest.mark.parametrize(
    ("size", "params"),
    [
        (10, {"per_page": 1000}),  # the server gives so many at most
        (16, {"limit": 100}),
        (3, {"size": 42, "count": 7, "top": 9}),  # filters
        (3, {"limit": 3, "per_page": 100}),
    ],
)
def test_what_comes_behind_a_page_that_only_seems_short_is_read_at_the_next_poll(
    polls: Make, size: int, params: dict[str, int]
) -> None:
    with Growing([{"id": number} for number in range(size)]) as api:
        api.size, api.forgets = size, True
        made = polls(RestSource(api.url.replace("records", "grows"), params=params, paging=LinkHeader()))
        made.poll()
        made.poll()
        assert made.job.unchanged
        api.add({"id": size})
        made.poll()
        assert [row["id"] for batch in made.rows for row in batch] == list(range(size + 1))


@pytest.mark.parametrize("count", [1, 5])
def test_a_last_page_that_seems_short_by_a_page_before_it_or_by_what_was_asked_for_is_looked_at_once_an_hour(
    polls: Make, count: int
) -> None:
    with Growing([{"id": number} for number in range(count)]) as api:
        api.size, api.forgets = min(count, 2), True
        params = {"limit": 3} if count == 1 else {}
        made = polls(RestSource(api.url.replace("records", "grows"), params=params, paging=LinkHeader()))

        def asks_whole(minute: int) -> bool:
            assert made.poll(later_s=minute * 60) == ("ok", None)
            return api.requests[-1].headers.get("If-None-Match") is None

        assert [minute for minute in (0, 1, 50, 62, 63, 120, 124) if asks_whole(minute)] == [0, 62, 124]
        api.add({"id": count})
        made.poll(later_s=185 * 60)
        assert [row["id"] for batch in made.rows for row in batch][-1] == count


def test_a_total_in_a_header_that_grows_is_told_also_where_the_body_stays(polls: Make, http_api: HttpApi) -> None:
    http_api.script(*(Answer(headers=(("X-Total-Count", total),)) for total in "11"))
    http_api.always(Answer(headers=(("X-Total-Count", "2"),)))
    made = polls(RestSource(http_api.url))
    assert [made.poll()[0] for _ in range(2)] == ["ok", "ok"]
    assert "X-Total-Count says that there are 2, but these are 1" in str(made.poll()[1])


def test_a_total_in_a_header_that_grows_fails_no_poll_where_who_reads_pages_says_where_records_are(
    polls: Make, http_api: HttpApi
) -> None:
    both = b'{"items": [{"id": 1}], "others": [{"id": 2}]}'
    http_api.script(*(Answer(body=body, headers=(("X-Total-Count", "1"),)) for body in (both, b'{"items": []}')))
    http_api.script(*(Answer(body=body, headers=(("X-Total-Count", "2"),)) for body in (both, b'{"items": []}')))
    rest = Rest(http_api.url)
    made = polls(lambda: (page.rows("items", id="id") for page in rest.pages(params={"page": 1})))
    assert [made.poll() for _ in range(2)] == [("ok", None)] * 2
    assert made.rows == [[{"id": 1}]]


def test_what_a_schedule_learns_from_is_news_alone_and_nothing_of_a_poll_that_is_put_off(
    polls: Make, http_api: HttpApi
) -> None:
    http_api.script(
        tagged('"1"', b'[{"id": 1}]'),
        NOT_MODIFIED,
        tagged('"2"', b'[ {"id": 1} ]'),  # another body, the same rows
        tagged('"3"', b'[{"id": 2}]'),
        NOT_MODIFIED,
        Answer(429, b"", headers=(("Retry-After", "7200"),)),
    )
    made = polls(RestSource(http_api.url))
    ends: list[End] = []
    made.job.watches_changes, made.job.ended = True, ends.append
    for _ in range(6):
        made.poll()
    assert [(end.outcome, end.changed) for end in ends] == [
        ("ok", True),
        ("ok", False),
        ("ok", False),
        ("ok", True),
        ("ok", False),
        ("waiting", False),
    ]
