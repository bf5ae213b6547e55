"""``answer.records`` and ``answer.stream``: over HTTP, within the limits of the request."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib

import brotli
import pytest

from api2db import Http
from api2db.errors import ConfigError
from api2db.sources.http import HttpError
from tests.http_api import Answer, HttpApi

MIB = 2**20


def test_an_answer_is_read_by_its_content_type_or_as_one_says(http_api: HttpApi) -> None:
    http_api.script(
        Answer(body=b'{"data": [{"a": 1180591620717411303424}]}'),
        Answer(body=b'{"a": 1}\n{"a": 2}\n', content_type="application/x-ndjson"),
        Answer(body="a;b\n1;é".encode("utf-16"), content_type="text/csv"),
        Answer(body=gzip.compress(b"<r><i>1</i></r>"), content_type="application/gzip"),
        Answer(body=brotli.compress(b"[1]"), headers=(("Content-Encoding", "br"),)),
        Answer(body=b"x,1"),
    )
    with Http() as http:
        assert http.get(http_api.url).records("data") == [{"a": 2**70}]
        assert http.get(http_api.url).records() == [{"a": 1}, {"a": 2}]
        assert http.get(http_api.url).records() == [{"a": "1", "b": "é"}]
        assert http.get(http_api.url).records("r.i") == [{"#text": "1"}]
        assert http.get(http_api.url).records() == [1]
        assert http.get(http_api.url).records(format="csv", columns=["a", "b"]) == [{"a": "x", "b": "1"}]
    assert "br" in http_api.requests[0].headers["Accept-Encoding"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_streamed_in_chunks_whether_it_was_read_already_or_not(http_api: HttpApi, stream: bool) -> None:
    records = [{"n": n} for n in range(2500)]
    http_api.script(Answer(body=json.dumps({"data": records}).encode()))
    with Http() as http:
        chunks = list(http.get(http_api.url, stream=stream).stream("data", size=1000))
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 500]
    assert list(itertools.chain.from_iterable(chunks)) == records


PACKED = gzip.compress((b"x" * 1023 + b"\n") * 2048, mtime=0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(body=b"a,b\n1\n", content_type="text/csv"), "200 OK, text/csv: .*line 2 has 1 values"),
        (Answer(body=b"a\n\xe9", content_type="text/csv"), "isn't utf-8: unexpected end of data at byte 2"),
        (Answer(body=b"<p>Sign in</p>", content_type="text/html"), "200 OK, text/html: the answer is HTML"),
        (Answer(body=b"x", headers=(("Content-Encoding", "snappy"),)), "Content-Encoding 'snappy' can't be unpacked"),
        (Answer(body=b'{"data": 7}'), "at 'data' is a int, where records should be|has no path"),
        (Answer(body=b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', content_type="text/xml"), "DOCTYPE"),
        (Answer(body=PACKED, content_type="text/csv"), "unpacked it is larger"),
        (Answer(body=b"[" + b"1," * MIB), r"larger than 1,048,576 bytes"),
        (Answer(body=b'{"data": [1, 2', truncated=True), "IncompleteRead"),
    ],
)  # fmt: skip
def test_an_error_names_the_request_and_what_came(http_api: HttpApi, answer: Answer, words: str) -> None:
    path = "data" if answer.content_type == "application/json" else ""
    for stream in (False, True):
        http_api.script(answer)
        with Http(max_bytes="1 MiB") as http, pytest.raises(HttpError, match=rf"(?s)^GET {http_api.url}.*({words})"):
            answered = http.get(http_api.url, stream=stream)
            _ = list(answered.stream(path)) if stream else answered.records(path)


def test_a_request_has_limits_of_its_own(http_api: HttpApi) -> None:
    big = Answer(body=b"[" + b",".join([b"1"] * MIB) + b"]")
    http_api.script(big, big, Answer(drip="body"), Answer(body=b"[2]"))
    with Http(max_bytes="1 MiB") as http:
        with pytest.raises(HttpError, match="larger than 1,048,576 bytes"):
            http.get(http_api.url)
        assert sum(map(len, http.get(http_api.url, stream=True, max_bytes="4 MiB").stream())) == MIB
        with pytest.raises(HttpError, match=r"deadline of 0\.1 s"):
            http.get(http_api.url, deadline_s=0.1)
        assert http.get(http_api.url).json() == [2]
        with pytest.raises(ConfigError, match=r"deadline_s=-1"):
            http.get(http_api.url, deadline_s=-1)
        with pytest.raises(ConfigError, match="none of json, ndjson"):
            http.get(http_api.url).stream(format="yaml")


ROWS = ("id,v\n" + "\n".join(f"{i},{i * 7919 % 100003}" for i in range(3000)) + "\n").encode()
PACKED = {
    "gzip": gzip.compress(ROWS),
    "deflate": zlib.compress(ROWS),
    "br": brotli.compress(ROWS),
    "deflate, gzip": gzip.compress(zlib.compress(ROWS)),
}


@pytest.mark.parametrize("encoding", PACKED)
def test_a_body_cut_where_it_is_packed_for_the_way_is_an_error_and_no_fewer_rows(
    http_api: HttpApi, encoding: str
) -> None:
    packed, headers = PACKED[encoding], (("Content-Encoding", encoding),)
    with Http() as http:
        for cut in (1, 2, 9, 37, len(packed) // 2, len(packed) - 3):
            for stream in (False, True):
                http_api.script(Answer(body=packed[:-cut], content_type="text/csv", headers=headers))
                with pytest.raises(HttpError, match=f"^GET {http_api.url}.*(cut short|decode)"):
                    _ = list(http.get(http_api.url, stream=stream).stream())
        http_api.script(Answer(body=packed, content_type="text/csv", headers=headers))
        assert len(http.get(http_api.url, stream=True).records()) == 3000


def test_what_stands_behind_a_packed_body_is_left_out_and_a_second_one_that_is_cut_is_an_error(
    http_api: HttpApi,
) -> None:
    headers, rows = (("Content-Encoding", "gzip"),), gzip.compress(ROWS)
    second = gzip.compress(b"3000,1\n", mtime=0)
    with Http() as http:
        for behind in (b"\n", b"\0", b"\x1f", b"\r\n", b"\0\0", b"junk"):
            http_api.script(Answer(body=rows + behind, content_type="text/csv", headers=headers))
            assert len(http.get(http_api.url).records()) == 3000, behind
        for size in range(2, len(second)):
            http_api.script(Answer(body=rows + second[:size], content_type="text/csv", headers=headers))
            with pytest.raises(HttpError, match="cut short"):
                http.get(http_api.url).records()
        http_api.script(Answer(body=rows + second, content_type="text/csv", headers=headers))
        assert len(http.get(http_api.url).records()) == 3001


def test_what_has_no_body_or_more_than_one_packed_file_is_not_cut_short(http_api: HttpApi) -> None:
    packed = (("Content-Encoding", "gzip"),)
    several = gzip.compress(ROWS[:9000]) + gzip.compress(ROWS[9000:])
    http_api.script(
        Answer(204, b"", headers=packed),
        Answer(304, b"", headers=packed),
        Answer(body=b"", headers=packed),
        Answer(body=several, content_type="text/csv", headers=packed),
        Answer(body=several + b"\0" * 512, content_type="text/csv", headers=packed),
    )
    with Http() as http:
        assert [http.get(http_api.url).content for _ in range(3)] == [b"", b"", b""]
        assert [len(http.get(http_api.url).records()) for _ in range(2)] == [3000, 3000]
        raw = zlib.compressobj(wbits=-15)
        http_api.script(Answer(body=raw.compress(b"[1]") + raw.flush(), headers=(("Content-Encoding", "deflate"),)))
        assert http.get(http_api.url).json() == [1]
