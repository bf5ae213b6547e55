"""``Http``: whatever a server does, a request ends in time, within its size, with an error that says what came."""

from __future__ import annotations

import gzip
import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import requests
from requests.auth import HTTPBasicAuth

from api2db import Http
from api2db.errors import ConfigError, SourceError
from api2db.sources.http import HttpError
from tests.http_api import HANG, HTML, OK, RESET, SLOW_BODY, SLOW_HEADERS, TRUNCATED, Answer, HttpApi
from tests.project_kit import REPOSITORY

CANARY = "cAnArY-0123456789"
BIG = 5 * 10**9


@pytest.fixture
def elsewhere() -> Iterator[HttpApi]:
    """Another host."""
    with HttpApi([{"id": 2}]) as api:
        yield api


def redirect(to: str, status: int = 302, body: bytes = b"") -> Answer:
    return Answer(status, body, headers=(("Location", to),))


def test_what_an_api_answers_is_read_with_every_digit(http_api: HttpApi) -> None:
    http_api.script(Answer(body=b'{"id": 1180591620717411303424}'))
    with Http() as http:
        assert http.get(http_api.url).json() == {"id": 2**70}
        http_api.script(Answer(body=gzip.compress(b"[1]"), headers=(("Content-Encoding", "gzip"),)))
        assert http.get(http_api.url).json() == [1]
        http_api.script(Answer(body=b"[1, 2]"))
        assert b"".join(http.get(http_api.url, stream=True).iter_content(2)) == b"[1, 2]"
    assert http_api.requests[0].headers["User-Agent"].startswith("api2db/")


@pytest.mark.parametrize("answer", [HANG, SLOW_HEADERS, SLOW_BODY], ids=["hang", "slow headers", "slow body"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_is_slow_in_any_way_is_given_up_at_the_deadline(
    http_api: HttpApi, answer: Answer, stream: bool
) -> None:
    http_api.script(answer)
    with Http(deadline_s=0.2) as http:
        with pytest.raises(HttpError, match=r"GET http://.*: not answered whole within its deadline of 0\.2 s"):
            _ = http.get(http_api.url, stream=stream).content
        http_api.release()
        assert http.get(http_api.url).json() == []


def test_the_deadline_is_of_all_redirects_together(http_api: HttpApi) -> None:
    http_api.script(redirect(http_api.url), redirect(http_api.url), SLOW_BODY)
    with Http(deadline_s=0.3) as http, pytest.raises(HttpError, match=r"deadline of 0\.3 s"):
        http.get(http_api.url)
    assert len(http_api.requests) == 3


def test_a_server_that_falls_silent_is_given_up_after_the_timeout_of_a_read(http_api: HttpApi) -> None:
    http_api.hang()
    with Http(read_s=0.1) as http, pytest.raises(HttpError, match="fell silent"):
        http.get(http_api.url)
    with Http() as http, pytest.raises(HttpError, match="fell silent"):
        http.get(http_api.url, timeout=0.1)


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RESET, "Connection reset by peer"),
        (TRUNCATED, "IncompleteRead"),
        (Answer(body=b"[1, 2, 3]", announced=20), "IncompleteRead"),
        (Answer(body=b"[1, 2, 3]", announced=5), "200 OK, application/json: the answer isn't JSON"),
        (Answer(body=b"[1, 2", announced=-1), "the answer isn't JSON"),
        (Answer(body=b"not gzip at all", headers=(("Content-Encoding", "gzip"),)), "ContentDecodingError"),
        (HTML, r"200 OK, text/html: the answer is HTML or XML, not JSON .*33 bytes, starting '<html><body>Sign in"),
        (Answer(body=b""), "the answer is empty"),
        (Answer(body=b"[" * 100_000), r"nested too deep to read: 100,000 bytes, starting '\[{100}'$"),
        (Answer(body=b'{"a":' * 100_000), "nested too deep to read"),
        (Answer(body=b'["\xff"]'), "isn't UTF-8 "),
        (Answer(500, b"out of order", "text/plain"), "500 Internal Server Error, text/plain: 12 bytes, starting 'out"),
        (Answer(403, b'{"error": 1}'), "403 Forbidden, application/json"),
    ],
)
def test_what_is_not_the_answer_says_what_came_instead(http_api: HttpApi, answer: Answer, words: str) -> None:
    http_api.script(answer)
    with Http() as http, pytest.raises(HttpError, match=rf"^GET {http_api.url}\?page=1.*{words}"):
        http.get(http_api.url, params={"page": 1}).json()


def test_a_host_that_has_no_address_or_no_server_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/a"
        for url, words in (
            (closed, "Connection refused"),
            ("http://no-such-host.invalid/a", "no-such-host.invalid/a: ConnectionError: Failed to resolve"),
            ("http://" + "a" * 70 + ".de/", "label empty or too long"),
            ("file:///etc/passwd", "No connection adapters"),
            ("nonsense", "can't be asked for: MissingSchema"),
        ):
            with Http() as http, pytest.raises(HttpError, match=words):
                http.get(url)


