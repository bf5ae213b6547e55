"""Where records are in an answer, said or found."""

from __future__ import annotations

import gzip
import json
from collections import OrderedDict
from types import MappingProxyType

import pytest

from api2db import Rest, RestSource
from api2db.errors import ConfigError, SourceError
from api2db.sources.rest import At, Beside, HeaderRow, Keyed, NextUrl, OffsetLimit, Parallel, Single
from api2db.sources.rest.find import find_records
from api2db.sources.rest.records import objects, selector
from tests.http_api import Answer

AB = [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("where", "body", "records"),
    [
        ("items", {"items": AB}, AB),
        ("data.items", {"data": {"items": AB}}, AB),
        ("data.items", {"data.items": AB}, AB),
        (r"a\.b", {"a.b": AB}, AB),
        ("pages.0", {"pages": [AB, []]}, AB),
        ("", AB, AB),
        (".", AB, AB),
        ("", {"n": 1}, [{"n": 1}]),
        ("items", {"items": {"n": 1}}, [{"n": 1}]),
        ("items", {"items": None}, []),
        ("items", {"items": []}, []),
        ("*", {"x": {"n": 1}, "y": {"n": 2}}, [{"_key": "x", "n": 1}, {"_key": "y", "n": 2}]),
        ("data.*", {"data": {"x": {"n": 1}}}, [{"_key": "x", "n": 1}]),
        ("data.*", {"data": []}, []),
        (Keyed("data", key="station"), {"data": {"x": {"n": 1}}}, [{"station": "x", "n": 1}]),
        (HeaderRow(), [["a", "b"], ["t1", 1], ["t2", None]], [{"a": "t1", "b": 1}, {"a": "t2", "b": None}]),
        (HeaderRow("rows"), {"rows": []}, []),
        (HeaderRow("rows"), {"rows": [["n"]]}, []),
        (HeaderRow("rows", header="columns"), {"columns": ["n"], "rows": [[1], [2]]}, AB),
        (HeaderRow("rows", header="meta"), {"meta": [{"name": "n", "type": "int"}], "rows": [[1], [2]]}, AB),
        (HeaderRow(columns=["a", "b"]), [["t1", 1, 0], ["t2", 2, 0]], [{"a": "t1", "b": 1}, {"a": "t2", "b": 2}]),
        (HeaderRow("rows", columns=["n"]), {"rows": []}, []),
        (Keyed("rates", value="rate"), {"rates": {"x": 1.5}}, [{"_key": "x", "rate": 1.5}]),
        (None, [{"page": 1}, AB], AB),
        (None, [{"page": 1}, []], []),
        (Parallel("hourly"), {"hourly": {"n": [1, 2]}}, AB),
        (Parallel(), {"t": [1, 2], "u": "K"}, [{"u": "K", "t": 1}, {"u": "K", "t": 2}]),
        (lambda body: body["a"] + body["b"], {"a": AB[:1], "b": AB[1:]}, AB),
    ],
)  # fmt: skip
def test_records_are_taken_from_where_they_are_said_to_be(where, body, records):
    assert selector(where)(body) == records


@pytest.mark.parametrize(
    ("where", "body", "told"),
    [
        ("items", {"error": "quota", "code": 7}, "nothing at 'items'.*'error', 'code'"),
        ("items", {"items": "none"}, "should be a list or an object, but there is a text"),
        (At("items"), [1], "nothing at 'items'.*a list of 1"),
        ("*", [1], "an object whose values are records"),
        ("*", {"a": 1}, r"key 'a', is a number, .* say Keyed\('', value='value'\)"),
        (
            HeaderRow("rows", columns=["a", "b"]),
            {"rows": [[1, 2], [1]]},
            "row 1 .* is 1 values, but there are 2 columns",
        ),
        (HeaderRow("rows"), {"rows": [[1, 2]]}, r"isn't a list of different names: .* say HeaderRow\('rows', columns="),
        ("*", {"a": {"_key": 1}}, "a field '_key' of their own"),
        (HeaderRow(), [["a", "b"], [1]], "row 1 .* is 1 values, but there are 2 columns"),
        (HeaderRow(), [["a", "a"], [1, 2]], "isn't a list of different names"),
        (HeaderRow(), {"a": 1}, "should be a list of lists"),
        (Parallel(), {"t": [1, 2], "v": [3]}, "aren't of one length: t 2, v 1"),
        (Parallel(), {"t": 1}, "an object of lists"),
    ],
)
def test_records_that_are_not_there_are_an_error_that_says_what_is(where, body, told):
    with pytest.raises(SourceError, match=told):
        selector(where)(body)


