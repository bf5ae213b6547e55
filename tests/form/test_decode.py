"""An answer's bytes as Python values, or an error that says what came instead."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.errors import SourceError
from api2db.sources.decode import decode


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":[1,2.5,null,true,"x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b"1180591620717411303424", 2**70),
        (b"-1180591620717411303424", -(2**70)),
        (b"[1e400,-1e400,Infinity,-Infinity]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b'"\\ud800"', "\ud800"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        ("﻿[1]", [1]),
        ('{"a":"é"}', {"a": "é"}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"\\u0000":1}', {"\0": 1}),
        (b"9" * 4300, int("9" * 4300)),
        (b"9" * 4301, "9" * 4301),
    ],
)
def test_json_and_what_apis_take_for_it_is_decoded_exactly(body, value):
    assert decode(body) == value


def test_nan_is_read():
    assert math.isnan(decode(b"[NaN]")[0])


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty: 0 bytes"),
        (b" \n", "empty"),
        (b"<html><body>502 Bad Gateway", r"HTML or XML, not JSON.*27 bytes, starting '<html>"),
        (b'{"a":', "isn't JSON"),
        (b"{} x", r"isn't JSON \(Extra data at character 3\)"),
        (b'"\xff"', "isn't UTF-8"),
        ("nope", "4 characters, starting 'nope'"),
        (b"[" * 100_000, "nested too deep"),
        (b"x" * 5000, "5,000 bytes, starting 'x{40}'$"),
    ],
)
def test_anything_else_says_what_came_instead(body, message):
    with pytest.raises(SourceError, match=message):
        decode(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(JSON)
def test_what_python_writes_is_read_back(value):
    assert decode(json.dumps(value).encode()) == value
    assert decode(json.dumps(value)) == value
