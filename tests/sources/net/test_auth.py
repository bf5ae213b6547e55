"""Credentials: sent as the API wants them, renewed in time, never lost, and never shown or sent to anybody else."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from api2db.errors import ConfigError, SourceError
from api2db.settings import load
from api2db.sources.context import POLL, PollContext
from api2db.sources.http import HttpError
from api2db.sources.net.fetcher import Fetcher
from api2db.sources.rest.ask import Ask
from tests import warm
from tests.http_api import Answer, HttpApi
from tests.project_kit import REPOSITORY, TIMEOUT_S
from tests.sources.net.kit import get, quick, records
from tests.sources.net.token_server import TokenServer

SECRET = "cAnArY-0123456789"
Written = Callable[..., PollContext]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    """Write AUTH/usgs.json; a poll that finds it."""
    context = PollContext("c", credentials=tmp_path / "AUTH", tokens=tmp_path / "STORE" / "tokens")
    context.credentials.mkdir()
    token = POLL.set(context)

    def write(**fields: object) -> PollContext:
        path = context.credentials / "usgs.json"
        path.write_text(json.dumps(fields))
        path.chmod(0o600)
        return context

    yield write
    POLL.reset(token)


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[HttpApi]:
    """Another host: another port is one."""
    with HttpApi([{"id": 2}]) as api:
        yield api


class Signed(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Signature"] = f"{SECRET}-{request.method}"
        return request


KINDS: list[tuple[object, str, str]] = [
    ({"type": "key", "key": SECRET, "header": "X-Api-Key"}, "X-Api-Key", SECRET),
    ({"type": "key", "key": SECRET, "header": "Authorization", "prefix": "Token "}, "Authorization", f"Token {SECRET}"),
    ({"type": "bearer", "token": SECRET}, "Authorization", f"Bearer {SECRET}"),
    ({"type": "basic", "username": "me", "password": "hunter2"}, "Authorization", "Basic bWU6aHVudGVyMg=="),
    (("me", "hunter2"), "Authorization", "Basic bWU6aHVudGVyMg=="),
    (Signed(), "X-Signature", f"{SECRET}-GET"),
    (HTTPBasicAuth("me", "hunter2"), "Authorization", "Basic bWU6aHVudGVyMg=="),
]
IDS = ["key", "key with prefix", "bearer", "basic", "pair", "hook", "requests' own"]


@pytest.mark.parametrize(("auth", "header", "value"), KINDS, ids=IDS)
def test_credentials_are_sent_as_the_api_wants_them(http_api: HttpApi, auth: object, header: str, value: str) -> None:
    assert records(quick(auth=auth).fetch(get(http_api.url))) == [{"id": 1}]
    assert http_api.requests[0].headers[header] == value


def test_a_key_may_be_a_parameter_beside_others(http_api: HttpApi) -> None:
    quick(auth={"type": "key", "key": "a b&c", "param": "appid"}).fetch(get(http_api.url, page="1"))
    assert http_api.requests[0].params == {"page": "1", "appid": "a b&c"}


def test_a_name_stands_for_a_file_and_a_mended_file_is_used_at_once(http_api: HttpApi, written: Written) -> None:
    fetcher = quick(auth="usgs")
    with pytest.raises(ConfigError, match=r"no credentials 'usgs': .*AUTH/usgs.json isn't there, nor API2DB_AUTH_USGS"):
        fetcher.fetch(get(http_api.url))
    written(type="bearer", token="old-token")
    fetcher.fetch(get(http_api.url))
    http_api.script(Answer(401, b"{}"))
    with pytest.raises(HttpError, match="answered 401"):
        fetcher.fetch(get(http_api.url))
    written(type="bearer", token="a-new-token")
    fetcher.fetch(get(http_api.url))
    assert [each.headers["Authorization"] for each in http_api.requests] == [
        *["Bearer old-token"] * 2,
        "Bearer a-new-token",
    ]


def test_the_environment_has_the_last_word_and_is_enough(
    http_api: HttpApi, written: Written, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written(type="bearer", token="of-the-file")
    monkeypatch.setenv("API2DB_AUTH_USGS_TOKEN", "of-the-environment")
    monkeypatch.setenv("API2DB_AUTH_OTHER_API_TYPE", "key")
    monkeypatch.setenv("API2DB_AUTH_OTHER_API_KEY", SECRET)
    monkeypatch.setenv("API2DB_AUTH_OTHER_API_HEADER", "X-Key")
    quick(auth="usgs").fetch(get(http_api.url))
    quick(auth="other-api").fetch(get(http_api.url))
    assert http_api.requests[0].headers["Authorization"] == "Bearer of-the-environment"
    assert http_api.requests[1].headers["X-Key"] == SECRET
    load(tmp_path)  # these are no mistyped settings


WRONG: list[tuple[dict[str, object], str]] = [
    ({}, "type must be one of key, bearer, basic, oauth2"),
    ({"type": "baerer", "token": SECRET}, "did you mean"),
    ({"type": "bearer", "tokn": SECRET}, "there is no key 'tokn'"),
    ({"type": "bearer", "token": 5}, "token must be text"),
    ({"type": "bearer", "token": ""}, "token missing or empty"),
    ({"type": "basic", "password": SECRET}, "username missing or empty"),
    ({"type": "key", "key": SECRET}, "either header or param"),
    ({"type": "oauth2", "token_url": "https://a.example/t", "client_id": "x"}, "client_secret missing or empty"),
    ({"type": "oauth2", "token_url": "http://a.example/t", "client_id": "x", "client_secret": SECRET}, "https://"),
    (
        {"type": "oauth2", "token_url": "https://a/t", "client_id": "x", "client_secret": SECRET, "client_auth": "get"},
        "client_auth is basic or body",
    ),
    ({"type": "bearer", "token": SECRET, "params": {"a": 1}}, "params must be an object of texts"),
    ({"type": "bearer", "token": f"{SECRET}\n"}, "token has a line break at its end, and no header can be sent so"),
    ({"type": "key", "key": f"{SECRET}\n{SECRET}", "header": "X-Key"}, "key has a line break in it"),
    ({"type": "key", "key": f"{SECRET}\x00", "header": "X-Key"}, "key has a control character in it"),
    ({"type": "key", "key": SECRET, "prefix": "k€y ", "header": "X-Key"}, "prefix has a letter in it that isn't of"),
    ({"type": "key", "key": SECRET, "header": "X Key"}, "header isn't a header's name"),
]


@pytest.mark.parametrize(("fields", "words"), WRONG)
def test_what_is_wrong_in_a_file_is_said_without_its_secrets(
    written: Written, fields: dict[str, object], words: str
) -> None:
    written(**fields)
    with pytest.raises(ConfigError, match=words) as raised:
        quick(auth="usgs").fetch(get("http://127.0.0.1:9/"))
    assert "usgs.json" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("auth", [5, ("a",), "../secret", ""])
def test_what_is_no_credential_is_refused_where_it_is_written(auth: object) -> None:
    with pytest.raises(ConfigError, match="auth="):
        Fetcher(auth=auth)


@pytest.mark.parametrize("auth", [*(kind for kind, _, _ in KINDS), {"type": "key", "key": SECRET, "param": "key"}],
                         ids=[*IDS, "parameter"])  # fmt: skip
def test_credentials_go_to_no_other_host(http_api: HttpApi, elsewhere: HttpApi, auth: object) -> None:
    """By redirect, by an address that the API itself gave for the next page, or by one that was kept from before."""
    fetcher = quick(
        auth=auth, home=http_api.url, http={"headers": {"X-Mine": SECRET, "Accept": "a/b"}, "params": {"mine": SECRET}}
    )
    by_name = elsewhere.url.replace("127.0.0.1", "localhost")  # cookies know hosts, but no ports
    http_api.script(Answer(302, b"", headers=(("Location", by_name), ("Set-Cookie", f"session={SECRET}"))))
    fetcher.fetch(get(http_api.url))
    fetcher.fetch(Ask("GET", elsewhere.url, headers=(("X-Ask", SECRET), ("Accept-Language", "en"))))
    fetcher.fetch(get(by_name))
    assert len(elsewhere.requests) == 3
    for request in elsewhere.requests:
        assert not {"Authorization", "Cookie", "X-Api-Key", "X-Signature", "X-Mine", "X-Ask"} & set(request.headers)
        assert not request.params
        assert request.headers["Accept"] == "a/b"
    with pytest.raises(SourceError, match="its body isn't sent there"):
        fetcher.fetch(Ask("POST", elsewhere.url, body=SECRET.encode()))
    assert len(elsewhere.requests) == 3
    fetcher.fetch(get(http_api.url))
    assert http_api.requests[-1].headers["X-Mine"] == SECRET


def test_without_a_host_of_their_own_credentials_are_for_the_first_that_is_asked(
    http_api: HttpApi, elsewhere: HttpApi
) -> None:
    fetcher = quick(auth={"type": "bearer", "token": SECRET})
    fetcher.fetch(get(http_api.url))
    fetcher.fetch(get(elsewhere.url))
    assert "Authorization" in http_api.requests[0].headers
    assert "Authorization" not in elsewhere.requests[0].headers


def test_a_digest_isnt_worked_out_for_another_host(http_api: HttpApi, elsewhere: HttpApi) -> None:
    http_api.script(Answer(302, b"", headers=(("Location", elsewhere.url),)))
    challenge = ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')
    elsewhere.always(Answer(401, b"{}", headers=(challenge,)))
    fetcher = quick(auth=HTTPDigestAuth("me", SECRET))
    with pytest.raises(HttpError, match="answered 401"):
        fetcher.fetch(get(http_api.url))
    assert [set(each.headers) & {"Authorization"} for each in elsewhere.requests] == [set()]
    http_api.script(Answer(401, b"{}", headers=(challenge,)))
    assert records(fetcher.fetch(get(http_api.url))) == [{"id": 1}]
    assert http_api.requests[-1].headers["Authorization"].startswith("Digest ")


@pytest.mark.parametrize("auth", [kind for kind, _, _ in KINDS] + [{"type": "key", "key": SECRET, "param": "key"}],
                         ids=[*IDS, "parameter"])  # fmt: skip
def test_no_error_and_no_repr_shows_credentials_that_a_server_quotes(http_api: HttpApi, auth: object) -> None:
    basic = isinstance(auth, (tuple, HTTPBasicAuth)) or (isinstance(auth, dict) and auth["type"] == "basic")
    quoted = f"no {SECRET}-GET no {SECRET}"
    http_api.always(Answer(400, f"{quoted} no hunter2 no bWU6aHVudGVyMg==".encode() if basic else quoted.encode()))
    fetcher = quick(auth=auth, http={"params": {"mine": SECRET}})
    with pytest.raises(HttpError) as raised:
        fetcher.fetch(get(http_api.url))
    for text in (str(raised.value), repr(fetcher), repr(vars(fetcher)), repr(vars(fetcher._patient))):
        assert SECRET not in text
    assert "bWU6" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


def oauth2(server: TokenServer, **more: object) -> dict[str, object]:
    return {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "me", "client_secret": SECRET, **more}


def test_client_credentials_are_exchanged_for_a_token_that_serves_until_it_expires(
    tokens: TokenServer, written: Written
) -> None:
    written(**oauth2(tokens, scope="read all", params={"audience": "https://api.example.org"}))
    fetcher = quick(auth="usgs", home=tokens.url)
    for _ in range(3):
        assert records(fetcher.fetch(get(f"{tokens.url}/records"))) == [{"id": 1}]
    assert tokens.asked == [
        {"grant_type": "client_credentials", "scope": "read all", "basic": f"me:{SECRET}"}
        | {"audience": "https://api.example.org"}
    ]
    assert tokens.answers == [200] * 3


def test_a_line_break_in_a_variable_is_told_by_the_variables_name(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API2DB_AUTH_USGS_TOKEN", f"{SECRET}\n")
    written(type="bearer", token="of-the-file")
    with pytest.raises(ConfigError, match=r"usgs.json \(and API2DB_AUTH_USGS_TOKEN\): token has a line break"):
        quick(auth="usgs").fetch(get("http://127.0.0.1:9/"))


def test_a_header_of_a_hook_that_cannot_be_sent_is_told_without_it(http_api: HttpApi) -> None:
    def hook(request: Any) -> Any:
        request.headers["X-Me"] = f"{SECRET}\n"
        return request

    with pytest.raises(HttpError, match="a header has a line break or a letter that none can have") as raised:
        quick(auth=hook).fetch(get(http_api.url))
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"access_token": ""}, "its access_token has nothing in it"),
        ({"access_token": f"{SECRET}\n"}, "its access_token has a line break at its end"),
        ({"access_token": SECRET, "expires_in": float("inf")}, "no answer of OAuth 2"),
    ],
)
def test_a_token_that_cannot_be_used_is_told_and_not_kept(
    tokens: TokenServer, written: Written, said: dict[str, object], words: str
) -> None:
    context = written(**oauth2(tokens))
    tokens.refusing = (200, {"token_type": "Bearer", **said})
    with pytest.raises(SourceError, match=rf"usgs.json: 127.0.0.1 gives no token \(200, {words}") as raised:
        quick(auth="usgs", home=tokens.url).fetch(get(f"{tokens.url}/records"))
    assert SECRET not in str(raised.value)
    tokens.refusing = None
    assert context.tokens is not None
    assert not list(context.tokens.glob("*.json"))
    assert records(quick(auth="usgs", home=tokens.url).fetch(get(f"{tokens.url}/records"))) == [{"id": 1}]


def test_a_client_may_have_to_say_its_secret_in_the_body(tokens: TokenServer, written: Written) -> None:
    written(**oauth2(tokens, client_auth="body"))
    quick(auth="usgs", home=tokens.url).fetch(get(f"{tokens.url}/records"))
    assert tokens.asked == [{"grant_type": "client_credentials", "client_id": "me", "client_secret": SECRET}]


def test_a_token_is_renewed_before_it_expires(tokens: TokenServer, written: Written) -> None:
    written(**oauth2(tokens))
    fetcher = quick(auth="usgs", home=tokens.url)
    tokens.lifetime_s = -1  # over at once: each request needs another
    for _ in range(2):
        fetcher.fetch(get(f"{tokens.url}/records"))
    assert tokens.answers == [200, 200]
    assert len(tokens.asked) == 2


@pytest.mark.parametrize("lifetime_s", [3600, None], ids=["said", "unsaid"])
def test_a_token_that_is_refused_is_renewed_once(
    tokens: TokenServer, written: Written, lifetime_s: float | None
) -> None:
    written(**oauth2(tokens))
    tokens.lifetime_s = lifetime_s
    fetcher = quick(auth="usgs", home=tokens.url)
    fetcher.fetch(get(f"{tokens.url}/records"))
    tokens.revoke()
    assert records(fetcher.fetch(get(f"{tokens.url}/records"))) == [{"id": 1}]
    assert tokens.answers == [200, 401, 200]
    with HttpApi() as strict:
        strict.always(Answer(401, b"{}"))
        fetcher = quick(auth="usgs", home=strict.url)
        with pytest.raises(HttpError, match="answered 401"):
            fetcher.fetch(get(strict.url))
        assert len(strict.requests) == 2


def test_a_refresh_token_that_is_replaced_each_time_is_kept_for_the_next_process_by_its_owner_alone(
    tokens: TokenServer, written: Written
) -> None:
    context = written(**oauth2(tokens, refresh_token="refresh-0"))
    tokens.lifetime_s = -1
    for _ in range(3):
        quick(auth="usgs", home=tokens.url).fetch(get(f"{tokens.url}/records"))
    assert [each["refresh_token"] for each in tokens.asked] == ["refresh-0", "refresh-1", "refresh-2"]
    assert context.tokens is not None
    modes = {stat.S_IMODE(path.stat().st_mode) for path in context.tokens.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(context.tokens.stat().st_mode) == 0o700
    # A person has logged in anew: what the old login led to is forgotten.
    tokens.refresh_token = "refresh-new"
    written(**oauth2(tokens, refresh_token="refresh-new"))
    quick(auth="usgs", home=tokens.url).fetch(get(f"{tokens.url}/records"))
    assert tokens.asked[-1]["refresh_token"] == "refresh-new"


def test_many_threads_renew_a_token_once(tokens: TokenServer, written: Written) -> None:
    context = written(**oauth2(tokens, refresh_token="refresh-0"))
    answers: list[object] = []

    def ask(fetcher: Fetcher) -> None:
        POLL.set(PollContext(credentials=context.credentials, tokens=context.tokens))
        answers.append(records(fetcher.fetch(get(f"{tokens.url}/records"))))

    # Two fetchers with the same credentials, as two processes have them.
    fetchers = [quick(auth="usgs", home=tokens.url) for _ in range(2)]
    threads = [threading.Thread(target=ask, args=(fetchers[number % 2],)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[{"id": 1}]] * 6
    assert len(tokens.asked) == 1


ONE_REQUEST = """
import sys
from pathlib import Path
from api2db.sources.context import POLL, PollContext
from api2db.sources.net.fetcher import Fetcher
from api2db.sources.rest.ask import Ask
url, folder = sys.argv[1:]
POLL.set(PollContext(credentials=Path(folder) / "AUTH", tokens=Path(folder) / "STORE" / "tokens"))
print(Fetcher(auth="usgs", home=url).fetch(Ask("GET", url + "/records")).answer.text)
"""


@pytest.mark.parametrize("point", ["token.given", "token.kept"])
def test_a_kill_while_a_refresh_token_is_replaced_loses_none(
    tokens: TokenServer, written: Written, tmp_path: Path, point: str
) -> None:
    written(**oauth2(tokens, refresh_token="refresh-0"))

    def run(**env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", ONE_REQUEST, tokens.url, str(tmp_path)]
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **env}
        return warm.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S)

    tokens.lifetime_s = -1
    assert run(API2DB_FAILPOINT=point).returncode == -signal.SIGKILL
    # Of an answer that was lost the old one is sent again, of one that was kept the new one.
    done = run()
    assert json.loads(done.stdout) == [{"id": 1}], done.stderr
    second = {"token.given": "refresh-0", "token.kept": "refresh-1"}[point]
    assert [each["refresh_token"] for each in tokens.asked] == ["refresh-0", second]


@pytest.mark.parametrize(
    ("refusing", "words"),
    [
        ((401, {"error": "invalid_client"}), r"usgs.json: 127.0.0.1 gives no token \(401, .*invalid_client.*correct"),
        ((400, {"error": "invalid_grant", "error_description": f"no {SECRET} no refresh-0"}), "log in there again"),
        ((200, {"token": SECRET}), r"gives no token \(200"),
        ((200, {"access_token": {"a": SECRET}}), r"gives no token \(200, no answer of OAuth 2\)"),
        ((200, [SECRET]), r"gives no token \(200, no answer of OAuth 2\)"),
        ((404, {}), r"gives no token \(404"),
    ],
)
def test_why_there_is_no_token_is_said_without_secrets(
    tokens: TokenServer, written: Written, refusing: tuple[int, Any], words: str
) -> None:
    written(**oauth2(tokens, refresh_token="refresh-0"))
    tokens.refusing = refusing
    with pytest.raises(SourceError, match=words) as raised:
        quick(auth="usgs", home=tokens.url).fetch(get(f"{tokens.url}/records"))
    for secret in (SECRET, "refresh-0"):
        assert secret not in str(raised.value)
    assert tokens.answers == []


def test_a_refresh_token_isnt_used_where_the_next_one_cant_be_kept(tokens: TokenServer) -> None:
    auth: Mapping[str, object] = oauth2(tokens, refresh_token="refresh-0")
    with pytest.raises(ConfigError, match="where the one that replaces it can be kept"):
        quick(auth=auth, home=tokens.url).fetch(get(f"{tokens.url}/records"))
    assert tokens.asked == []
    assert records(quick(auth=oauth2(tokens), home=tokens.url).fetch(get(f"{tokens.url}/records"))) == [{"id": 1}]
