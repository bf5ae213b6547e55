"""What is asked through ``Http`` while a poll runs, written down with what was answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from requests import PreparedRequest

    from api2db.sources.answer import Answer


_LONGEST_TAIL: Final = 2**18


class Tape(Protocol):
    """What ``Http`` goes through where one is in ``TAPE``."""

    def send(
        self, request: PreparedRequest, secrets: tuple[str, ...], ask: Callable[[], Answer], *, stream: bool
    ) -> Answer:
        """The answer: asked for by ``ask``, or another's. Raises HttpError."""


TAPE: ContextVar[Tape | None] = ContextVar("api2db_tape", default=None)
"""Of the poll that runs in this thread."""


def is_played() -> bool:
    """Whether what is asked in this thread gets answers of before: nobody is asked, nor waited for."""
    tape = TAPE.get()
    return tape is not None and not isinstance(tape, Recorder)


def is_one_answer() -> bool:
    """Whether a test's one recorded answer is what comes, whatever is asked: nothing is known of what is behind it."""
    return getattr(TAPE.get(), "is_one_answer", False)


@contextmanager
def off_tape() -> Iterator[None]:
    """What is asked by this thread meanwhile is on no tape: what comes holds secrets."""
    token = TAPE.set(None)
    try:
        yield
    finally:
        TAPE.reset(token)


@dataclass(frozen=True)
class Order:
    """A poll that is to be taped. Can be pickled.

    since      what the function is called with: a JSON value
    most_bytes of the tape; one that would be longer isn't kept
    """

    path: Path
    collector: str
    started_ns: int
    since: object
    most_bytes: int


class Recorder:
    """Tapes one poll, of which anything may be asked by several threads. Nothing it meets fails the poll.

    failed  told why, once, where there will be no tape of this poll
    """

    def __init__(self, order: Order, failed: Callable[[str], None]) -> None:
        # Not at import: a collector's own process loads this, and may never be taped.
        from api2db.sources.tape.frames import Writer

        self.order = order
        self._failed = failed
        self._writer = Writer(order.path)
        self._lock = threading.Lock()
        self._asked = 0
        self._key = b""
        self._over = False

    def send(
        self, request: PreparedRequest, secrets: tuple[str, ...], ask: Callable[[], Answer], *, stream: bool
    ) -> Answer:
        """Ask, and write down what came: the head at once, a body that is streamed as it is read. Raises HttpError."""
        from api2db.sources.answer import HttpError
        from api2db.sources.tape import kept

        number, hidden, about = 0, list[str](), dict[str, object]()
        with self._attempt():
            hidden = kept.credentials(request, secrets)
            with self._lock:
                self._asked += 1
                number = self._asked
            about = {"n": number, **self._about(request, secrets, hidden)}
        try:
            answer = ask()
        except HttpError as error:
            with self._attempt():
                self._write({"kind": "failed", **about, "error": kept.hidden(str(error), hidden)})
            raise
        if self._over:
            return answer
        with self._attempt():
            head = {
                "kind": "answer",
                **about,
                "status": answer.status_code,
                "reason": answer.reason or "",
                "url": kept.url(str(answer.url), hidden),
                "headers": kept.headers(answer.headers, hidden),
                "encoding": answer.encoding,
            }
            self._write(head)
        if not answer._content_consumed:
            answer.taped = lambda chunks: self._streamed(number, chunks, request, hidden)
            return answer
        with self._attempt():
            self._pieces(number, kept.body(request, answer.content or b"", hidden))
        self._write({"kind": "end", "n": number})
        return answer

    def _about(self, request: PreparedRequest, secrets: tuple[str, ...], hidden: list[str]) -> dict[str, object]:
        from api2db.sources.answer import asked
        from api2db.sources.tape import kept
        from api2db.sources.tape.identity import identity

        return {
            "identity": identity(request, secrets),
            "withheld": self._withheld(request, secrets),
            "asked": kept.hidden(asked(request), hidden),
        }

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """What was sent may be of any kind: what can't be made of it fails no poll, which has no tape then."""
        try:
            yield
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            self._give_up(f"a request can't be written down: {type(error).__name__}")

    def end(self, outcome: str) -> None:
        """The poll has ended, "ok" or "failed": what still comes isn't taped. If nothing was asked there is no file."""
        with self._lock:
            asked = self._asked
        if asked:
            self._write({"kind": "ended", "outcome": outcome})
        with self._lock:
            self._over = True
            self._writer.close()

    def _withheld(self, request: PreparedRequest, secrets: tuple[str, ...]) -> str:
        from api2db.sources.tape.identity import withheld
        from api2db.sources.tape.storekey import key_path, made_key

        def key() -> bytes:
            self._key = self._key or made_key(key_path(self.order.path))
            return self._key

        try:
            return withheld(request, secrets, key)
        except OSError as error:
            self._give_up(f"its key can't be kept: {error.strerror}")
            return ""

    def _streamed(
        self, number: int, chunks: Iterable[bytes], request: PreparedRequest, hidden: list[str]
    ) -> Iterator[bytes]:
        from api2db.sources.answer import HttpError
        from api2db.sources.tape import kept
        from api2db.sources.tape.frames import PIECE_BYTES
        from api2db.spelling import most_bytes

        held: list[bytes] = []
        size = 0
        # Of a secret that the next piece ends, so much may be at the end of this one.
        tail = min(_LONGEST_TAIL, max(map(most_bytes, hidden), default=1) - 1)

        def write(*, last: bool) -> None:
            nonlocal held, size
            if self._over:
                held, size = [], 0
            if not held:
                return
            with self._attempt():
                body = kept.body(request, b"".join(held), hidden)
                end = len(body) if last else max(0, len(body) - tail)
                self._pieces(number, body[:end])
                held, size = [body[end:]] if body[end:] else [], 0

        try:
            for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size >= PIECE_BYTES:
                    write(last=False)
                yield chunk
            write(last=True)
            self._write({"kind": "end", "n": number})
        except HttpError as error:
            write(last=True)
            self._write({"kind": "broke", "n": number, "error": kept.hidden(str(error), hidden)})
            raise
        finally:
            write(last=True)  # of what was not read to its end

    def _pieces(self, number: int, body: bytes) -> None:
        from api2db.sources.tape.frames import PIECE_BYTES

        for at in range(0, len(body), PIECE_BYTES):
            self._write({"kind": "body", "n": number}, body[at : at + PIECE_BYTES])

    def _write(self, head: dict[str, object], body: bytes = b"") -> None:
        with self._lock:
            if self._over:
                return
            try:
                if not self._writer.size:
                    order = self.order
                    self._writer.write(
                        {
                            "kind": "poll",
                            "collector": order.collector,
                            "started_ns": order.started_ns,
                            "since": order.since,
                        }
                    )
                self._writer.write(head, body)
                if self._writer.size <= self.order.most_bytes:
                    return
                cause = f"one poll's is larger than {self.order.most_bytes:,} bytes (max_tape_bytes)"
            except OSError as error:
                cause = f"{error.strerror} ({self.order.path})"
            except (TypeError, ValueError) as error:
                cause = f"what it is called with is no JSON value: {error}"
        self._give_up(cause)

    def _give_up(self, cause: str) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
            try:
                self._writer.remove()
            except OSError as error:
                cause += f"; its part of a tape can't be removed: {error.strerror}"
        self._failed(cause)
