"""Asks: a request in, its answer out; patiently, within budgets, and only for what has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from api2db.errors import ConfigError
from api2db.sources.context import POLL, PollContext
from api2db.sources.net.auth.login import login_of, who
from api2db.sources.net.patient import Patient
from api2db.sources.net.promised import Promise, promise
from api2db.sources.net.rate import read_rate
from api2db.sources.net.retries import REPEATABLE, Retries
from api2db.sources.net.sessions import Sessions, host_of
from api2db.sources.net.validators import Validators
from api2db.sources.tape.recorder import is_played

if TYPE_CHECKING:
    from api2db.sources.answer import Answer
    from api2db.sources.rest.ask import Ask


@dataclass
class Fetched:
    """What came of one request.

    answer  None: unchanged since the last poll that was accepted whole
    memo    the JSON value that was remembered with the answer then
    told    the answer that says that it is unchanged: 304, or the same body
    """

    answer: Answer | None
    memo: object = None
    told: Answer | None = None
    _kept: tuple[Validators, str] | None = field(default=None, repr=False)

    def remember(self, memo: object) -> None:
        """Keep a JSON value with this answer, for the next poll that finds it unchanged."""
        self.memo = memo
        if self._kept is not None:
            validators, key = self._kept
            validators.remember(key, memo)


class Fetcher:
    """Sends the requests of one API. Any thread.

    auth         credentials: see docs/politeness.md
    home         an address of the host they are for; None: the first that is asked
    rate         requests at most, of all who ask that host: "60/min", "10/s", "10/s, 5000/h"
    concurrency  requests under way to a host at once, of all who ask it
    conditional  remember answers, and leave out what is unchanged
    retry        a ``Retries``, or how many repeats there may be
    http         options of ``Http``, but ``check_status``: an answer from 400 on is an error
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
        options = dict(http or {})
        self._conditional = conditional
        self._who = who(auth, options)
        self._promise = Promise(read_rate(rate), _at_once(concurrency))
        if home is not None:
            promise(host_of(home), self._promise)
        self._patient = Patient(
            Sessions(options, home),
            _retries(retry),
            check_status=True,
            login=login_of(auth, options),
            rates=self._promise.rates,
            at_once=self._promise.at_once,
        )

    def fetch(
        self,
        ask: Ask,
        *,
        conditional: bool = True,
        repeatable: bool | None = None,
        whole: Callable[[object], bool] | None = None,
    ) -> Fetched:
        """The answer to a request, or that it is unchanged.

        conditional  False: it is taken, changed or not, and what is remembered of that request is this answer
        whole        handed what was remembered with the answer: is the body to come, so that 304 isn't asked for?
        repeatable   whether it may be asked again where it fails; a POST that only reads may. By default GET may

        Raises HttpError, with how often it was tried and why, and PutOff where one is to wait longer than
        ``max_wait_s``.
        """
        poll = POLL.get()
        context = poll or PollContext()
        again = ask.method in REPEATABLE if repeatable is None else repeatable
        validators = Validators.of(context)
        key = validators.key(ask, self._who, self._patient.account(ask, context))
        if poll is None or not (self._conditional and conditional):
            answer = self._patient.send(ask, {}, context, again=again)
            context.note(news=True)
            _checked(answer)
            validators.read(key, answer)
            return Fetched(answer, _kept=(validators, key))
        known = validators.headers(key, ask.method)
        headers = {} if whole is not None and whole(validators.memo(key)) else known
        answer = self._patient.send(ask, headers, context, again=again)
        if answer.status_code == HTTPStatus.NOT_MODIFIED and not known and is_played():
            # It had not changed since a poll that isn't played.
            context.note(news=False)
            return Fetched(None)
        if answer.status_code == HTTPStatus.NOT_MODIFIED and not headers and not is_played():
            raise answer.error("nobody asked whether it was modified; a cache before the server may be wrong")
        if answer.status_code >= 400:
            context.note(news=True)
            return Fetched(_checked(answer))
        unchanged = validators.unchanged(key, answer)
        context.note(news=not unchanged)
        kept = (validators, key)
        return Fetched(None, validators.memo(key), answer, kept) if unchanged else Fetched(answer, _kept=kept)


def _checked(answer: Answer) -> Answer:
    answer.raise_for_status()
    return answer


def _at_once(concurrency: int | None) -> int | None:
    if concurrency is None:
        return None
    if isinstance(concurrency, int) and not isinstance(concurrency, bool) and concurrency > 0:
        return concurrency
    raise ConfigError(f"concurrency={concurrency!r}: give how many requests may be under way at once, 1 or more")


def _retries(retry: Retries | int | None) -> Retries:
    if retry is None or isinstance(retry, Retries):
        return retry or Retries()
    if isinstance(retry, int) and not isinstance(retry, bool):
        return Retries(retries=retry)
    raise ConfigError(f"retry={retry!r}: give a number of repeats, or Retries(...)")
