"""A body as records: what each format gives, in pieces as whole; anything else is an error in bounded memory."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import json
import math
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api2db.errors import ConfigError, SourceError
from api2db.sources.decode import decode
from api2db.sources.decoding import json_array, reading
from api2db.sources.decoding.chunked import chunked
from api2db.sources.decoding.reading import Body, Said

MIB = 2**20


def body(data: bytes | Iterable[bytes], kind: str = "", url: str = "http://a.example/x", most: int = 2**40) -> Body:
    return Body([data] if isinstance(data, bytes) else data, kind, url, most)


def whole(data: bytes, path: str = "", kind: str = "", url: str = "http://a.example/x", **said: Any) -> list[Any]:
    return reading.records(body(data, kind, url), path, Said(**said))


def streamed(data: bytes | Iterable[bytes], path: str = "", size: int = 10_000, **said: Any) -> list[Any]:
    chunks = list(chunked(reading.blocks(body(data), path, Said(**said)), size))
    assert all(0 < len(chunk) <= size for chunk in chunks)
    return list(itertools.chain.from_iterable(chunks))


def in_pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["},{", '"\\']),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=12,
)
RECORDS = st.lists(VALUES | st.fixed_dictionaries({"id": st.integers(), "b": VALUES}), max_size=8)
CUTS = st.lists(st.integers(0, 2000), max_size=8)


def same(one: object, other: object) -> bool:
    """As values: NaN is NaN."""
    return repr(one) == repr(other)


@settings(max_examples=60)
@given(RECORDS, CUTS, st.sampled_from(["", "data", "a.data", "literal.key"]), st.booleans(), st.sampled_from([None, 1]))
def test_any_json_list_in_pieces_is_the_list_decoded_whole(records, cuts, path, ascii_only, indent):
    document = json.dumps(records, ensure_ascii=ascii_only, indent=indent)
    keys = [path] if path == "literal.key" else path.split(".")[::-1]
    for key in filter(None, keys):
        document = f'{{"x": [{{"data": []}}, "]"], "{key}": {document}, "y": {{}}}}'
    data = document.encode("utf-8", "surrogatepass")
    assert same(whole(data, path, format="json"), records)
    pieces = in_pieces(data, cuts)
    assert same(streamed(pieces, path, size=3, format="json"), records)
    for read_bytes in (1, 30):
        found = json_array.blocks(iter(pieces), path, read_bytes)
        assert same(list(itertools.chain.from_iterable(block.records for block in found)), records)


def may_be_a_line(value: object) -> bool:
    """Whether NDJSON may have it: no null, no list of objects."""
    if isinstance(value, list):
        return not all(isinstance(each, dict) for each in value)
    return value is not None


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        (b'{"error": "no such day"}', "csv", "the answer is JSON, not CSV"),
        (b'[\n  {"error": 1}]', "csv", "the answer is JSON, not CSV"),
        (b'{"a": 1}\n{"a": 2}\n', "tsv", "the answer is JSON, not CSV"),
        (b'[{"a": 1}, {"a": 2}]', "ndjson", "record 1 is a list of records.*say format='json'"),
        (b'{"a": 1}\n[]\n', "ndjson", "record 2 is a list of records"),
    ],
)  # fmt: skip
def test_json_that_is_said_to_be_something_else_is_an_error_and_no_rows(data: bytes, form: str, words: str) -> None:
    for read in (whole, streamed):
        with pytest.raises(SourceError, match=words):
            read(data, format=form)


@settings(max_examples=40)
@given(st.lists(VALUES.filter(may_be_a_line), max_size=8), CUTS, st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_any_json_lines_in_pieces_are_the_lines_decoded_one_by_one(records, cuts, end):
    data = end.join(json.dumps(record) for record in records).encode()
    assert same(streamed(in_pieces(data, cuts), format="ndjson"), records)


@settings(max_examples=40)
@given(st.lists(VALUES.filter(may_be_a_line), min_size=1, max_size=8), CUTS, st.sampled_from([None, 2]))
def test_any_json_text_sequence_in_pieces_is_its_values_also_where_they_take_several_lines(records, cuts, indent):
    data = "".join(f"\x1e{json.dumps(record, indent=indent)}\n" for record in records).encode()
    assert same(streamed(in_pieces(data, cuts), format="ndjson"), records)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ['"', ",", "\n", "\r\n", ";", "é"]
)


@settings(max_examples=40)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6), CUTS, st.sampled_from([",", ";", "\t"]))
def test_any_csv_in_pieces_is_the_texts_that_were_written(rows, cuts, delimiter):
    import csv

    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    pieces = in_pieces(file.getvalue().encode(), cuts)
    assert streamed(pieces, format="csv", delimiter=delimiter) == [{"a": one, "b": other} for one, other in rows]


@settings(max_examples=60)
@given(
    RECORDS, st.integers(0, 10**6), st.sampled_from([b"", b",", b"]", b"}", b"[", b'"', b"\\", b" ", b"1", b"x"]), CUTS
)
def test_a_json_list_that_is_damaged_is_an_error_in_pieces_as_whole(records, where, put, cuts):
    data = json.dumps({"data": records, "x": 1}).encode()
    at = where % len(data)
    data = data[:at] + put + data[at + 1 :]
    pieces = in_pieces(data, cuts)
    for read_bytes in (1, 2**19):

        def found(read_bytes: int = read_bytes) -> list[Any]:
            blocks = json_array.blocks(iter(pieces), "data", read_bytes)
            return list(itertools.chain.from_iterable(block.records for block in blocks))

        try:
            expected = whole(data, "data", format="json")
        except SourceError:
            with pytest.raises(SourceError):
                found()
        else:
            assert same(found(), expected)


def test_records_larger_than_what_is_read_at_once_and_many_small_ones_come_whole():
    records: list[Any] = [{"id": n, "text": "},{" * (MIB // 4 if n == 5 else n % 50)} for n in range(2000)]
    records.insert(7, list(range(200_000)))
    data = json.dumps({"data": records, "next": None}).encode()
    assert streamed(in_pieces(data, range(0, len(data), 65_536)), "data", size=100, format="json") == records


BIG = b"1180591620717411303424"


@pytest.mark.parametrize(
    ("data", "said", "expected"),
    [
        (b'{"a":' + BIG + b"}\n", {"format": "ndjson"}, [{"a": 2**70}]),
        (b'[{"a":' + BIG + b"}]", {"format": "json"}, [{"a": 2**70}]),
        (b"a\n" + BIG, {"format": "csv"}, [{"a": str(2**70)}]),
        (b"<a>" + BIG + b"</a>", {"format": "xml"}, [{"a": str(2**70)}]),
        (b"[NaN,1e400,Infinity]", {"format": "json"}, [math.nan, math.inf, math.inf]),
        (b'{"a": NaN}\n{"b": 1}', {"format": "ndjson"}, [{"a": math.nan}, {"b": 1}]),
        (b"id;v\n1;1,5\n2;2,5\n", {"format": "csv"}, [{"id": "1", "v": "1,5"}, {"id": "2", "v": "2,5"}]),
        (b"a,b;c\n1,2\n3,4\n", {"format": "csv"}, [{"a": "1", "b;c": "2"}, {"a": "3", "b;c": "4"}]),
        (b"a\tb\n007\t\n", {"format": "tsv"}, [{"a": "007", "b": ""}]),
        (b",a\r\n0,x\r\n\r\n1,y\r\n", {"format": "csv"}, [{"column_1": "0", "a": "x"}, {"column_1": "1", "a": "y"}]),
        (b"a,b\r1,2\r3,4", {"format": "csv"}, [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        (b"1|2", {"format": "csv", "delimiter": "|", "columns": ["a", "b"]}, [{"a": "1", "b": "2"}]),
        (b" a|b\na|c", {"format": "csv", "delimiter": "|", "columns": ["a", "b"]}, [{"a": "a", "b": "c"}]),
        (b"sep=;\r\na,b;c\r\n1,5;2\r\n", {"format": "csv"}, [{"a,b": "1,5", "c": "2"}]),
        (b'"sep=|"\na|b\n', {"format": "csv", "delimiter": "|"}, []),
        (b"[id],[name]\n1,a\n", {"format": "csv"}, [{"[id]": "1", "[name]": "a"}]),
        (b'[{"a": 1}, 2]\n', {"format": "ndjson"}, [[{"a": 1}, 2]]),
        (b'{"a": 1, "a": 2}', {"format": "json"}, [{"a": 2}]),
        (b" \n null\n", {"format": "json"}, []),
        (b"a,b\n", {"format": "csv"}, []),
        (b"", {"format": "csv"}, []),
        (b"", {"format": "ndjson"}, []),
        (b"[]", {"format": "json"}, []),
        (b'{"a": 1}', {"format": "json"}, [{"a": 1}]),
        (b"null", {"format": "json"}, []),
    ],
)  # fmt: skip
def test_every_digit_and_every_text_is_kept_in_every_format(data, said, expected):
    assert same(whole(data, **said), expected)
    assert same(streamed(in_pieces(data, range(len(data))), **said), expected)


ITEMS = b"""<?xml version="1.0" encoding="utf-8"?>
<rss xmlns="http://a" xmlns:dc="http://b"><channel><title>T</title>
<item id="7"><name>A &amp; B</name><tag>x</tag><tag>y</tag><none/><dc:date>1</dc:date></item>
<item><name lang="en">C</name>mixed</item><item>text</item><item/></channel></rss>"""


def test_xml_elements_become_dicts_by_the_documented_rule():
    expected = [
        {"@id": "7", "name": "A & B", "tag": ["x", "y"], "none": None, "dc:date": "1"},
        {"name": {"@lang": "en", "#text": "C"}, "#text": "mixed"},
        {"#text": "text"},
        {},
    ]
    for pieces in ([ITEMS], in_pieces(ITEMS, range(0, len(ITEMS), 7))):
        assert streamed(pieces, "rss.channel.item") == expected
    assert whole(ITEMS, "rss.channel") == [{"title": "T", "item": [*expected[:2], "text", None]}]
    assert whole(b"<feed><updated>1</updated></feed>", "feed.entry") == []
    with pytest.raises(
        SourceError, match=r"no element is at 'rss\.items\.item'; the answer has 'rss\.channel\.title', 'rss"
    ):
        whole(ITEMS, "rss.items.item")


@pytest.mark.parametrize(
    ("kind", "url", "data", "expected"),
    [
        ("application/geo+json", "", b'[{"a": 1}]', [{"a": 1}]),
        ("application/x-ndjson", "", b'{"a": 1}', [{"a": 1}]),
        ("application/json-seq", "", b'\x1e{"a": 1}\n\x1e{"a":\n2}\n', [{"a": 1}, {"a": 2}]),
        ("application/geo+json-seq", "", b'\x1e{"a": "\\u001e"}\n', [{"a": "\x1e"}]),
        ("text/plain", "", b'\x1e{"a": 1}\n', [{"a": 1}]),
        ("text/csv; charset=utf-8", "", b"a\n1", [{"a": "1"}]),
        ("text/tab-separated-values", "", b"a\tb\n1\t2", [{"a": "1", "b": "2"}]),
        ("application/atom+xml", "", b"<a><b>1</b></a>", [{"a": {"b": "1"}}]),
        ("text/plain", "", b' [{"a": 1}]', [{"a": 1}]),
        ("application/octet-stream", "http://a.example/quakes.CSV.gz?x=1", b"a\n1", [{"a": "1"}]),
        ("", "http://a.example/quakes.jsonl", b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
    ],
)
def test_the_format_is_known_by_type_by_name_or_by_the_first_letter(kind, url, data, expected):
    assert whole(data, kind=kind, url=url) == expected
    assert whole(gzip.compress(data), kind=kind or "application/gzip", url=url) == expected


def zipped(*names: str, data: bytes = b"a\n1\n") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


def test_a_body_that_is_a_packed_file_is_unpacked():
    several = gzip.compress(b"a\n") + gzip.compress(b"1\n") + b"\0" * 9
    assert streamed(in_pieces(several, range(40)), format="csv") == [{"a": "1"}]
    assert whole(zipped("x/", "x/data.csv", "__MACOSX/._data.csv")) == [{"a": "1"}]
    for data, words in (
        (gzip.compress(b"a\n1\n")[:-9], "cut short"),
        (gzip.compress(b"a\n1\n" * 99)[:20] + b"\0" * 20, "damaged"),
        (zipped("a.csv", "b.csv"), "holds 2 files, where one is read: 'a.csv', 'b.csv'"),
        (zipped(), "holds 0 files"),
        (zipped("a.csv")[:-4], "zip is damaged"),
    ):
        with pytest.raises(SourceError, match=words):
            whole(data, format="csv")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("a\né".encode("utf-16"), "text/csv"),
        ("a\né".encode("utf-16-be"), "text/csv"),
        (codecs.BOM_UTF8 + "a\né".encode(), "text/csv; charset=iso-8859-1"),
        ("a\né".encode("latin-1"), "text/csv; charset=iso-8859-1"),
        ("a\né".encode("cp1252"), "text/csv; charset=windows-1252"),
        ("a\né".encode(), "text/csv"),
    ],
)
def test_a_charset_is_found_by_mark_by_zeros_or_by_header(data, kind):
    assert whole(data, kind=kind) == [{"a": "é"}]


def test_an_xml_documents_own_charset_counts_unless_the_header_says_another():
    document = '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'
    assert whole(document.encode("latin-1"), kind="text/xml") == [{"a": "é"}]
    assert whole(document.encode(), kind="text/xml; charset=utf-8") == [{"a": "é"}]
    assert whole(document.encode("utf-16"), kind="text/xml") == [{"a": "é"}]


@pytest.mark.parametrize(
    ("data", "kind", "said", "words"),
    [
        (
            "a\n€é".encode(),
            "text/csv; charset=iso-8859-1",
            {},
            "said to be iso8859-1, and its bytes are UTF-8 .byte 2 ",
        ),
        ("a\nöäüß more".encode(), "text/csv; charset=cp1252", {}, "its bytes are UTF-8"),
        ("a\né x".encode("latin-1"), "text/csv", {}, "isn't utf-8: invalid continuation byte at byte 2"),
        ("a\né".encode("latin-1"), "text/csv", {}, "isn't utf-8: unexpected end of data at byte 2"),
        ("a\né".encode("latin-1"), "text/csv", {"charset": "utf-8"}, "isn't utf-8"),
        (b"a\n1", "text/csv; charset=klingon", {}, "charset 'klingon' is unknown"),
        ("a\n1".encode("utf-16") + b"x", "text/csv", {}, "isn't utf-16: truncated data at byte 8"),
        (b"a\n1", "text/csv; charset=zlib", {}, "charset 'zlib' is unknown"),
        (b"a\n1", "text/csv; charset=utf-16", {}, "isn't utf-16, which begins with a byte order mark"),
    ],
)
def test_a_wrong_charset_is_an_error_with_its_place_and_never_other_letters(data, kind, said, words):
    for pieces in ([data], in_pieces(data, range(len(data)))):
        with pytest.raises(SourceError, match=words):
            reading.records(body(pieces, kind), "", Said(**said))
    assert whole("a\né".encode(), kind=kind, charset="cp1252") == [{"a": "Ã©"}]  # who says so has it so


@pytest.mark.parametrize(
    ("data", "said", "path", "words"),
    [
        (b"a,b\n1,2\n1,2,3\n", {"format": "csv"}, "", "ends in line 3 has 3 values, where 2 columns are"),
        (b"a,b\n1\n", {"format": "csv"}, "", "line 2 has 1 values"),
        (b'a,b\n"x"y,2\n', {"format": "csv"}, "", "line 2: .*expected after"),
        (b'a\n"never ended\n\n', {"format": "csv"}, "", "line 3: unexpected end of data"),
        (b"a,a\n1,2\n", {"format": "csv"}, "", "columns 'a' are there more than once"),
        (b"a;b,c\n1;2,3\n", {"format": "csv"}, "", "delimiter may be ',' or ';'"),
        (b"<html></html>", {"format": "csv"}, "", "HTML or XML, not CSV"),
        (b'{"a": 1}\n{"a":\n2}', {"format": "ndjson"}, "", "^line 2: the answer isn't JSON"),
        (b'\x1e{"a":\n1}\n\x1e{"a":\n', {"format": "ndjson"}, "", "^line 2: the answer isn't JSON"),
        (b'1\n"x"\nNaN 2', {"format": "ndjson"}, "", "^line 3: the answer isn't JSON"),
        (b"<a><b></a>", {"format": "xml"}, "", "isn't XML: mismatched tag .line 1, column 8"),
        (b"<html><p>Sign in</p></html>", {"format": "xml"}, "", "HTML, not XML"),
        (b"", {"format": "xml"}, "", "isn't XML: no element found"),
        (b'{"data": [1, 2', {"format": "json"}, "data", "ends within its list|isn't JSON"),
        (b"[1, 2, ]", {"format": "json"}, "", "isn't JSON"),
        (b"[,]", {"format": "json"}, "", "isn't JSON"),
        (b"[1, 2}", {"format": "json"}, "", "isn't JSON"),
        (b'{"a": 1, "data": [1]', {"format": "json"}, "data", "isn't JSON"),
        (b'{"a" 1, "data": [1]}', {"format": "json"}, "data", "isn't JSON"),
        (b"[1] x", {"format": "json"}, "", "isn't JSON"),
        (b"<html>Sign in</html>", {"format": "json"}, "", "HTML or XML, not JSON"),
        (b"", {"format": "json"}, "", "empty"),
        (b"7", {"format": "json"}, "", "int, where records|single value"),
        (b'{"data": "x"}', {"format": "json"}, "data", "at 'data' is a str, where records should be"),
        (b'{"other": []}', {"format": "json"}, "data", "nothing is at 'data'; the answer has 'other'"),
        (b"a\n1", {}, "", "nobody says what format it is in"),
    ],
)
def test_what_is_not_the_format_says_where_and_what_is_there_instead(data, said, path, words):
    with pytest.raises(SourceError, match=words):
        whole(data, path, **said)
    for pieces in ([data], in_pieces(data, range(len(data)))):
        with pytest.raises(SourceError, match=words):
            streamed(pieces, path, **said)


def test_an_error_further_on_comes_after_the_records_before_it():
    good = b",".join(b'{"id": %d}' % n for n in range(100_000))
    data = b"[" + good + b', {"id": }]'
    pieces = in_pieces(data, range(0, len(data), 65_536))
    chunks = chunked(reading.blocks(body(pieces), "", Said("json")), 1000)
    got = list(itertools.islice(chunks, 30))
    assert got[29][-1] == {"id": 29_999}
    with pytest.raises(SourceError, match=r"after [\d,]+ records: the answer isn't JSON"):
        list(chunks)


LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'
DEEP = 100_000


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        (LAUGHS, "xml", "has a DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "xml", "has a DOCTYPE"),
        (b"<a>" * DEEP, "xml", "nested deeper than 200 elements"),
        (b"[" * DEEP, "json", "nested too deep"),
        (b'{"a":' * DEEP, "json", "nested too deep"),
        (b"[" * DEEP + b"]" * DEEP, "ndjson", "line 1: the answer is nested too deep"),
    ],
)
def test_a_bomb_is_an_error(data, form, words):
    with pytest.raises(SourceError, match=words):
        streamed(data, format=form)
    with pytest.raises(SourceError, match=words):
        whole(data, format=form)


def endless(start: bytes, more: bytes) -> Iterator[bytes]:
    """As large as one likes to read; more than 40 MiB fail the test."""
    yield start
    for _ in range(40 * MIB // len(more)):
        yield more
    pytest.fail("it is read on and on")


@pytest.mark.parametrize(
    ("start", "more", "form", "words"),
    [
        (b"a,b\n", b"x" * MIB, "csv", "a line is larger than"),
        (b'a,b\n"', (b"x" * 1023 + b"\n") * 1024, "csv", "the row that ends in line .* is larger|field larger"),
        (b"a,b\n1,2\n", (b'"' + b"x" * 1023 + b'\n",') * 1023, "csv", "the row that ends in line .* is larger"),
        (b'{"a":1}\n"', b"x" * MIB, "ndjson", "line 2 is larger"),
        (b'[1,"', b"x" * MIB, "json", "the record after the first 1 is larger"),
        (b'{"x":"', b"x" * MIB, "json", "before the records is larger"),
        (b'{"data":[1],"x":"', b"x" * MIB, "json", "beside the records is larger"),
        (b"<a><b>", b"x" * MIB, "xml", "an element is larger"),
        (b'<a><c d="', b"x" * MIB, "xml", "a tag, or a comment, is larger"),
        (b"<a><b>", b"<c>" + b"x" * MIB + b"</c>", "xml", "an element is larger"),
    ],
)
def test_one_record_without_end_is_an_error_before_it_takes_the_memory(start, more, form, words):
    path = {"json": "data", "xml": "a.b"}.get(form, "")
    if start.startswith(b"["):
        path = ""
    with pytest.raises(SourceError, match=words):
        streamed(endless(start, more), path, format=form)


def test_what_a_packed_file_unpacks_to_is_limited():
    for packed in (gzip.compress(b"x" * 3 * MIB), zipped("a.csv", data=b"x" * 3 * MIB)):
        with pytest.raises(SourceError, match="unpacked it is larger than 1,048,576 bytes"):
            reading.records(body(packed, most=MIB), "", Said("csv"))


def test_a_mistake_in_what_is_said_is_told_at_once():
    for said, words in (
        ({"format": "cvs"}, "none of json, ndjson, csv, tsv, xml.*csv"),
        ({"charset": "klingon"}, "charset='klingon': Python knows no such charset"),
        ({"charset": "zlib"}, "no such charset"),
        ({"delimiter": "::"}, "must be one character"),
    ):
        with pytest.raises(ConfigError, match=words):
            Said(**said)
    with pytest.raises(ConfigError, match="csv has no path"):
        whole(b"a\n1", "data", format="csv")
    with pytest.raises(ConfigError, match="a chunk has at least one record"):
        chunked([], 0)


def test_a_decoded_document_is_what_a_stream_is_compared_with():
    """The mark that stands for the list in a document never is its value."""
    data = b'{"data": ["api2db: the records were here"]}'
    assert streamed(data, "data", format="json") == decode(data)["data"]  # type: ignore[index]
    assert bz2.compress(data)[:3] == b"BZh"  # read by nobody: told as no format
    with pytest.raises(SourceError, match=r"isn't utf-8|nobody says"):
        whole(bz2.compress(data))
