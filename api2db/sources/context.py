"""What a running poll gives to the sources it calls: what was remembered, how to wait, whom else to spare."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api2db.errors import SourceError

if TYPE_CHECKING:
    from api2db.sources.net.hosts import Turns

LONGEST_PUT_OFF_S: Final = 86_400.0
"""Whoever asks for more than a day is asked again after one."""


class PutOff(SourceError):
    """Ask again not before ``until_s`` seconds from now: longer than one waits in a thread. No poll before that.

    is_answer  it is what the request under way was answered; else that wasn't sent
    """

    def __init__(self, cause: str, until_s: float, *, is_answer: bool = False) -> None:
        self.is_answer = is_answer
        self.until_s = min(max(0.0, until_s), LONGEST_PUT_OFF_S)
        super().__init__(cause)


class Stopping(SourceError):
    """The daemon stops while a source waits: the poll ends here, and what was accepted stays."""


@dataclass
class PollContext:
    """One poll, as the sources in it see it. Used by the thread that polls.

    collector    "" outside a poll
    started_ns   when it began, since 1970 UTC
    state        a JSON object, the collector's own: as it was after the last poll that ended well with all it brought
                 accepted. What is changed in it is kept once this poll ends so, and never if it doesn't. What is lost
                 of it may cost requests, never rows
    whole        each poll's rows replace those of the one before: a poll brings all of them, or none
    full         nothing is to be left out because it is unchanged
    credentials  the folder of credentials by name
    tokens       the folder where tokens are kept that were given out to us; None: they can't be kept
    hosts        whose turn it is at each host; None: this process' own
    secret       the file of the STORE's random key; None: nothing is kept that it would be needed for
    seen         the folder of records that may come again; None: they are in the cursor
    key          the collector's: columns of its table
    kept         what sources keep for as long as the poll goes on, by their own keys
    ends         called once the poll's function is through; what they raise fails the poll
    asked, news  answers that came, and those of them with something new
    """

    collector: str = ""
    started_ns: int = field(default_factory=time.time_ns)
    state: dict[str, Any] = field(default_factory=dict, repr=False)
    whole: bool = False
    full: bool = False
    credentials: Path = Path("AUTH")
    tokens: Path | None = None
    hosts: Turns | None = None
    secret: Path | None = None
    seen: Path | None = None
    key: tuple[str, ...] = ()
    kept: dict[str, object] = field(default_factory=dict, repr=False)
    ends: list[Callable[[], None]] = field(default_factory=list, repr=False)
    asked: int = 0
    news: int = 0

    @property
    def unchanged(self) -> bool:
        """Something was asked for, and all of it was as the poll before had it."""
        return self.asked > 0 and self.news == 0

    def note(self, *, news: bool) -> None:
        """One answer came, with something new or without."""
        self.asked += 1
        self.news += news

    def reached(self, where: str) -> None:
        """What is asked for now, for people who look on; the daemon's own polls tell it."""

    def wait(self, seconds: float) -> None:
        """Wait; that isn't the item's time. Raises Stopping as soon as the daemon stops."""
        threading.Event().wait(seconds)


POLL: ContextVar[PollContext | None] = ContextVar("api2db_poll", default=None)


def ending(returned: object) -> object:
    """What a poll's function returned; once it is through, sources say whether they were used as they have to be."""
    if isinstance(returned, Iterator):
        return _to_the_end(returned)
    _end()
    return returned


def _to_the_end(items: Iterator[object]) -> Iterator[object]:
    yield from items
    _end()


def _end() -> None:
    context = POLL.get()
    for end in () if context is None else context.ends:
        end()


"""The poll that is under way in this thread; None outside the daemon."""
