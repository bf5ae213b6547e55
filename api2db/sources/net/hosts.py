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
from api2db.sources.net.rate import Rate, Window

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
_LOOK_S: Final = 0.05
# Shorter windows are over before a daemon is back.
_KEPT_FROM_S: Final = 60.0
# So much of a budget is written down as used before it is: one file for so many requests, not for each.
_AHEAD: Final = 100


class Turns(Protocol):
    """Who may ask a host now."""

    def turn(
        self, host: str, rates: Sequence[Rate], at_once: int, max_wait_s: float, context: PollContext
    ) -> AbstractContextManager[None]:
        """One request to ``host`` in the block. Raises PutOff where its turn is later than ``max_wait_s``, Stopping."""


class Hosts:
    """The turns of one process. Any thread.

    A rate is the host's: whoever asks it is counted, and waits for all rates that anybody has named for it.

    folder  where it is written down how often a host was asked, for the next process; None: nowhere
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def turn(
        self, host: str, rates: Sequence[Rate], at_once: int, max_wait_s: float, context: PollContext
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
        self._windows: dict[Rate, Window] = {}
        self._written_ahead: dict[Rate, int] = {}
        self._kept: _Kept | None = None  # what the process before wrote

    def enter(self, rates: Sequence[Rate], at_once: int, max_wait_s: float, context: PollContext) -> None:
        """Wait for the turn, and count the request. Raises PutOff, Stopping: then there is nothing to ``leave``."""
        began_s = time.monotonic()
        while not self._begun(at_once):
            if time.monotonic() - began_s > max_wait_s:
                raise PutOff(f"{self._name}: {at_once} requests to it have been under way for long", max_wait_s)
            context.wait(_LOOK_S)
        try:
            while (wait_s := self._take(rates)) > 0:
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

    def _begun(self, at_once: int) -> bool:
        """Count one more under way; False where there are too many."""
        with self._lock:
            free = self._under_way < at_once
            self._under_way += free
            return free

    def _take(self, rates: Sequence[Rate]) -> float:
        """Count one request, now; or seconds to wait before trying again."""
        with self._lock:
            now_s = time.monotonic()
            for rate in rates:
                if rate not in self._windows:
                    self._windows[rate] = self._recalled(rate, now_s)
            wait_s = max((window.wait_s(now_s) for window in self._windows.values()), default=0.0)
            if wait_s > 0:
                return wait_s
            for window in self._windows.values():
                window.note(now_s)
            self._write_down()
            return 0.0

    def _recalled(self, rate: Rate, now_s: float) -> Window:
        window = Window(rate)
        if self._path is None or rate.window_s < _KEPT_FROM_S:
            return window
        if self._kept is None:
            self._kept = _read(self._path)
        since_s = max(0.0, time.time() - self._kept.at_s)  # a clock that was put back: as if it were now
        ages = self._kept.ages.get(str(rate), [])
        window.recall(now_s, [(age_s + since_s, count) for age_s, count in ages])
        return window

    def close(self) -> None:
        """Write down what was asked, and nothing ahead."""
        with self._lock:
            self._write({rate: 0 for rate in self._windows if rate.window_s >= _KEPT_FROM_S})

    def _write_down(self) -> None:
        """Have the next process know of this request, and of some that may follow."""
        ahead = {rate: self._written_ahead.get(rate, 0) - 1 for rate in self._windows if rate.window_s >= _KEPT_FROM_S}
        if min(ahead.values(), default=0) < 0:
            ahead = {rate: rate.requests // _AHEAD for rate in ahead}
            self._write(ahead)
        self._written_ahead = ahead

    def _write(self, ahead: dict[Rate, int]) -> None:
        """What was asked, and ``ahead`` besides."""
        if self._path is None or not ahead:
            return
        now_s = time.monotonic()
        ages = {str(rate): [*self._windows[rate].ages(now_s), (0.0, more)] for rate, more in ahead.items()}
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
