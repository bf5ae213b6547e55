"""Whose turn it is: budgets of requests and how many there are at once, by host, for all who ask in this project."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

import msgspec

from api2db.files import make_dir, write_atomic
from api2db.sources.context import PollContext, PutOff
from api2db.sources.net.promised import promised
from api2db.sources.net.rate import Rate, Window

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Requests under way to a host, where nobody says how many there may be."""
# Who is next looks often, so that no turn is left unused for long; who isn't, seldom.
_LOOK_S, _LOOK_SOON_S = 0.05, 0.005
# Shorter windows are over before a daemon is back.
_KEPT_FROM_S: Final = 60.0
# So much of a budget is written down as used before it is: one file for so many requests, not for each.
_AHEAD: Final = 100


class Turns(Protocol):
    """Who may ask a host now."""

    def turn(
        self, host: str, rates: Sequence[Rate], at_once: int | None, max_wait_s: float, context: PollContext
    ) -> AbstractContextManager[None]:
        """One request to ``host`` in the block. Raises PutOff where its turn is later than ``max_wait_s``, Stopping.

        at_once  how many there may be under way; None: whoever asks doesn't say
        """


class Hosts:
    """The turns of one process. Any thread.

    A rate is the host's: whoever asks it is counted, and waits for all rates that anybody has named for it, or has
    promised. So is how many there are at once: the least that was said holds for all, in the order in which they come.

    folder  where it is written down how often a host was asked, for the next process; None: nowhere
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def turn(
        self, host: str, rates: Sequence[Rate], at_once: int | None, max_wait_s: float, context: PollContext
    ) -> Iterator[None]:
        with self._lock:
            found = self._hosts.get(host)
            if found is None:
                found = self._hosts[host] = _Host(host, self._folder)
        found.enter(rates, at_once, max_wait_s, context)
        try:
            yield
        finally:
            found.leave()

    def close(self) -> None:
        """Write down how often each host was asked, and nothing more than that."""
        with self._lock:
            hosts = list(self._hosts.values())
        for host in hosts:
            host.close()


class _Host:
    """The turns at one host. Any thread.

    folder  as of ``Hosts``
    """

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name = name
        self._path = None if folder is None else folder / f"{quote(name, safe='')}.json"
        self._lock = threading.Lock()
        self._under_way = 0
        self._waiting: list[object] = []  # in the order in which they came
        self._at_once: int | None = None  # the least that was said
        self._named: set[Rate] = set()
        self._windows: dict[Rate, Window] = {}  # of those that were named, and for a time of those that were before
        self._written_ahead: dict[Rate, int] = {}
        self._recalled_s: float | None = None  # when what the process before wrote was read

    def enter(self, rates: Sequence[Rate], at_once: int | None, max_wait_s: float, context: PollContext) -> None:
        """Wait for the turn, and count the request. Raises PutOff, Stopping: then there is nothing to ``leave``."""
        said = promised(self._name)
        self._wait_for_place([at_once, *(one.at_once for one in said)], max_wait_s, context)
        named = [*rates, *(rate for one in said for rate in one.rates)]
        try:
            while (wait_s := self._take(named)) > 0:
                if wait_s > max_wait_s:
                    raise PutOff(f"{self._name}: its budget is used up, and has room in {wait_s:.0f} s", wait_s)
                context.wait(wait_s)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """The request is over."""
        with self._lock:
            self._under_way -= 1

    def _wait_for_place(self, at_once: Sequence[int | None], max_wait_s: float, context: PollContext) -> None:
        began_s, me = time.monotonic(), object()
        with self._lock:
            self._at_once = min([n for n in (self._at_once, *at_once) if n is not None], default=None)
            self._waiting.append(me)
        try:
            while (look_s := self._begun(me)) > 0:
                if time.monotonic() - began_s > max_wait_s:
                    many = self._at_once or AT_ONCE
                    raise PutOff(f"{self._name}: {many} requests to it have been under way for long", max_wait_s)
                context.wait(look_s)
        except BaseException:
            with self._lock:
                self._waiting.remove(me)
            raise

    def _begun(self, me: object) -> float:
        """Count one more under way; or seconds until it is worth while to look again."""
        with self._lock:
            before, free = self._waiting.index(me), (self._at_once or AT_ONCE) - self._under_way
            if before < free:
                self._waiting.remove(me)
                self._under_way += 1
                return 0.0
            return _LOOK_SOON_S if before <= (self._at_once or AT_ONCE) else _LOOK_S

    def _take(self, rates: Sequence[Rate]) -> float:
        """Count one request, now; or seconds to wait before trying again."""
        with self._lock:
            now_s = time.monotonic()
            self._recall(now_s)
            for rate in rates:
                self._named.add(rate)
                if rate not in self._windows:
                    self._windows[rate] = Window(rate)
            wait_s = max((self._windows[rate].wait_s(now_s) for rate in self._named), default=0.0)
            if wait_s > 0:
                return wait_s
            for window in self._windows.values():
                window.note(now_s)
            self._write_down()
            return 0.0

    def _recall(self, now_s: float) -> None:
        """Count what earlier processes asked, for each rate that was named there.

        One that isn't named here limits nobody; it is known for as long as anything from before matters, since who
        names it may not be due yet.
        """
        if self._path is None:
            return
        if self._recalled_s is None:
            self._recalled_s = now_s
            kept = _read(self._path)
            since_s = max(0.0, time.time() - kept.at_s)  # a clock that was put back: as if it were now
            for rate, ages in ((Rate.of(text), ages) for text, ages in kept.ages.items()):
                if rate is not None:
                    window = self._windows[rate] = Window(rate)
                    window.recall(now_s, [(age_s + since_s, count) for age_s, count in ages])
        over = [rate for rate in self._windows if rate not in self._named and now_s - self._recalled_s > rate.window_s]
        for rate in over:
            del self._windows[rate]

    def close(self) -> None:
        """Write down what was asked, and nothing ahead."""
        with self._lock:
            self._write({})

    def _write_down(self) -> None:
        """Have the next process know of this request, and of some that may follow."""
        ahead = {rate: self._written_ahead.get(rate, 0) - 1 for rate in self._named if rate.window_s >= _KEPT_FROM_S}
        if min(ahead.values(), default=0) < 0:
            ahead = {rate: rate.requests // _AHEAD for rate in ahead}
            self._write(ahead)
        self._written_ahead = ahead

    def _write(self, ahead: dict[Rate, int]) -> None:
        """What was asked, and ``ahead`` besides."""
        windows = {rate: window for rate, window in self._windows.items() if rate.window_s >= _KEPT_FROM_S}
        if self._path is None or not windows:
            return
        now_s = time.monotonic()
        ages = {str(rate): [*window.ages(now_s), (0.0, ahead.get(rate, 0))] for rate, window in windows.items()}
        try:
            make_dir(self._path.parent, flush=False)
            # Not flushed: a power cut may cost the host some requests more.
            write_atomic(self._path, msgspec.json.encode(_Kept(time.time(), ages)), flush=False)
        except OSError as error:
            log.debug("how often a host was asked can't be written down host=%s cause=%s", self._name, error)


class _Kept(msgspec.Struct, frozen=True):
    """The file: by rate, how many requests were made how many seconds before ``at_s`` (since 1970 UTC)."""

    at_s: float = 0.0
    ages: dict[str, list[tuple[float, int]]] = {}


def _read(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return _Kept()  # none, or torn by a power cut: it is as if nobody had asked


OUTSIDE: Final = Hosts()
"""For requests outside of polls: scripts, tests, a user's own threads."""