def test_errors_are_those_of_requests_too(http_api: HttpApi) -> None:
    """A collector written for requests goes on catching what it caught."""
    http_api.script(Answer(404, b"{}"), Answer(404, b'{"gone": true}'))
    with Http() as http, pytest.raises(requests.RequestException) as caught:
        http.get(http_api.url)
    assert isinstance(caught.value, SourceError)
    assert caught.value.response is not None
    assert caught.value.response.status_code == 404
    with Http(check_status=False) as http:
        answer = http.get(http_api.url)
        assert answer.json() == {"gone": True}
        with pytest.raises(HttpError, match="404"):
            answer.raise_for_status()


def test_a_redirect_loop_ends(http_api: HttpApi) -> None:
    http_api.always(redirect(http_api.url))
    with Http() as http, pytest.raises(HttpError, match="redirected too often, the last time from http"):
        http.get(http_api.url)
    assert len(http_api.requests) == 11


def test_a_redirect_takes_no_credential_to_another_host(http_api: HttpApi, elsewhere: HttpApi) -> None:
    keys = {"X-Api-Key": CANARY, "Authorization": f"Bearer {CANARY}", "Accept": "application/json"}
    http_api.script(redirect(http_api.url), redirect(elsewhere.url))
    with Http(headers=keys, params={"appid": CANARY}) as http:
        http.cookies.set("session", CANARY, domain="example.org")
        assert http.get(http_api.url, headers={"X-Other": CANARY}).json() == [{"id": 2}]
    for request in http_api.requests[:2]:  # the same host keeps them
        assert {name for name, value in request.headers.items() if CANARY in value} == {
            "X-Api-Key", "Authorization", "X-Other",
        }  # fmt: skip
    (there,) = elsewhere.requests
    assert CANARY not in json.dumps([there.headers, there.params])
    assert there.headers["Accept"] == "application/json"


def test_a_key_that_the_server_repeats_in_a_redirect_does_not_reach_another_host(
    http_api: HttpApi, elsewhere: HttpApi
) -> None:
    http_api.script(
        redirect(f"{elsewhere.url}?api_key={CANARY}&page=2&file=weekly-report-of-may"),
        redirect(f"{elsewhere.url}?back=http%3A%2F%2Fa%2F%3Fapi_key%3D{CANARY}&page=2"),
        redirect(f"{elsewhere.url}/{CANARY}"),
    )
    with Http() as http:
        for _ in range(2):
            http.get(http_api.url, params={"api_key": CANARY, "page": "2", "file": "weekly-report-of-may"})
        with pytest.raises(HttpError, match="another host by an address with a credential in it") as caught:
            http.get(http_api.url, params={"api_key": CANARY})
    assert [request.params for request in elsewhere.requests] == [
        {"page": "2", "file": "weekly-report-of-may"},
        {"page": "2"},
    ]
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("spelled", ["abcd+efgh/ijkl==", "abcd%2Befgh%2Fijkl%3D%3D", "abcd%2befgh/ijkl=%3d"])
def test_a_key_with_a_plus_does_not_reach_another_host_however_it_is_spelled(
    http_api: HttpApi, elsewhere: HttpApi, spelled: str
) -> None:
    again = f"http%3A%2F%2Fa%2F%3Fapi_key%3D{spelled.replace('%', '%25')}"
    http_api.script(redirect(f"{elsewhere.url}?k={spelled}&u={again}&page=2"), redirect(f"{elsewhere.url}/{spelled}"))
    with Http() as http:
        http.get(http_api.url, params={"api_key": "abcd+efgh/ijkl=="})
        with pytest.raises(HttpError, match="another host by an address with a credential in it"):
            http.get(http_api.url, params={"api_key": "abcd+efgh/ijkl=="})
    assert [request.params for request in elsewhere.requests] == [{"page": "2"}]


def test_a_redirect_at_the_same_host_keeps_the_key_that_is_a_parameter(http_api: HttpApi) -> None:
    http_api.script(redirect(http_api.url + "/"), redirect(http_api.url + "//?page=2"))
    with Http() as http:
        http.get(http_api.url, params={"api_key": CANARY, "page": "1"})
    assert [request.params for request in http_api.requests] == [
        {"api_key": CANARY, "page": "1"},
        {"api_key": CANARY},
        {"page": "2", "api_key": CANARY},
    ]


def test_a_server_that_takes_the_key_and_goes_on_by_a_cookie_is_not_asked_in_a_circle(http_api: HttpApi) -> None:
    http_api.script(redirect(http_api.url))
    with Http() as http:
        http.get(http_api.url, params={"api_key": CANARY})
    assert [request.params for request in http_api.requests] == [{"api_key": CANARY}, {}]