@pytest.mark.parametrize(
    ("select", "records"),
    [
        (Beside(Keyed("rates", value="rate"), base="base"), [{"base": "EUR", "_key": "x", "rate": 1.5}]),
        (Beside(Parallel("hourly"), day="meta.day", no="b.c"), [{"day": "d", "no": None, "n": n} for n in (1, 2)]),
        (Beside(day="meta.day"), [{"day": "d", "a": 1}]),
        (Beside(lambda body: iter(body["items"]), first="items.0.a"), [{"first": 1, "a": 1}]),
    ],
)
def test_what_stands_beside_the_records_is_in_each_of_them(select, records):
    body = {"base": "EUR", "meta": {"day": "d"}, "rates": {"x": 1.5}, "hourly": {"n": [1, 2]}, "items": [{"a": 1}]}
    assert select(body) == records


def test_a_field_beside_the_records_that_can_not_be_is_refused(http_api):
    for make in (
        Beside,
        lambda: Beside("items", day=5),
        lambda: Beside("items", day="a..b"),
        lambda: Beside(3, day="a"),
    ):
        with pytest.raises(ConfigError, match=r"test_rest_records\.py:\d+: "):
            make()
    with pytest.raises(SourceError, match="a field 'a' of their own"):
        Beside("items", a="b")({"items": [{"a": 1}]})


def test_a_page_that_begins_with_a_record_is_known_also_with_fields_beside_it(http_api):
    http_api.script(Answer(body=b'{"t":[["id","n"],["a",1]],"next":"/2"}'), Answer(body=b'{"t":[["b","2"],["c","3"]]}'))
    pages = Rest(http_api.url).pages(paging=NextUrl("next"))
    with pytest.raises(SourceError, match="named as on the first page"):
        [page.rows(Beside(HeaderRow("t"), next="next")) for page in pages]


@pytest.mark.parametrize("columns", [[], "ab", ["a", "a"], ["a", 1], ["a", ""]])
def test_names_of_columns_that_can_not_be_are_refused_with_their_line(columns):
    with pytest.raises(ConfigError, match=r"test_rest_records\.py:\d+: .*different names"):
        HeaderRow(columns=columns)
    with pytest.raises(ConfigError, match=r"test_rest_records\.py:\d+: .*key and value are both 'a'"):
        Keyed(key="a", value="a")


@pytest.mark.parametrize("where", ["a..b", "a\\b", "a:int", 3, HeaderRow])
def test_a_place_for_records_that_can_not_be_is_refused_when_it_is_declared(where):
    if where is HeaderRow:
        with pytest.raises(ConfigError):
            HeaderRow("a..b")
        return
    with pytest.raises(ConfigError):
        selector(where)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (AB, ""),
        ({"features": AB, "metadata": {"count": 2}}, "features"),
        ({"data": {"children": AB, "tags": ["a", "b"]}}, "data.children"),
        ({"a.b": {"list:1": AB}}, r"a\.b.list\:1"),
        ({"items": [], "count": 0}, "items"),
        ({"items": AB, "errors": []}, "items"),
        ({"items": [], "tags": ["a", "b"]}, "items"),
        ({"items": [], "facets": []}, "items"),
    ],
)
def test_the_one_list_of_objects_is_found(body, path):
    assert find_records(body) == path
    assert isinstance(selector(path)(body), list)


