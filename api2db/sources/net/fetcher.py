"""Asks: a request in, its answer out; patiently, within budgets, and only for what has changed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from api2db.errors import ConfigError
from api2db.sources.context import POLL, PollContext, PutOff
from api2db.sources.net.retries import AGAIN, LIMITED, REPEATABLE, Retries, Tries
from api2db.sources.net.sessions import Sessions, host_of
from api2db.sources.net.validators import Validators

if TYPE_CHECKING:
    from api2db.sources.answer import Answer, HttpError
    from api2db.sources.rest.ask import Ask

_NOT_MODIFIED = 304


@dataclass
class Fetched:
    """What came of one request.

    answer  None: unchanged since the last poll that was accepted whole
    memo    the JSON value that was remembered with the answer then
    """

    answer: Answer | None
    memo: object = None
    _kept: tuple[Validators, Ask] | None = field(default=None, repr=False)

    def remember(self, memo: object) -> None:
        """Keep a JSON value with this answer, for the next poll that finds it unchanged."""
        self.memo = memo
        if self._kept is not None:
            validators, ask = self._kept
            validators.remember(ask, memo)


class Fetcher:
    """Sends the requests of one API. Any thread.

    auth         credentials: see docs/politeness.md
    home         an address of the host they are for; None: the first that is asked
    rate         requests at most, of all who ask that host: "60/min", "10/s", "5000/h"
    concurrency  of them under way at once; 4 if None
    conditional  remember answers, and leave out what is unchanged
    retry        a ``Retries``, or how many repeats there may be
    http         options of ``Http``
    """

    def __init__(
        self,
        *,
        auth: object = None,
        home: str | None = None,
        rate: str | None = None,
        concurrency: int | None = None,
        conditional: bool = True,
        retry: Retries | int | None = None,
        http: Mapping[str, Any] | None = None,
    ) -> None:
        self._options = dict(http or {})
        self._check_status = bool(self._options.get("check_status", True))
        self._sessions = Sessions(self._options, home)
        self._conditional = conditional
        self._retries = _retries(retry)
        self._rng = random.Random()
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, str]] = {}  # host -> until when (monotonic), and why

    def fetch(self, ask: Ask, *, conditional: bool = True, repeatable: bool | None = None) -> Fetched:
        """The answer to a request, or that it is unchanged.

        repeatable  whether it may be asked again where it fails; a POST that only reads may. By default GET may

        Raises HttpError, with how often it was tried and why, and PutOff where one is to wait longer than
        ``max_wait_s``.
        """
        poll = POLL.get()
        context = poll or PollContext()
        again = ask.method in REPEATABLE if repeatable is None else repeatable
        if poll is None or not (self._conditional and conditional):
            answer = self._patiently(ask, {}, context, again)
            context.note(news=True)
            return Fetched(self._checked(answer))
        validators = Validators.of(context)
        headers = validators.headers(ask)
        answer = self._patiently(ask, headers, context, again)
        if answer.status_code == _NOT_MODIFIED and not headers:
            raise answer.error("nobody asked whether it was modified; a cache before the server may be wrong")
        if answer.status_code >= 400:
            context.note(news=True)
            return Fetched(self._checked(answer))
        unchanged = validators.unchanged(ask, answer)
        context.note(news=not unchanged)
        return Fetched(None if unchanged else answer, validators.memo(ask) if unchanged else None, (validators, ask))

    def _patiently(self, ask: Ask, headers: Mapping[str, str], context: PollContext, again: bool) -> Answer:
        """The first answer that is no mere "not now"; the last one of those if ``check_status`` is off."""
        from api2db.sources.answer import HttpError

        host = host_of(ask.url)
        tries = Tries(self._retries, self._rng)
        while True:
            self._wait_for(host, context)
            answer: Answer | None = None
            error: HttpError | None = None
            try:
                answer = self._sessions.send(ask, headers, None)
            except HttpError as failed:
                if not failed.transient:
                    raise
                error = failed
            held_s = None if answer is None else self._hold(host, answer)
            if answer is not None and not _says_not_now(answer, held_s):
                return answer
            tries.failed(answer, error)
            delay_s = tries.delay_s() if held_s is None else held_s
            if held_s is not None and held_s > self._retries.max_wait_s:
                self._wait_for(host, context)  # raises PutOff
            if not again or not tries.may_repeat(delay_s):
                if answer is not None and not self._check_status:
                    return answer
                raise tries.told(error or _error_of(answer))
            if held_s is None:
                context.wait(delay_s)

    def _hold(self, host: str, answer: Answer) -> float | None:
        """Remember until when the server wants no more requests; how many seconds that is, if it said so."""
        from api2db.sources.net.slowdown import retry_after_s, used_up_s

        asked_s = retry_after_s(answer.headers) if answer.status_code >= 300 else None
        used_s = used_up_s(answer.headers)
        held_s = asked_s if asked_s is not None else used_s
        if not held_s:
            return None
        why = "Retry-After" if asked_s is not None else "its rate limit is used up"
        with self._lock:
            self._held[host] = (time.monotonic() + held_s, f"{host} answered {answer.status_code}, {why}")
        return held_s

    def _wait_for(self, host: str, context: PollContext) -> None:
        """Wait as long as the server wants. Raises PutOff if that is too long, Stopping."""
        while True:
            with self._lock:
                until_s, why = self._held.get(host, (0.0, ""))
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    self._held.pop(host, None)
                    return
            if left_s > self._retries.max_wait_s:
                raise PutOff(f"{why}: it is asked again in {left_s:.0f} s", left_s)
            context.wait(left_s)

    def _checked(self, answer: Answer) -> Answer:
        if self._check_status:
            answer.raise_for_status()
        return answer


def _says_not_now(answer: Answer, held_s: float | None) -> bool:
    return answer.status_code in AGAIN or (answer.status_code in LIMITED and held_s is not None)


def _error_of(answer: Answer | None) -> HttpError:
    from api2db.sources.answer import HttpError

    assert answer is not None
    try:
        answer.raise_for_status()
    except HttpError as error:
        return error
    raise AssertionError(answer.status_code)


def _retries(retry: Retries | int | None) -> Retries:
    if retry is None or isinstance(retry, Retries):
        return retry or Retries()
    if isinstance(retry, int) and not isinstance(retry, bool):
        return Retries(retries=retry)
    raise ConfigError(f"retry={retry!r}: give a number of repeats, or Retries(...)")
