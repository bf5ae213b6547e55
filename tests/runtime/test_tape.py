"""What a poll was answered is kept on tape: whole, without secrets, within limits; and fails no poll."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest

from api2db import Collector, Http
from api2db.cli.status_text import as_text
from api2db.errors import ConfigError, SourceError
from api2db.failpoint import arm_disk
from api2db.runtime.status import read_status
from api2db.runtime.taping import taping
from api2db.sources.http import HttpError
from api2db.sources.tape.frames import frames
from api2db.sources.tape.player import Player
from api2db.sources.tape.recorder import TAPE
from api2db.tapes import Tapes
from api2db.usage import Usage
from tests.http_api import OK, TRUNCATED, Answer, HttpApi
from tests.log_kit import Bench
from tests.sources.net.kit import Polls
from tests.sources.net.token_server import TokenServer
from tests.spool_kit import PLENTY

CANARY = "cAnArY-0123456789"
MIB = 2**20


class Kit:
    """Tapes in a folder; ``taped`` runs what asks as a poll, ``played`` runs it against its tape."""

    def __init__(self, root: Path, *, max_bytes: int = 2**30, **limits: int) -> None:
        self.root = root
        given = {"max_collector_bytes": PLENTY, "max_store_bytes": PLENTY, "min_free_bytes": 0} | limits
        self.usage = Usage(root, **given)  # type: ignore[arg-type]
        self.tapes = Tapes(root / "tape", self.usage, max_bytes=max_bytes)
        self.collector = Collector("a", 60, lambda: None, None, None, tape="7d")

    def taped(self, asks, started_ns=1, since=None):
        with taping(self.tapes, self.collector, started_ns, since):
            return asks()

    def played(self, asks, started_ns=1):
        player = Player(self.tapes.path("a", started_ns))
        token = TAPE.set(player)
        try:
            return asks(), player
        finally:
            TAPE.reset(token)


@pytest.fixture
def kit(tmp_path):
    return Kit(tmp_path)


def test_a_poll_is_played_back_as_it_was_answered_and_nothing_is_asked(kit: Kit, http_api: HttpApi) -> None:
    http_api.script(
        Answer(body=b'{"n": 1180591620717411303424}', headers=(("Link", '<?page=2>; rel="next"'), ("X-Total", "7"))),
        Answer(503, b"busy"), Answer(503, b"busy"), Answer(body=b"[2]"),
        Answer(302, b"", headers=(("Location", http_api.url + "?moved=1"),)),
        Answer(body=b"a,b\n1,2", content_type="text/csv"),
        Answer(body=b"[" + b",".join(b"%d" % n for n in range(500_000)) + b"]"),
        Answer(204, b""),
    )  # fmt: skip

    def asks():
        with Http(check_status=False) as http:
            first = http.get(http_api.url, params={"page": 1, "size": 2})
            got = [first.json(), first.links["next"]["url"], first.headers["x-total"], first.status_code]
            got += [http.get(http_api.url, params={"page": 2}).status_code for _ in range(2)]
            got += [http.get(http_api.url, params={"page": 2}).json()]
            got += [http.post(http_api.url, json={"q": 1}).records()]
            got += [sum(map(len, http.get(http_api.url, stream=True).stream()))]
            got += [http.get(http_api.url).content]
            return got

    got = kit.taped(asks, since="2026-01-01")
    assert got[0] == {"n": 2**70}
    assert got[-3:] == [[{"a": "1", "b": "2"}], 500_000, b""]
    asked = len(http_api.requests)
    again, player = kit.played(asks)
    assert again == got
    assert (player.since, player.outcome, player.missing) == ("2026-01-01", "ok", "")
    assert len(http_api.requests) == asked


def test_what_failed_then_fails_again_and_what_was_not_asked_then_is_an_error(kit: Kit, http_api: HttpApi) -> None:
    http_api.script(TRUNCATED, OK, Answer(404, b"gone"))

    def asks(page=1):
        with Http() as http:
            with pytest.raises(HttpError, match=r"IncompleteRead") as caught:
                http.get(http_api.url)
            ok = http.get(http_api.url, params={"page": page}).json()
            with pytest.raises(HttpError, match="404 Not Found") as other:
                http.get(http_api.url)
            return str(caught.value), ok, str(other.value)

    assert kit.taped(asks) == kit.played(asks)[0]
    with pytest.raises(HttpError, match=r"GET http.*\?page=3: this request isn't on the tape"):
        kit.played(lambda: asks(3))


def test_a_stream_that_is_not_read_to_its_end_is_played_as_far_as_it_was(kit: Kit, http_api: HttpApi) -> None:
    http_api.script(Answer(body=b"\n".join(b'{"n": %d}' % n for n in range(300_000)), content_type="text/x-ndjson"))

    def asks(whole=False):
        with Http() as http:
            chunks = http.get(http_api.url, stream=True).stream(format="ndjson", size=100)
            return list(chunks) if whole else next(chunks)

    first = kit.taped(asks)
    assert kit.played(asks)[0] == first
    with pytest.raises(SourceError, match="the tape has only a part of its body"):
        kit.played(lambda: asks(whole=True))


def test_no_credential_is_on_a_tape_and_changing_one_changes_no_request(kit: Kit, http_api: HttpApi) -> None:
    token = f'{{"access_token": "{CANARY}2", "token_type": "bearer", "expires_in": 3600}}'.encode()
    http_api.script(
        Answer(body=token, headers=(("Set-Cookie", f"session={CANARY}"),)),
        Answer(body=f'{{"you sent": "{CANARY}3"}}'.encode(), headers=(("Link", f"<?page=2&api_key={CANARY}>"),)),
        Answer(body=b"[]"),
    )
    host = http_api.url.partition("127.0.0.1:")[2]

    def asks(key=CANARY):
        with Http(headers={"Authorization": f"Bearer {key}3", "X-Api-Key": key}, secrets=(key + "4",)) as http:
            form = {"grant_type": "client_credentials", "client_secret": key}
            got = [http.post(http_api.url, data=form).json()["expires_in"]]
            http.get(f"http://me:{key}@127.0.0.1:{host}", params={"api_key": key, "page_token": "P1", "x": key + "4"})
            return [*got, http.get(http_api.url, params={"page_token": "P2"}).json()]

    got = kit.taped(asks)
    plain = [str(head) for head, _ in frames(kit.tapes.path("a", 1))]
    bodies = Player(kit.tapes.path("a", 1))
    assert all(CANARY[:8] not in each for each in plain)
    assert CANARY.encode() not in b"".join(_bodies(kit, bodies))
    assert kit.played(lambda: asks("another-key-567"))[0] == got
    with pytest.raises(HttpError, match="isn't on the tape"), Http() as http:
        kit.played(lambda: http.get(http_api.url, params={"page_token": "P3"}))
    assert kit.tapes.path("a", 1).stat().st_mode & 0o077 == 0


def test_a_parameter_is_known_for_a_credential_however_its_name_is_written(kit: Kit, http_api: HttpApi) -> None:
    names = "apiToken subscriptionKey accessKey secretKey consumerSecret bearer hapikey authkey accessToken auth[token]"
    sent = {name: f"{CANARY[:8]}{at}value" for at, name in enumerate(names.split())}
    quoting = json.dumps({"you": list(sent.values()), "by": "updated"}).encode()
    http_api.script(Answer(body=quoting), Answer(body=b"[]", headers=(("Link", f"<?auth%5Btoken%5D={CANARY}>"),)))

    def asks():
        with Http() as http:
            ordered = {"sort_key": "updated", "pageToken": "updated"}
            return [http.get(http_api.url, params=sent | ordered).json()["by"], http.get(http_api.url).json()]

    assert kit.taped(asks) == ["updated", []]
    assert CANARY[:8] not in _all_of(kit)
    assert kit.played(asks)[0] == ["updated", []]


def test_requests_that_differ_in_what_is_called_a_key_alone_never_get_each_others_answers(
    kit: Kit, http_api: HttpApi
) -> None:
    http_api.script(*(Answer(body=f'"{each}"'.encode()) for each in "ABCXYZ"))

    def asks(keys="ABC", token="T"):
        with Http() as http:
            got = [http.get(http_api.url, params={"key": key}).json() for key in keys]
            got += [http.post(http_api.url, json={"session": key}).json() for key in keys[:2]]
            return [*got, http.get(http_api.url, params={"of": "me", "token": token}).json()]

    assert kit.taped(asks) == ["A", "B", "C", "X", "Y", "Z"]
    assert kit.played(lambda: asks("ABC"))[0] == ["A", "B", "C", "X", "Y", "Z"]
    assert kit.played(lambda: asks("BA"))[0] == ["B", "A", "Y", "X", "Z"]
    assert kit.played(lambda: asks("BA", token="changed since"))[0][-1] == "Z"
    with pytest.raises(HttpError, match="isn't on the tape"):
        kit.played(lambda: asks("D"))
    key = kit.root / "state" / "tape.key"
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    with pytest.raises(HttpError, match="isn't on the tape"):
        kit.played(asks)


def test_one_answer_is_not_taken_for_several_keys(kit: Kit, http_api: HttpApi) -> None:
    http_api.script(OK, OK)

    def asks(*keys):
        with Http() as http:
            return [http.get(http_api.url, params={"key": key}).json() for key in keys]

    kit.taped(lambda: asks("A", "A"))
    assert kit.played(lambda: asks("B", "B"))[0] == [[], []]
    with pytest.raises(HttpError, match="isn't on the tape"):
        kit.played(lambda: asks("B", "C"))


def test_what_a_hook_signs_with_may_differ_each_time_and_its_requests_are_still_found(
    kit: Kit, http_api: HttpApi
) -> None:
    times = itertools.count(1_700_000_000_000)
    http_api.script(Answer(body=b"[1]"), Answer(body=b"[2]"))

    def hook(request):
        at = next(times)
        request.prepare_url(request.url, {"timestamp": str(at), "n": f"n{at % 10}", "key": f"k{at}", "sigx": hex(at)})
        return request

    def asks():
        with Http(auth=hook) as http:
            return [http.get(http_api.url, params={"page": page}).json() for page in "12"]

    assert kit.taped(asks) == [[1], [2]]
    assert kit.played(asks)[0] == [[1], [2]]


def test_a_credential_in_a_body_is_on_no_tape_at_any_depth_and_in_no_kind_of_it(kit: Kit, http_api: HttpApi) -> None:
    def asks(password, keys="AB"):
        nested = {"method": "list", "params": {"login": "me", "password": password}}
        sent = [
            {"json": nested},
            {"json": [{"op": 1, "api_key": password}]},
            {"files": {"password": (None, password), "q": (None, "1"), "csv": ("a.csv", b"a\r\n1")}},
            *({"json": {"of": [{"key": key}]}} for key in keys),
        ]
        with Http() as http:
            return [http.post(http_api.url, **each).json() for each in sent]

    quoted = [json.dumps({"at": at, "you": CANARY if at < 3 else ""}).encode() for at in range(5)]
    http_api.script(*(Answer(body=body) for body in quoted))
    told = kit.taped(lambda: asks(CANARY))
    assert CANARY not in _all_of(kit)
    got = kit.played(lambda: asks("another-one-now", "BA"))[0]
    assert [each["at"] for each in got] == [0, 1, 2, 4, 3]
    assert [each["at"] for each in told] == [0, 1, 2, 3, 4]
    identities = {head["identity"] for head, _ in frames(kit.tapes.path("a", 1)) if head["kind"] == "answer"}
    kit.tapes.path("a", 1).unlink()
    http_api.script(*(Answer(body=body) for body in quoted))
    kit.taped(lambda: asks("1234"))
    # Else a short one could be found by trying.
    assert identities == {head["identity"] for head, _ in frames(kit.tapes.path("a", 1)) if head["kind"] == "answer"}


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-be", "utf-32"])
def test_a_credential_that_an_answer_quotes_in_a_wide_charset_is_on_no_tape(
    kit: Kit, http_api: HttpApi, charset: str
) -> None:
    from api2db.sources.tape.frames import body_at

    kind = ("Content-Type", f"application/json; charset={charset}")
    http_api.script(Answer(body=f'{{"you": "{CANARY}", "id": 1}}'.encode(charset), headers=(kind,)))

    def asks():
        with Http() as http:
            return http.get(http_api.url, params={"api_key": CANARY}).document()

    assert kit.taped(asks) == {"you": CANARY, "id": 1}
    path = kit.tapes.path("a", 1)
    held = b"".join(body_at(path, at) for head, at in frames(path) if head["kind"] == "body")
    assert CANARY not in held.decode(charset)
    assert kit.played(asks)[0] == {"you": "***", "id": 1}


def test_a_body_that_no_charset_can_have_fails_no_taped_poll(kit: Kit, http_api: HttpApi) -> None:
    deep = "[" * 400 + "]" * 400
    kind = {"Content-Type": "application/json"}

    def asks():
        with Http() as http:
            got = [http.post(http_api.url, json={"password": "abc\ud800defgh", "q": 1}).json()]
            return [*got, http.post(http_api.url, data=f'{{"password": {deep}}}', headers=kind).json()]

    http_api.script(OK, OK)
    got = kit.taped(asks)
    assert len(got) == 2
    assert kit.played(asks)[0] == got


def test_a_request_that_cannot_be_written_down_fails_no_poll_which_has_no_tape_then(
    kit: Kit, http_api: HttpApi, caplog
) -> None:
    def asks():
        with Http(secrets=(5,)) as http:  # type: ignore[arg-type]
            return [http.get(http_api.url).json(), b"".join(http.get(http_api.url, stream=True).iter_content(9))]

    http_api.script(Answer(body=b"[1]"), Answer(body=b"[2]"))
    assert kit.taped(asks) == [[1], b"[2]"]
    assert not kit.tapes.path("a", 1).exists()
    assert "can't be written down: TypeError" in caplog.text


def _bodies(kit: Kit, player: Player) -> list[bytes]:
    from api2db.sources.tape.frames import body_at

    path = kit.tapes.path("a", 1)
    found = [body_at(path, at) for head, at in frames(path) if head["kind"] == "body"]
    assert len(found) == 3
    return found


def _all_of(kit: Kit) -> str:
    from api2db.sources.tape.frames import body_at

    path = kit.tapes.path("a", 1)
    found = [(str(head), body_at(path, at).decode()) for head, at in frames(path)]
    return "\n".join(head + body for head, body in found)


def test_what_auth_puts_in_is_on_no_tape_wherever_it_puts_it_and_needed_by_none(kit: Kit, http_api: HttpApi) -> None:
    from api2db import Rest

    def hook(request):
        request.prepare_url(request.url, {"nonce": "hook-secret-1"})
        request.headers["X-Me"] = "hook-secret-2"
        return request

    kinds = {
        "k-1": {"type": "key", "param": "k", "key": "k-12345"},
        "x/y z": {"type": "key", "header": "X-Mine", "key": "x/y z", "prefix": "Mine "},
        "pass9": ("user-name", "pass9"),
        "hook-secret": hook,
    }
    for secret, auth in kinds.items():
        quoted = '["k-12345", "x/y z", "x%2Fy%20z", "user-name", "pass9", "hook-secret-1", "hook-secret-2"]'
        http_api.script(Answer(body=f'{{"rows": [{{"said": {quoted}}}]}}'.encode()))
        api = Rest(http_api.url, auth=auth, conditional=False)

        def asks(api=api):
            return [page.records() for page in api.pages("", records="rows")]

        assert len(kit.taped(asks)) == 1
        assert secret not in _all_of(kit)
        assert len(kit.played(asks)[0]) == 1


def test_a_next_address_that_repeats_credentials_is_played_back_without_any(kit: Kit, http_api: HttpApi) -> None:
    from api2db import Rest
    from api2db.sources.rest.paging import NextUrl

    def hook(request):
        request.prepare_url(request.url, {"nonce": CANARY})
        return request

    repeated = f'{{"rows": [{{"id": 1}}], "next": "/records?page=2&u={CANARY}-u&nonce={CANARY}"}}'
    http_api.script(Answer(body=repeated.encode()), Answer(body=b'{"rows": [{"id": 2}]}'))

    def asks(key):
        api = Rest(http_api.url, params={"u": key}, secrets=(key,), auth=hook, conditional=False)
        return [[page.records("rows"), page.cursor] for page in api.pages(paging=NextUrl(), cursor=None)]

    live = kit.taped(lambda: asks(f"{CANARY}-u"))
    assert CANARY not in str(live)
    assert CANARY not in _all_of(kit)
    assert kit.played(lambda: asks("another-key-by-now"))[0] == live


def test_neither_a_token_that_is_given_nor_a_cookie_that_is_set_is_on_a_tape(kit: Kit, http_api: HttpApi) -> None:
    from api2db import Rest

    http_api.script(Answer(body=b"[]", headers=(("Set-Cookie", "sid=server-made-1"), ("X-Kept", "yes"))))
    with TokenServer() as server:
        # What isn't called a token in its answer is as secret.
        server.extra = {"device": "device-secret-1"}
        auth = {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "me", "client_secret": CANARY}

        def asks():
            with Http() as http:
                http.get(http_api.url)
            return [page.records() for page in Rest(server.url, auth=auth, conditional=False).pages("/records")]

        assert kit.taped(asks) == [[{"id": 1}]]
        assert len(server.asked) == 1
        on_tape = _all_of(kit)
        assert "X-Kept" in on_tape
        assert [each for each in ("server-made", "device-secret", "/token", CANARY) if each in on_tape] == []
        assert kit.played(asks)[0] == [[{"id": 1}]]
        assert len(server.asked) == 1


def test_credentials_that_a_server_quotes_are_hidden_short_ones_and_those_in_fields_too(
    kit: Kit, http_api: HttpApi
) -> None:
    sent = ("hunter2", "cookie-value-1", "nest", "nine", "https-pass")
    body = f'{{"you": "{" ".join(sent)}", "id": "1234", "name": "BOOK", "page": "en"}}'.encode()
    http_api.script(*[Answer(body=body)] * 4)
    host = http_api.url.partition("127.0.0.1:")[2]

    def asks():
        with Http(headers={"Cookie": "s=cookie-value-1; lang=en"}, secrets=("nine", "1234")) as http:
            http.get(http_api.url, params={"key": "BOOK"}, auth=("me", "hunter2"))
            http.post(http_api.url, json={"q": 1, "variables": [{"password": "nest"}]})
            return http.get(f"http://me:https-pass@127.0.0.1:{host}").json()["id"]

    assert kit.taped(asks) == "1234"
    texts = [text for text in _all_of(kit).split("\n") if '"you"' in text]
    for text, gone in zip(texts, ("hunter2", "nest", "https-pass"), strict=True):
        assert [each for each in (gone, "cookie-value-1", "nine") if each in text] == []
        assert '"id": "1234", "name": "BOOK", "page": "en"' in text  # a number and words, which may be anybody's


def test_a_secret_across_two_pieces_of_a_streamed_body_is_hidden(kit: Kit, http_api: HttpApi) -> None:
    secret = "across-two-pieces"
    filled = b'{"n": 12345678}\n' * (MIB // 16)
    for cut in (3, 9):
        line = b'{"s": "%s"}\n' % secret.encode()
        head = filled[: MIB - 16 * 2] + b" " * (32 - len(b'{"s": "') - cut)
        http_api.script(Answer(body=head + line + filled[:160], content_type="application/x-ndjson"))

        def asks():
            with Http(secrets=(secret,)) as http:
                return sum(map(len, http.get(http_api.url, stream=True).stream()))

        count = kit.taped(asks)
        assert secret not in _all_of(kit).replace("\n{'kind': 'body', 'n': 1}", "")
        assert kit.played(asks)[0] == count


def test_a_torn_last_frame_is_ignored_wherever_a_kill_or_a_power_cut_has_cut_it(kit: Kit, http_api: HttpApi) -> None:
    def asks():
        with Http() as http:
            return [http.get(http_api.url, params={"page": page}).json() for page in (1, 2)]

    kit.taped(asks)
    path = kit.tapes.path("a", 1)
    whole = path.read_bytes()
    heads = [head["kind"] for head, _ in frames(path)]
    assert heads == ["poll", *["answer", "body", "end"] * 2, "ended"]
    seen = set()
    for size in range(14, len(whole), 3):
        path.write_bytes(whole[:size])
        found = [head["kind"] for head, _ in frames(path)]
        assert found == heads[: len(found)]
        seen.add(len(found))
    assert seen == set(range(len(heads)))
    path.write_bytes(whole[:-1] + b"?")
    assert Player(path).outcome == ""


def test_old_polls_go_after_their_time_beyond_the_size_and_where_the_disk_is_short(tmp_path: Path) -> None:
    now = time.time_ns()
    kit = Kit(tmp_path, max_bytes=3 * 4096)
    kit.tapes.set_keep("a", 3600)
    for age_s in (7200, 500, 400, 300, 200):
        path = kit.tapes.path("a", now - age_s * 10**9)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (path.parent / "notes.txt").write_text("somebody's")
    kit.tapes.recover()
    assert len(kit.tapes.polls("a")) == 5
    kit.tapes.prune()
    assert [(now - started_ns) // 10**9 for started_ns in kit.tapes.polls("a")] == [400, 300, 200]
    assert kit.tapes.bytes("a") == 3 * 4096
    assert kit.tapes.give_way(5000)
    assert [(now - started_ns) // 10**9 for started_ns in kit.tapes.polls("a")] == [200]
    assert sorted(path.suffix for path in path.parent.iterdir()) == [".tape", ".txt"]


def test_a_poll_goes_when_its_time_is_over_however_much_room_there_is(kit: Kit, http_api: HttpApi) -> None:
    hour_ns = 3600 * 10**9
    for started_ns in (0, hour_ns, 2 * hour_ns):
        kit.taped(lambda: Http().get(http_api.url), started_ns)
    kit.tapes.set_keep("a", 3600)
    kit.tapes.prune("a", now_ns=2 * hour_ns)
    assert kit.tapes.polls("a") == [hour_ns, 2 * hour_ns]
    mine = Tapes(kit.root / "tape", kit.usage, max_bytes=PLENTY)
    mine.recover()
    mine.prune(now_ns=2 * hour_ns)  # of a collector that tapes no more: for as long as others' are kept
    assert len(mine.polls("a")) == 2
    mine.prune(now_ns=2 * hour_ns, others_s=3599)
    assert mine.polls("a") == [2 * hour_ns]


def test_tapes_count_to_what_store_may_hold_and_give_way_to_what_is_collected(kit: Kit, http_api: HttpApi) -> None:
    kit = Kit(kit.root, max_store_bytes=10_000)
    for started_ns in (1, 2):
        kit.taped(lambda: Http().get(http_api.url), time.time_ns() + started_ns)
    assert len(kit.tapes.polls("a")) == 2
    assert kit.usage.refusal("b", 5000) is None
    assert len(kit.tapes.polls("a")) == 1
    assert kit.usage.refusal("b", 10_001) is not None


def test_a_tape_that_cannot_be_written_fails_no_poll_and_is_told(kit: Kit, http_api: HttpApi, caplog) -> None:
    def asks():
        with Http() as http:
            return http.get(http_api.url).json(), http.get(http_api.url, stream=True).records()

    disk = arm_disk(f"ENOSPC@5@{kit.root}")
    try:
        assert kit.taped(asks) == ([], [])
    finally:
        arm_disk(f"ENOSPC@{2**40}@{kit.root}")
    assert disk.failed
    assert "polls aren't taped, they go on collector=a polls=1 cause=No space left on device" in caplog.text
    assert kit.tapes.polls("a") == []
    caplog.clear()
    big = Answer(body=b'"' + os.urandom(MIB).hex().encode() + b'"')
    http_api.script(big)
    kit = Kit(kit.root, max_bytes=MIB // 2)
    assert len(kit.taped(lambda: Http().get(http_api.url).json())) == 2 * MIB
    assert "larger than 524,288 bytes (max_tape_bytes)" in caplog.text
    assert kit.tapes.polls("a") == []
    caplog.clear()
    kit = Kit(kit.root, min_free_bytes=PLENTY * 2**20)
    kit.taped(asks)
    assert "too few are free on the disk" in caplog.text
    assert kit.tapes.polls("a") == []


def test_a_poll_that_asks_nothing_leaves_no_tape(kit: Kit) -> None:
    kit.taped(lambda: None)
    assert list(kit.root.rglob("*.tape")) == []


def test_a_tape_longer_than_the_history_is_a_mistake(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a="from api2db import collector\n@collector(every=9, tape='100d')\ndef a(): return []\n")
    with pytest.raises(ConfigError, match="tape: 8640000 s are longer than history"), bench.open("a"):
        pass


ASKING = """
    from api2db import Http, collector

    @collector(every=0.2, to=["files"], tape="1d"{more})
    def a(since):
        with Http() as http:
            yield http.get("{url}").json()
