"""What the daemon and a collector's process say to each other: pickled messages, each behind its length, on two pipes.

Pickle, since it alone keeps everything a source may yield as it is, and since both ends are the same program: what the
process unpickles comes from the daemon, what the daemon unpickles comes from the user's code, which without
``isolate`` would run in the daemon itself.
"""

from __future__ import annotations

import os
import pickle
import struct
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from api2db.sources.net.rate import Rate
from api2db.sources.tape.recorder import Order

_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True)
class Begin:
    """The first request: which collector to serve.

    file          what declares it: a module of ``collectors/``, or else a program that hands it to ``Run``
    arguments     the daemon's ``sys.argv``
    memory_bytes  the most the process may take beyond what importing the collector takes; None for no limit
    offline       it reaches no network, from before it imports the collector on: its polls are played back
    """

    collector: str
    file: Path
    is_module: bool
    arguments: list[str]
    memory_bytes: int | None
    daemon_pid: int
    offline: bool = False


@dataclass(frozen=True)
class Given:
    """What the sources of a poll are given, as in ``PollContext``."""

    collector: str
    started_ns: int
    state: dict[str, Any]
    whole: bool
    full: bool
    credentials: Path
    tokens: Path | None
    secret: Path | None
    seen: Path | None
    key: tuple[str, ...]


@dataclass(frozen=True)
class Brought:
    """What they made of it, when the poll has come to its end."""

    state: dict[str, Any]
    asked: int
    news: int


@dataclass(frozen=True)
class Poll:
    """Call the collector's function; ``since`` for the parameter that takes the cursor, ``due`` for ``due_time``.

    tape  the poll is taped
    plays the tape that answers in place of the network, and says what ``since`` was
    """

    since: object
    given: Given | None = None
    due: datetime | None = None
    tape: Order | None = None
    plays: Path | None = None


@dataclass(frozen=True)
class Next:
    """Ask its generator for the next item."""


@dataclass(frozen=True)
class Close:
    """Close its generator."""


@dataclass(frozen=True)
class Done:
    """The answer to Begin and Close; to Next: there is no further item."""

    brought: Brought | None = None


@dataclass(frozen=True)
class Value:
    """What the function returned, or an item it yielded."""

    value: object
    brought: Brought | None = None


@dataclass(frozen=True)
class Items:
    """The function returned an iterator."""


@dataclass(frozen=True)
class Raised:
    """The request failed. ``last`` if the process ends itself now.

    put_off_s  it raised PutOff: not before so many seconds from now
    stopping   it was told that the daemon stops
    """

    cause: str
    last: bool = False
    put_off_s: float | None = None
    stopping: bool = False


@dataclass(frozen=True)
class Logged:
    """A line for the daemon's logs; comes between the answers."""

    logger: str
    level: int
    text: str
    collector: str | None


@dataclass(frozen=True)
class Wait:
    """Wait so long: that isn't the item's time. Comes before the answer, and is answered itself, as ``Turn`` is."""

    seconds: float


@dataclass(frozen=True)
class Turn:
    """Wait for the turn to ask a host, as ``Turns`` says."""

    host: str
    rates: tuple[Rate, ...]
    at_once: int | None
    max_wait_s: float


@dataclass(frozen=True)
class Over:
    """The request whose turn it was is over."""


@dataclass(frozen=True)
class Granted:
    """The answer to Wait, Turn and Over."""


@dataclass(frozen=True)
class Refused:
    """The other one: the poll is to end. ``put_off_s`` seconds from now it may go on; None: the daemon stops."""

    cause: str
    put_off_s: float | None


Request = Begin | Poll | Next | Close
Answer = Done | Value | Items | Raised
Call = Wait | Turn | Over
Reply = Granted | Refused


class Writer:
    """The writing end of a pipe. Messages of several threads don't mix."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: Request | Answer | Logged | Call | Reply) -> None:
        """Raises what pickle raises, with nothing written, for what can't be pickled; OSError if nobody reads."""
        body = pickle.dumps(message, protocol=5)
        with self._lock:
            for part in (_LENGTH.pack(len(body)), body):
                rest = memoryview(part)
                while rest:
                    rest = rest[os.write(self._fd, rest) :]


def receive(pipe: BinaryIO) -> Any:
    """Wait for the next request, or reply; None when the daemon has closed its end, or is dead."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = pipe.read(length)
    return pickle.loads(body) if len(body) == length else None


class Incoming:
    """Bytes as they come out of a pipe, put together to messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Answer | Logged | Call]:
        """Add bytes; the messages that are whole now. Raises what pickle raises for bytes that are no message."""
        self._bytes += data
        messages: list[Answer | Logged | Call] = []
        while len(self._bytes) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._bytes)
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            with memoryview(self._bytes) as view, view[_LENGTH.size : end] as body:
                messages.append(pickle.loads(body))
            del self._bytes[:end]
        return messages
