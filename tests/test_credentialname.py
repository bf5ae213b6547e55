"""A parameter named like a credential is told by its words, however they are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db.credentialname import is_credential, may_be_records, resembles_credential
from api2db.secret import redact

CREDENTIALS = """
access token, api token, auth token, user token, private token, refresh token, id token, session token, csrf token,
bearer token, x amz security token, page access token, security token, api key, x api key, h api key, app key, auth
key, access key, secret key, subscription key, ocp apim subscription key, license key, consumer key, private key,
client secret, consumer secret, api secret, app secret, token secret, secret access key, password, pass word, user
password, passwd, pass phrase, pwd, user pwd, pass, jwt, session id, session, sig, signature, x amz signature, x amz
credential, credentials, app id, bearer, auth, authorization, client assertion, code verifier, oauth, token, key, j
session id, user key, service key, map key, dev key, ws key, api keys, access tokens, secret keys
"""
OTHERS = """
page token, next token, next page token, next forward token, continuation token, sync token, skip token, resumption
token, cursor, start key, next key, last evaluated key, exclusive start key, sort key, primary key, partition key,
group key, keyword, key word, keywords, monkey, turkey, tokenize, tokens, max tokens, token type, token count, token
id, compass, bypass, passenger, author, authors, client id, user, signal, design, session count, key id, secretary,
page, limit, since, keys, record keys, whiskey, hotkey, sort keys, page tokens
"""
STYLES: dict[str, Callable[[list[str]], str]] = {
    "snake": "_".join,
    "kebab": "-".join,
    "dotted": ".".join,
    "camel": lambda words: words[0] + "".join(map(str.capitalize, words[1:])),
    "pascal": lambda words: "".join(map(str.capitalize, words)),
    "Http-Header": lambda words: "-".join(map(str.capitalize, words)),
    "SCREAMING": lambda words: "_".join(words).upper(),
    "glued": "".join,
    "GLUED": lambda words: "".join(words).upper(),
    "brackets": lambda words: words[0] + "".join(f"[{word}]" for word in words[1:]),
}


def written(names: str) -> Iterator[str]:
    for name in " ".join(names.split()).split(", "):
        yield from (style(name.split()) for style in STYLES.values())


def test_a_credentials_name_is_one_in_whatever_way_its_words_are_joined():
    assert [name for name in written(CREDENTIALS) if not is_credential(name)] == []
    assert [name for name in written(CREDENTIALS) if "short" in redact(f"/x?{name}=short")] == []
    assert [name for name in written(CREDENTIALS) if not may_be_records(name) and not resembles_credential(name)] == []


def test_what_turns_pages_or_orders_rows_or_only_sounds_alike_is_no_credential():
    assert [name for name in written(OTHERS) if is_credential(name) or may_be_records(name)] == []


@given(st.text())
def test_any_text_may_be_asked_about(name):
    assert is_credential(name) or not may_be_records(name)


@pytest.mark.parametrize("name", ["api_key_2", "apiKeyV2", "token[]", "filter[apiKey]", "$token", "_session_id"])
def test_a_number_at_the_end_and_signs_around_change_nothing(name):
    assert is_credential(name)


def test_what_may_as_well_be_a_records_key_is_told():
    records = {"key", "token", "session", "sessionId", "auth", "app_id", "issueKey", "user_token"}
    sure = {"api_key", "accessToken", "password", "signature", "hapikey", "secretKey"}
    assert {name for name in records | sure if may_be_records(name)} == records