def test_of_two_lists_of_objects_none_is_guessed():
    with pytest.raises(SourceError, match=r"'items', 'meta.included'; say which: records='items'"):
        find_records({"items": AB, "meta": {"included": AB}})
    with pytest.raises(SourceError, match=r"'items', 'facets'"):
        find_records({"items": [], "facets": AB})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("OK", "a text, no records"),
        ({"message": "quota exceeded"}, "an object with 'message', without a list of objects"),
        ({"id": 1, "tags": ["a"]}, "without a list of objects; one record"),
        ({"id": 1, "error": None}, "without a list of objects; one record"),
        ({"ok": False, "error": "missing_scope", "needed": "read"}, "seems to be an error of the API's"),
        ({"message": "Not authorised", "errors": [{"code": 7}]}, "seems to be an error of the API's"),
        ([{"message": [{"id": "120", "value": "not valid"}]}], "seems to be an error .* if it is a record, say"),
        ([{"error": "quota"}], "seems to be an error"),
    ],
)
def test_an_answer_without_records_says_what_it_is_and_becomes_no_row(body, told):
    with pytest.raises(SourceError, match=told):
        find_records(body)


@pytest.mark.parametrize("body", [[{"message": "hi"}], [{"id": 1, "error": "x"}], [{"error": ""}], [{"a": 1}] * 2, [1]])
def test_a_list_that_may_be_records_is_no_error_message(body):
    assert find_records(body) == ""


@pytest.mark.parametrize(
    ("body", "where", "told"),
    [
        ({"ok": False, "error": "missing_scope"}, "messages", r'nothing at .*; it says {"error":"missing_scope"}$'),
        ([{"message": [{"id": "120"}]}], "1", r'nothing at .1. .* it says {"message":\[{"id":"120"}\]}$'),
        ([{"message": [{"id": "120"}]}], None, r'seems to be an error .* it says {"message"'),
        ({"ok": False, "errors": ["no token-of-the-api"]}, None, r'an error .*; it says {"errors":\["no \*\*\*"\]}$'),
        ({"data": {"x": 1}}, "items", "which is an object with 'data'$"),
    ],
)  # fmt: skip
def test_what_an_api_says_in_place_of_records_is_quoted_without_secrets(http_api, body, where, told):
    http_api.always(Answer(body=json.dumps(body).encode()))
    api = Rest(http_api.url, headers={"X-Token": "token-of-the-api"})
    with pytest.raises(SourceError, match=told):
        [page.records() for page in api.pages(records=where, paging=Single())]


def test_a_fault_of_soap_is_quoted(http_api):
    fault = "<s:Fault><faultcode>s:Client</faultcode><faultstring>no such thing</faultstring></s:Fault>"
    body = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{fault}</s:Body></s:Envelope>'
    http_api.always(Answer(body=body.encode(), content_type="text/xml"))
    with pytest.raises(SourceError, match=r'it says .*"s:Fault":.*"no such thing"'):
        [page.records() for page in Rest(http_api.url).pages(records=r"s\:Envelope.s\:Body.List.Item", paging=Single())]


ROWS = [{"id": "é1", "n": "1"}, {"id": "é2", "n": "2"}]
XML = "<list><item><id>é1</id><n>1</n></item><item><id>é2</id><n>2</n></item></list>"
CSV = "id,n\né1,1\né2,2\n".encode()
LINES = "\n".join(json.dumps(row) for row in ROWS).encode()


