"""What is remembered of answers, so that an unchanged one needn't be sent, read and loaded again."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import SourceError
from api2db.sources.context import PollContext
from api2db.sources.tape.storekey import made_key

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.rest.ask import Ask

MOST: Final = 300
"""Of so many requests, the last asked, a collector remembers the answers."""

log = logging.getLogger(__name__)

_KEY: Final = "validators"
_ASKED: Final = "asked"
_ACCOUNT: Final = "account"
_UNCHANGED: Final = 304
_READS: Final = ("GET", "HEAD")


class Validators:
    """What one collector knows of answers, by the last poll that ended well, and what this one adds. One thread.

    Kept in the poll's state, so only once everything is accepted that the poll brought. A request that comes twice in a
    poll is compared with what the last poll knew both times, unless the first answer was another: the table has that.
    """

    def __init__(self, context: PollContext) -> None:
        self._context = context
        table = context.state.get(_KEY)
        self._before: dict[str, dict[str, Any]] = {} if context.full or not isinstance(table, dict) else dict(table)
        # Where a poll is whole or nothing, a page that is left out would be missing: only a poll of one answer can
        # be known to be all of it.
        if context.whole and (context.state.get(_ASKED) != 1 or len(self._before) != 1):
            self._before = {}
        self._now: dict[str, Any] = {} if context.full or not isinstance(table, dict) else dict(table)
        self._seen: set[str] = set()
        self._left_out: set[str] = set()
        self._accounts: dict[str, str] = {}  # by request, digests
        self._secret: bytes | None = None

    @classmethod
    def of(cls, context: PollContext) -> Validators:
        """Those of a poll: the same object as long as it goes on."""
        found = context.kept.get(_KEY)
        if not isinstance(found, cls):
            found = context.kept[_KEY] = cls(context)
        return found

    def key(self, ask: Ask, who: str, account: str) -> str:
        """What a request's answer is known by: also by its headers, and ``who`` asks.

        Other accounts get other answers from the same address, and one's may well be what another's was. Where ``who``
        is of another ``account`` than at the last poll, nothing is known of that answer.
        """
        key = self._keyed([ask.identity(), ask.headers, who])
        self._accounts[key] = self._keyed(account) if account else ""
        if self._before.get(key, {}).get(_ACCOUNT, "") != self._accounts[key]:
            self._before.pop(key, None)
        return key

    def headers(self, key: str, method: str) -> dict[str, str]:
        """What to send along so that an unchanged answer is told by a word."""
        known = self._before.get(key)
        if known is None or method not in _READS:
            return {}
        names = (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))
        return {name: str(known[field]) for name, field in names if known.get(field)}

    def unchanged(self, key: str, answer: Answer) -> bool:
        """Whether this is what the last poll accepted. What is remembered of the answer is so from now on.

        Raises SourceError where each poll's rows replace the last one's, and this poll has left some out already.
        """
        known = self._before.get(key)
        digest = None if answer.status_code == _UNCHANGED else _digest(answer)
        same = known is not None and (digest is None or digest == known.get("hash"))
        if same:
            self._left_out.add(key)
        else:
            self._before.pop(key, None)
        old = self._now.pop(key, None)  # so that it comes last: the last asked are kept
        kept = _headers_of(answer, known if digest is None else None)
        if kept is not None and (digest or known):
            memo = old.get("memo") if same and old is not None else None
            self._keep(key, kept, digest or (known or {}).get("hash"), memo)
        for oldest in list(self._now)[: max(0, len(self._now) - MOST)]:
            del self._now[oldest]
        self._asked(key)
        return same

    def read(self, key: str, answer: Answer) -> None:
        """An answer is taken whatever the last poll had: what is remembered of that request, if anything, is this one.

        Raises SourceError as ``unchanged``.
        """
        self._left_out.discard(key)
        old, before = self._now.pop(key, None), self._before.get(key)
        digest = "" if old is None and before is None else _digest(answer)
        if before is not None and digest != before.get("hash"):
            del self._before[key]
        kept = _headers_of(answer, None)
        if old is not None and kept is not None:
            self._keep(key, kept, digest, old.get("memo") if digest == old.get("hash") else None)
        elif old is None and self._context.whole:
            self._now.clear()  # its rows replace theirs
        self._asked(key)

    def _keep(self, key: str, kept: Mapping[str, str], digest: object, memo: object) -> None:
        account = self._accounts.get(key, "")
        self._now[key] = {**kept, "hash": digest, "memo": memo, **({_ACCOUNT: account} if account else {})}

    def _keyed(self, said: object) -> str:
        """By the STORE's key: nobody finds out a credential that is in it."""
        if self._secret is None:
            self._secret = _secret(self._context.secret)
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=16, key=self._secret).hexdigest()

    def _asked(self, key: str) -> None:
        self._seen.add(key)
        if self._context.whole and self._left_out and len(self._seen) > 1:
            raise SourceError(
                "each poll replaces the rows of the one before, and this one left some out since they were unchanged,"
                " before it asked for others; the next poll asks for all of them"
            )
        if self._now or _KEY in self._context.state:  # else nothing is remembered, nor written
            self._context.state[_KEY] = self._now
            self._context.state[_ASKED] = len(self._seen)

    def memo(self, key: str) -> object:
        """What was remembered with the answer that the last poll accepted."""
        return self._before.get(key, {}).get("memo")

    def remember(self, key: str, memo: object) -> None:
        """Keep a JSON value with the answer, if that is remembered."""
        entry = self._now.get(key)
        if entry is not None:
            self._now[key] = {**entry, "memo": memo}


def _secret(path: Path | None) -> bytes:
    """The STORE's key; b"" for a poll of which nothing is kept."""
    if path is None:
        return b""
    try:
        return made_key(path)
    except OSError as error:
        log.warning("%s: the key can't be kept, so what is unchanged is read anew: %s", path, error.strerror)
        return secrets.token_bytes()


def _headers_of(answer: Answer, known: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The validators of an answer, those it had before where it says nothing of them; None: it isn't to be kept."""
    if "no-store" in answer.headers.get("Cache-Control", "").lower():
        return None
    before = known or {}
    found = {
        "etag": answer.headers.get("ETag", before.get("etag")),
        "modified": answer.headers.get("Last-Modified", before.get("modified")),
    }
    return {key: value for key, value in found.items() if value}


def _digest(answer: Answer) -> str:
    return hashlib.blake2b(answer.content, digest_size=16).hexdigest()
