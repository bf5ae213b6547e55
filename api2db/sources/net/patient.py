"""One request, sent as often as it takes: not before its turn, and not before the server wants it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from api2db.sources.context import PollContext, PutOff
from api2db.sources.net.hosts import OUTSIDE
from api2db.sources.net.rate import Rate
from api2db.sources.net.retries import AGAIN, LIMITED, Retries, Tries
from api2db.sources.net.sessions import Auth, Sessions, host_of
from api2db.sources.tape.recorder import is_played

if TYPE_CHECKING:
    from api2db.sources.answer import Answer, HttpError
    from api2db.sources.net.auth.login import Login
    from api2db.sources.rest.ask import Ask

_UNAUTHORIZED = 401


class Patient:
    """Sends the requests of one API. Any thread.

    check_status  raise HttpError where the last answer still says "not now"; else that is the answer: a token's server
                  says in it what is wrong
    login         the credentials for the sessions' own host
    rates         of requests to a host, by all who ask it
    at_once       requests under way to a host, by all who ask it; None: it isn't said
    """

    def __init__(
        self,
        sessions: Sessions,
        retries: Retries,
        *,
        check_status: bool,
        login: Login | None = None,
        rates: Sequence[Rate] = (),
        at_once: int | None = None,
    ) -> None:
        self._rates = rates
        self._at_once = at_once
        self._sessions = sessions
        self._retries = retries
        self._check_status = check_status
        self._login = login
        self._rng = random.Random()
        self._lock = threading.Lock()
        self._held: dict[str, tuple[float, str]] = {}  # host -> until when (monotonic), and why

    def send(self, ask: Ask, headers: Mapping[str, str], context: PollContext, *, again: bool) -> Answer:
        """The first answer that doesn't say "not now", whatever its status.

        headers  beside those of ``ask``
        again    whether it may be repeated

        Raises HttpError, with how often it was tried, PutOff, Stopping; ConfigError or SourceError for credentials.
        """
        from api2db.sources.answer import HttpError

        if is_played():
            return self._played(ask, headers, again=again)
        host = host_of(ask.url)
        tries = Tries(self._retries, self._rng)
        while True:
            self._wait_for(host, context)
            answer: Answer | None = None
            error: HttpError | None = None
            try:
                answer = self._logged_in(ask, headers, context)
            except HttpError as failed:
                if not failed.transient:
                    raise
                error = failed
            held_s = None if answer is None else _told_to_wait(answer)[0]
            if answer is not None and not _says_not_now(answer, held_s):
                return answer
            tries.failed(answer, error)
            delay_s = tries.delay_s() if held_s is None else held_s
            if held_s is not None and held_s > self._retries.max_wait_s:
                self._wait_for(host, context, is_answer=True)  # raises PutOff
            if not again or not tries.may_repeat(delay_s):
                if answer is not None and not self._check_status:
                    return answer
                raise tries.told(error or _error_of(answer))
            if held_s is None:
                context.wait(delay_s)

    def account(self, ask: Ask, context: PollContext) -> str:
        """A text that differs where another account asks than before, which may hold secrets; "" for nobody's.

        Raises ConfigError.
        """
        if self._login is None or is_played() or not self._sessions.at_home(ask.url):
            return ""
        return self._login.account(context)

    def _played(self, ask: Ask, headers: Mapping[str, str], *, again: bool) -> Answer:
        """What came of it at the time, try by try: nothing recorded has to be waited for, nor asks who one is."""
        from api2db.sources.answer import HttpError
        from api2db.sources.net.slowdown import retry_after_s

        tries, renewed = Tries(self._retries, self._rng), False
        while True:
            answer: Answer | None = None
            error: HttpError | None = None
            try:
                answer = self._sessions.send(ask, headers, None)
            except HttpError as failed:
                if not failed.transient:
                    raise
                error = failed
            if answer is not None and answer.status_code == _UNAUTHORIZED and self._login is not None and not renewed:
                renewed = True
                continue
            if answer is not None and not _says_not_now(answer, retry_after_s(answer.headers)):
                return answer
            tries.failed(answer, error)
            if not again or not tries.may_repeat(0.0):
                if answer is not None and not self._check_status:
                    return answer
                raise tries.told(error or _error_of(answer))

    def _logged_in(self, ask: Ask, headers: Mapping[str, str], context: PollContext) -> Answer:
        """Send it with credentials, if its host is theirs; once more with others if they are refused."""
        if self._login is None or not self._sessions.at_home(ask.url):
            return self._sent(ask, headers, None, context)
        auth = self._login.auth(context)
        answer = self._sent(ask, headers, auth, context)
        if answer.status_code != _UNAUTHORIZED:
            return answer
        other = self._login.auth(context, refused=auth)
        return answer if other is None else self._sent(ask, headers, other, context)

    def _sent(self, ask: Ask, headers: Mapping[str, str], auth: Auth | None, context: PollContext) -> Answer:
        """Once it is this request's turn, and the server wants requests: it may say so to another that is before it."""
        hosts, host = context.hosts or OUTSIDE, host_of(ask.url)
        while True:
            with hosts.turn(host, self._rates, self._at_once, self._retries.max_wait_s, context):
                if not self._held_back(host):
                    answer = self._sessions.send(ask, headers, auth)
                    self._hold(host, answer)  # before it is another's turn
                    return answer
            self._wait_for(host, context)

    def _hold(self, host: str, answer: Answer) -> None:
        """Remember until when the server wants no more requests: the latest time it said."""
        held_s, why = _told_to_wait(answer)
        if held_s is not None:
            told = time.monotonic() + held_s, f"{host} answered {answer.status_code}, {why}"
            with self._lock:
                self._held[host] = max(told, self._held.get(host, told))

    def _held_back(self, host: str) -> tuple[float, str] | None:
        """How long the server wants no more requests, in seconds, and why; None if it does."""
        with self._lock:
            until_s, why = self._held.get(host, (0.0, ""))
            left_s = until_s - time.monotonic()
            if left_s > 0:
                return left_s, why
            self._held.pop(host, None)
            return None

    def _wait_for(self, host: str, context: PollContext, *, is_answer: bool = False) -> None:
        """Wait as long as the server wants. Raises PutOff if that is too long, Stopping."""
        while (held := self._held_back(host)) is not None:
            left_s, why = held
            if left_s > self._retries.max_wait_s:
                raise PutOff(f"{why}: it is asked again in {left_s:.0f} s", left_s, is_answer=is_answer)
            context.wait(left_s)


def _told_to_wait(answer: Answer) -> tuple[float | None, str]:
    """For how many seconds the server wants no more requests, and how it said so; None if it didn't."""
    from api2db.sources.net.slowdown import retry_after_s, used_up_s

    asked_s = retry_after_s(answer.headers) if answer.status_code >= 300 else None
    if asked_s is not None:
        return asked_s or None, "Retry-After"
    return used_up_s(answer.headers) or None, "its rate limit is used up"


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
