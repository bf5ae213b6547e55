"""Which names of parameters, fields and headers mean a credential; said here, and nowhere else.

A name is read word by word, however they are put together: ``access_token``, ``accessToken``, ``Access-Token`` and
``accesstoken`` are one. What counts is its last word, and the one before it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
_NUMBER: Final = re.compile(r"v|\d+")
_LONGEST: Final = 200

# The end of a word, too: dbpassword, appsecret.
_ENDS: Final = (
    *("password", "passwords", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "credential"),
    *("credentials", "signature", "jwt", "bearer", "authorization", "assertion", "codeverifier", "sessid"),
    *("sessionid", "appid", "secretid"),
)
# Whole words; "compass" and "bypass" end in one.
_WHOLE: Final = frozenset(
    ("pass", "pswd", "psw", "pw", "sig", "hmac", "auth", "oauth", "authentication", "session", "creds", "cred")
)
# A token or a key of these is no record's.
_SURE: Final = frozenset(
    (
        *("api", "app", "application", "access", "auth", "oauth", "authorization", "bearer", "refresh"),
        *("session", "id", "secret", "client", "consumer", "subscription", "license", "licence", "private"),
        *("personal", "security", "csrf", "xsrf", "jwt", "master", "signing", "encryption", "pass"),
    )
)
# What tells where a page begins: a token or a key of these is no credential.
_PAGING: Final = (
    *("pages?", "paging", "pagination", "next", "prev", "previous", "cursor", "cont", "continue", "continuation"),
    *("sync", "start", "starting", "end", "ending", "after", "before", "scroll", "skip", "resume", "resumption"),
    *("offset", "delta", "position", "more", "marker", "bookmark", "forward", "backward", "since", "from", "last"),
    *("checkpoint", "seek", "evaluated", "exclusive", "inclusive", "begin", "change"),
)
_IS_PAGING: Final = re.compile(f"(?:{'|'.join(_PAGING)})+")
# What a column, a row or an entry is found by.
_ORDINARY_KEY: Final = frozenset(
    (
        *("sort", "sorting", "order", "orderby", "primary", "foreign", "partition", "group", "grouping"),
        *("range", "row", "record", "item", "object", "natural", "cache", "idempotency", "dedup", "search"),
        *("filter", "index", "lookup", "join", "hash", "json", "dict", "field", "column", "tag"),
        *("translation", "label", "attribute", "metric", "property", "meta", "surrogate", "business"),
        *("routing", "composite", "unique"),
    )
)
# What ends in "key" and has none in it, without that.
_NO_KEY: Final = frozenset(
    (
        *("mon", "tur", "don", "joc", "hoc", "whis", "lac", "mic", "hic", "dic", "ric", "smo", "flun", "malar"),
        *("yan", "o", "ho", "po", "hot", "low", "latch", "under"),
    )
)
# Part of a name; enough to hide what is only shown.
_RESEMBLES: Final = re.compile(r"pass|pwd|secret|token|key|credential|jwt", re.IGNORECASE)


class _Read(NamedTuple):
    is_credential: bool
    may_be_records: bool


def is_credential(name: str) -> bool:
    """Does a parameter called so mean a credential? One that tells pages or orders rows (page_token, sort_key) doesn't.

    Its value is kept nowhere but where credentials are.
    """
    return _read(name[-_LONGEST:]).is_credential


def may_be_records(name: str) -> bool:
    """Of a credential's name: may it as well be that of a record's key (key, session, issue_key), so of data?"""
    return _read(name[-_LONGEST:]).may_be_records


def resembles_credential(name: str) -> bool:
    """Is a credential's word anywhere in it, or does it surely mean one? For what is rather hidden than shown."""
    if _RESEMBLES.search(name) is not None:
        return True
    read = _read(name[-_LONGEST:])
    return read.is_credential and not read.may_be_records


def may_be_credential(name: str) -> bool:
    """Is a credential's word anywhere in it, or does it mean one, a record's key or not? For what a URL has in it."""
    return _RESEMBLES.search(name) is not None or is_credential(name)


@lru_cache(maxsize=4096)
def _read(name: str) -> _Read:
    words = [word.lower() for word in _WORD.findall(name)]
    while len(words) > 1 and _NUMBER.fullmatch(words[-1]):
        words.pop()  # api_key_2, apiKeyV2
    if not words:
        return _Read(False, False)
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    both = before + last  # passWord, app_id
    for head in ("token", "key"):
        if last.endswith(head):
            return _token_or_key(head, last.removesuffix(head), before)
        if last.endswith(f"{head}s"):
            several = _token_or_key(head, last.removesuffix(f"{head}s"), before)
            return _Read(False, False) if several.may_be_records else several  # keys=1,2 or max_tokens=100 is none
    if both.endswith(_ENDS):
        return _Read(True, both in ("sessionid", "appid"))
    if last in _WHOLE or both in _WHOLE:
        return _Read(True, last in ("auth", "session"))
    return _Read(False, False)


def _token_or_key(head: str, glued: str, before: str) -> _Read:
    """``glued``: what stands before it in its word, ``before``: the word before that; each may be empty."""
    whose = glued or before
    if _IS_PAGING.fullmatch(whose) or (head == "key" and whose in _ORDINARY_KEY):
        return _Read(False, False)
    is_sure = whose in _SURE or (glued != "" and glued.endswith(tuple(_SURE - {"id"})))
    if head == "key" and glued in _NO_KEY:
        return _Read(False, False)
    return _Read(True, not is_sure)