def test_a_redirect_takes_no_body_to_another_host(http_api: HttpApi, elsewhere: HttpApi) -> None:
    http_api.always(redirect(elsewhere.url, 307))
    with Http() as http:
        with pytest.raises(HttpError, match=r"redirected to another host, http.*body isn't sent there"):
            http.post(http_api.url, data={"client_secret": CANARY})
        answer = http.post(http_api.url, data={"client_secret": CANARY}, allow_redirects=False)
        assert answer.headers["Location"] == elsewhere.url
    assert not elsewhere.requests


def test_no_error_shows_what_was_sent_as_a_secret_even_if_the_server_quotes_it(http_api: HttpApi) -> None:
    said = {"params": {"k": CANARY, "since": "2026-01-01T00:00:00Z"}, "headers": {"X-Key": CANARY + "h"}}
    half = b"x" * 95 + f"key {CANARY}".encode()  # an error shows no more than 100 characters
    port = http_api.url.partition("127.0.0.1:")[2]
    with Http(auth=HTTPBasicAuth("me", CANARY + "p"), secrets=("in-the-path",)) as http:
        for answer in (
            Answer(401, f"bad {CANARY}h {CANARY}p {CANARY}".encode()),
            Answer(200, half),
            Answer(200, b"{", CANARY),
            redirect(f"/else?signature={CANARY}"),
            RESET,
        ):
            http_api.script(answer, Answer(500))
            with pytest.raises(HttpError) as caught:
                http.get(f"http://{CANARY}@127.0.0.1:{port}/in-the-path", **said).json()  # type: ignore[arg-type]
            http_api.script()
            text = f"{caught.value!r} {caught.value} {caught.value.__cause__} {caught.value.__suppress_context__}"
            assert CANARY[:5] not in text
            assert "in-the-path" not in text
            assert "/***" in text
            assert "2026-01-01T00" in text or "/else" in text
        with pytest.raises(HttpError) as caught:
            http.get(f"http://no-such-host.invalid/{'in-the-path'}?token={CANARY}")
        assert CANARY not in str(caught.value)
    assert CANARY not in repr(http)


def test_certificates_are_verified(http_api: HttpApi, tls_server: str) -> None:
    with Http() as http, pytest.raises(HttpError, match=r"SSLError: .*certificate verify failed.*verify="):
        http.get(tls_server)


@pytest.fixture
def tls_server(tmp_path) -> Iterator[str]:
    """A server whose certificate nobody has signed."""
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(announced=BIG, body=b"x" * 100_000),
        Answer(parts=lambda: itertools.repeat(b"x" * 65_536, BIG // 65_536)),
        Answer(status=500, parts=lambda: itertools.repeat(b"x" * 65_536, BIG // 65_536)),
    ],
    ids=["announced", "unannounced", "of an error"],
)
def test_a_body_of_gigabytes_is_cut_off(http_api: HttpApi, answer: Answer, stream: bool) -> None:
    http_api.script(answer)
    with Http(max_bytes="1 MB", check_status=not stream) as http:
        with pytest.raises(HttpError, match="its body is larger than 1,000,000 bytes"):
            for _ in http.get(http_api.url, stream=stream).iter_content(4096):
                pass
        assert http.get(http_api.url).json() == []


BOMB = """
import sys
from pathlib import Path
from api2db import Http
from api2db.sources.http import HttpError

def figure(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

with Http(max_bytes="8 MiB") as http:
    http.get(sys.argv[1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: exec has kept the parent's
    before = figure("VmRSS:")
    for _ in range(2):
        try:
            http.get(sys.argv[1])
        except HttpError as error:
            print(error)
    print(figure("VmHWM:") - before)
"""


def test_a_gzip_bomb_of_gigabytes_costs_a_few_times_the_limit_of_memory(http_api: HttpApi) -> None:
    member = gzip.compress(bytes(10_000_000))

    def once() -> Iterator[bytes]:
        return itertools.repeat(member, BIG // 10_000_000)

    twice = gzip.compress(member * (BIG // 10_000_000))
    bombs = [
        Answer(parts=once, headers=(("Content-Encoding", "gzip"),)),
        Answer(body=twice, headers=(("Content-Encoding", "gzip, gzip"),)),
    ]
    http_api.script(OK, *bombs)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, http_api.url], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    *errors, grown = done.stdout.splitlines()
    assert len(errors) == 2
    assert all("larger than 8,388,608 bytes" in error for error in errors)
    assert 0 < int(grown) < 4 * 8 * 2**20


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="deadline_s=0"):
        Http(deadline_s=0)
    with pytest.raises(ConfigError, match="is not a size"):
        Http(max_bytes="many")
    with Http() as http, HttpApi() as api:
        http.mount("http://", requests.adapters.HTTPAdapter())
        with pytest.raises(ConfigError, match="mount a DeadlineAdapter"):
            http.get(api.url)
