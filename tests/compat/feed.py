"""An API whose rows are served once: what a program was given is known, row by row, and can be audited."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.http_api import OK, Answer, HttpApi, Record, Request
from tests.project_kit import eventually

Body = Callable[[int, list[int]], object]
"""The JSON of an answer, made of its number and of the ids of its rows; none once the feed has ended."""

ROWS = 4


class Feed(HttpApi):
    """``GET <base>/<path>`` answers with ``ROWS`` rows nobody was given before, in the shape of that path.

    A program that is killed has lost what it had not accepted yet, so answers just before a kill may be missing,
    each whole. Scripted answers (errors, hanging ones) are not counted: nobody was given rows.
    """

    def __init__(self, **bodies: Body) -> None:
        super().__init__()
        self.base = self.url.removesuffix("/records")
        self._bodies = bodies
        self._numbers = itertools.count(1)
        self._served: dict[str, dict[int, list[int]]] = defaultdict(dict)
        self._last: dict[str, set[int]] = defaultdict(set)
        self._asked: Counter[str] = Counter()
        self._ended = False
        self._lock = threading.Lock()

    def answer_to(self, request: Request) -> tuple[Answer, list[Record]]:
        answer, _ = super().answer_to(request)
        path = request.path.strip("/")
        with self._lock:
            self._asked[path] += 1
            if answer is not OK:
                return answer, []
            number = next(self._numbers)
            ids = [] if self._ended else [number * 10 + row for row in range(ROWS)]
            if ids:
                self._served[path][number] = ids
        return replace(answer, body=json.dumps(self._bodies[path](number, ids)).encode()), []

    def killed(self, per_poll: int = 1, safe: Iterable[int] = ()) -> None:
        """The last answers of each path, as many as one poll asks for, may have been lost; not those of safe rows."""
        accepted = {key // 10 for key in safe}
        with self._lock:
            for path, served in self._served.items():
                self._last[path].update(set(list(served)[-per_poll:]) - accepted)

    def end(self) -> None:
        """From now on there are no new rows. Returns when each path was asked twice more: no older answer is open."""
        with self._lock:
            self._ended = True
            before = self._asked.copy()
        eventually(lambda: all(self._asked[path] >= before[path] + 2 for path in before), what="two more polls")

    def served(self, path: str) -> int:
        with self._lock:
            return len(self._served[path])

    def audit(self, path: str, found: Iterable[int], *, dropped: Iterable[int] = ()) -> None:
        """Each row of the path is among ``found`` once, but for whole answers lost by a kill.

        dropped  the places (0 to 3) of rows in an answer that the program leaves out on purpose
        """
        counts = Counter(found)
        assert counts, f"no row of {path} arrived"
        assert max(counts.values()) == 1, f"twice: {[key for key, times in counts.items() if times > 1][:20]}"
        out = set(dropped)
        expected = {number: {key for key in ids if key % 10 not in out} for number, ids in self._served[path].items()}
        assert not counts.keys() - set().union(*expected.values()), "rows that were never served"
        arrived = {number for number, ids in expected.items() if ids <= counts.keys()}
        partly = {number for number, ids in expected.items() if ids & counts.keys()} - arrived
        assert not partly, f"answers of which only some rows arrived: {partly}"
        lost = expected.keys() - arrived - self._last[path]
        assert not lost, f"lost, though not on their way at a kill: {lost} of {expected.keys()}"