@pytest.mark.parametrize(
    ("content_type", "body", "options"),
    [
        ("application/x-ndjson", LINES, {}),
        ("text/csv; charset=utf-8", CSV, {}),
        ("application/octet-stream", gzip.compress(CSV, mtime=0), {"format": "csv"}),
        ("text/csv", CSV.decode().encode("latin-1"), {"charset": "latin-1"}),
        ("text/plain", CSV.replace(b",", b"#"), {"format": "csv", "delimiter": "#"}),
        ("text/plain", CSV.replace(b",", b"\t"), {"format": "tsv"}),
        ("text/html", LINES, {"format": "ndjson"}),
        ("application/xml", XML.encode(), {"records": "list.item"}),
        ("application/json", gzip.compress(json.dumps(ROWS).encode(), mtime=0), {}),
    ],
)
def test_a_body_of_any_format_is_records_by_its_content_type_or_as_said(http_api, content_type, body, options):
    http_api.script(Answer(body=body, content_type=content_type))
    (page,) = Rest(http_api.url).pages(**options)
    assert page.records() == ROWS


def test_json_that_is_not_utf8_is_an_error_until_its_charset_is_said(http_api):
    http_api.always(Answer(body=json.dumps(ROWS, ensure_ascii=False).encode("latin-1")))
    with pytest.raises(SourceError, match="if it is another, say charset="):
        list(Rest(http_api.url).pages())
    (page,) = Rest(http_api.url).pages(charset="latin-1")
    assert page.records() == ROWS


def test_xml_with_one_element_or_none_of_them_has_one_record_or_none(http_api):
    for body in (b"<list><item><n>1</n></item></list>", b"<list/>"):
        http_api.script(Answer(body=body, content_type="application/xml"))
    source = RestSource(http_api.url, records="list.item")
    assert [[page.records for page in source(None)] for _ in range(2)] == [[[{"n": "1"}]], [[]]]
    http_api.script(Answer(body=b"<error><code>7</code></error>", content_type="application/xml"))
    with pytest.raises(SourceError, match=r"nothing at 'list\.item'"):
        list(source(None))


def test_xml_whose_root_is_the_record_is_one_record(http_api):
    http_api.always(Answer(body=b"<r><id>1</id><n>a</n></r>", content_type="application/xml"))
    (page,) = RestSource(http_api.url, records="")(None)
    assert page.records == [{"r": {"id": "1", "n": "a"}}]
    (page,) = Rest(http_api.url).pages()
    assert page.rows("", id="r.id:int", n="r.n").table.to_pylist() == [{"id": 1, "n": "a"}]


@pytest.mark.parametrize(
    ("select", "decode"),
    [
        (lambda body: [OrderedDict(body)], None),
        (lambda body: (MappingProxyType(each) for each in [body]), None),
        (lambda body: {"x": body}.values(), None),
        ("", lambda answer: OrderedDict(answer.json())),
    ],
)
def test_records_may_be_any_mappings_in_any_iterable(http_api, select, decode):
    http_api.always(Answer(body=b'{"n": 1}'))
    (page,) = Rest(http_api.url).pages(records=select, decode=decode, key="n")
    (record,) = page.records()
    assert (type(record), record) == (dict, {"n": 1})


@pytest.mark.parametrize(
    ("selected", "told"),
    [
        (["a text"], "record 0 is a text, not an object"),
        ([{"n": 1}, "a text"], "record 1 is a text, not an object"),
        ([{"n": 1}, ["a"]], "record 1 is a list of 1, .* say records=HeaderRow"),
        ("a text", "selected is a text, not a list of objects"),
        ({"n": 1}, "selected is an object with 'n', not a list of objects"),
        (None, "selected is null, not a list of objects"),
    ],
)
def test_what_is_no_object_is_no_record_and_said_to_be_none(selected, told):
    with pytest.raises(SourceError, match=told):
        objects(selected)


@pytest.mark.parametrize("options", [{"format": "geojson"}, {"charset": "utf-9"}, {"delimiter": ",,"}])
def test_a_format_that_can_not_be_is_refused_when_it_is_declared(options):
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name}='{value}'"):
        RestSource("https://api.example.org", **options)
    with pytest.raises(ConfigError, match="decode= or format="):
        RestSource("https://api.example.org", format="csv", decode=lambda answer: [])