"""


def test_the_daemon_tapes_polls_of_both_kinds_also_where_it_is_killed(tmp_path: Path, http_api: HttpApi) -> None:
    from tests.project_kit import eventually

    http_api.add({"id": 1})
    more = ', isolate=True, name="b"'
    bench = Bench(
        tmp_path,
        a=ASKING.format(url=http_api.url, more=""),
        b=ASKING.format(url=http_api.url, more=more),
    )
    process = bench.start()
    tapes = bench.store / "tape"
    eventually(lambda: len(list(tapes.glob("a/*"))) > 1 and len(list(tapes.glob("b/*"))) > 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in ("a", "b"):
        first = min(tapes.glob(f"{name}/*.tape"))
        assert [head["kind"] for head, _ in frames(first)] == ["poll", "answer", "body", "end", "ended"]
        assert Player(first).outcome == "ok"
    bench.close()


def test_the_status_says_how_many_polls_are_on_tape_and_how_large_they_are(tmp_path: Path) -> None:
    polls = Polls(tmp_path, lambda: None)
    polls.journal.declare([("c", 1, None)], [])
    folder = polls.spool.layout.tapes / "c"
    for number in (1, 2):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.tape").write_bytes(b"x" * 1_000 * number)
    polls.close()
    status = read_status(polls.spool.layout)
    assert [(one.tape_polls, one.tape_bytes) for one in status.collectors] == [(2, 3_000)]
    assert "tape             2 polls, 3,000 bytes" in as_text(status)