CSV_PAGES = ("id,name\n1,a\n2,b\n", "3,c\n4,d\n", "5,e\n")


def pages_of(http_api, bodies, **options):
    kind = "application/json" if bodies[0].startswith("[") else "text/csv"
    http_api.script(*(Answer(body=body.encode(), content_type=kind) for body in (*bodies, "", "")))
    return [page.records() for page in Rest(http_api.url).pages("/x", paging=OffsetLimit(2), **options)]


@pytest.mark.parametrize(
    ("bodies", "options"),
    [
        (CSV_PAGES, {}),
        (CSV_PAGES, {"records": ""}),
        ((CSV_PAGES[0], "5,e\n"), {}),  # its only record, as its names: it would be the empty last page
        (("id,name\n1,a\n2,b\n", "ID,Name\n3,c\n"), {}),
        ((",name\n1,a\n2,b\n", "3,c\n4,d\n"), {}),
        (('[["id", "name"], ["1", "a"], ["2", "b"]]', '[["3", "c"], ["4", "d"]]'), {"records": HeaderRow()}),
    ],
)
def test_a_later_page_without_its_row_of_names_fails_and_takes_no_record_for_it(http_api, bodies, options):
    with pytest.raises(SourceError, match=r"^GET \S+: none of its 2 columns is named as on the first page .* 'name'"):
        pages_of(http_api, bodies, **options)


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_page_without_its_row_of_names_fails_the_polls_that_go_on_there_too(http_api, is_declared, kind):
    bodies = {"csv": CSV_PAGES, "json": ('[["id", "name"], ["1", "a"], ["2", "b"]]', '[["3", "c"], ["4", "d"]]', "[]")}
    first, second, _ = (Answer(body=body.encode(), content_type=f"text/{kind}") for body in bodies[kind])
    api, options = Rest(http_api.url, retry=0), {"paging": OffsetLimit(2), "records": {"json": HeaderRow()}.get(kind)}
    source = RestSource(api, "/x", **options)

    def poll(cursor):
        if is_declared:
            return ((page.records, page.cursor) for page in source(cursor))
        return ((page.records(), page.cursor) for page in api.pages("/x", cursor=cursor, **options))

    http_api.script(first)
    _, cursor = next(poll({}))
    for _ in range(2):
        http_api.script(second)
        with pytest.raises(SourceError, match=r"named as on the first page read \('id', 'name'\)"):
            list(poll(json.loads(json.dumps(cursor))))


def test_of_a_table_of_many_columns_a_cursor_holds_names_enough_to_tell_a_record_from_them(http_api):
    names, values = ([f"{kind}{at}" for at in range(500)] for kind in ("name", "value"))
    source = RestSource(Rest(http_api.url), paging=OffsetLimit(1))
    bodies = (
        f"{','.join(row)}\n{','.join(more)}\n" for row, more in ((names, values), (names, names), (values, names))
    )
    http_api.script(*(Answer(body=body.encode(), content_type="text/csv") for body in bodies))
    cursor = next(source({})).cursor
    assert len(json.dumps(cursor)) < 1000
    assert next(source(cursor)).records[0]["name499"] == "name499"
    with pytest.raises(SourceError, match=r"none of its 500 columns is named as .* \('name0', .* …\)"):
        next(source(cursor))


def test_with_columns_said_a_row_of_names_is_one_on_whatever_page_it_is(http_api):
    def named(answer):
        return answer.records(format="csv", columns=["id", "name"])

    found = [record["id"] for page in pages_of(http_api, CSV_PAGES, decode=named) for record in page]
    assert found == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "other", ["id,b\n3,c\n", "b,id\n3,c\n", "x,y,z\n3,c,d\n", "y\n3\n", "id,name\n", "No more data\n"]
)
def test_pages_of_a_table_may_differ_in_their_columns(http_api, other):
    assert len(pages_of(http_api, (CSV_PAGES[0], other))[0]) == 2
