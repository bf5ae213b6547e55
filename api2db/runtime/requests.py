"""Commands that change a STORE whose daemon runs ask it, by a file in STORE/requests, and it answers beside it.

``<name>.json`` asks. The daemon renames it to ``<name>.taken`` before it does anything, and answers with
``<name>.answer``. So what was under way when it was killed isn't done twice: whoever asked is told to ask again.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from api2db.errors import Api2dbError, StoreError, in_one_line
from api2db.files import make_dir, write_atomic
from api2db.layout import Layout, lock_owner
from api2db.runtime.works import Answer

log = logging.getLogger(__name__)

TAKEN_WITHIN_S = 20.0
_LOOK_S = 0.05

Perform = Callable[[str, Mapping[str, Any]], Answer]


class Refused(Api2dbError):
    """The daemon's own error about a request, as it said it."""


class Desk:
    """The daemon's side. ``look`` is called by the main loop; the work is done by one thread at a time.

    perform  does a request; raises Api2dbError for what can't be done
    """

    def __init__(self, layout: Layout, perform: Perform) -> None:
        self._folder = layout.requests
        self._perform = perform
        self._worker: threading.Thread | None = None
        self._stopping = False

    def open(self) -> None:
        """Answer what the last daemon was killed over. Before the first ``look``."""
        for left in self._folder.glob("*.answer"):
            left.unlink(missing_ok=True)  # whoever asked didn't wait for it
        for taken in self._folder.glob("*.taken"):
            _answer(taken, {"error": "the daemon was killed in the midst of this: run the command again"})

    def look(self) -> None:
        """Have requests done that are there, if none is under way."""
        if self._stopping or (self._worker is not None and self._worker.is_alive()):
            return
        try:
            waiting = any(name.endswith(".json") and not name.startswith(".") for name in os.listdir(self._folder))
        except OSError:
            return  # nobody has asked yet, or STORE can't be read: whoever waits for an answer says so
        if waiting:
            self._worker = threading.Thread(target=self._work, name="requests", daemon=True)
            self._worker.start()

    def close(self, deadline: float) -> bool:
        """Take nothing more; wait until ``deadline`` (monotonic) for what is under way. Whether it ended."""
        self._stopping = True
        if self._worker is not None:
            self._worker.join(max(0.0, deadline - time.monotonic()))
            return not self._worker.is_alive()
        return True

    def _work(self) -> None:
        for path in sorted(self._folder.glob("[!.]*.json")):
            if self._stopping:
                return
            taken = path.with_suffix(".taken")
            try:
                os.rename(path, taken)
            except FileNotFoundError:
                continue  # whoever asked has thought better of it
            except OSError as error:
                log.warning("request can't be taken path=%s cause=%s", path, error.strerror)
                return
            _answer(taken, self._done(taken))

    def _done(self, taken: Path) -> dict[str, object]:
        try:
            asked = json.loads(taken.read_bytes())
            log.info("request verb=%s", asked["verb"])
            return asdict(self._perform(asked["verb"], asked["arguments"]))
        except Api2dbError as error:
            return {"error": str(error)}
        except Exception as error:
            log.exception("request failed unexpectedly")
            return {"error": in_one_line(error)}


def _answer(taken: Path, answer: Mapping[str, object]) -> None:
    try:
        write_atomic(taken.with_suffix(".answer"), json.dumps(answer).encode(), flush=False)
        taken.unlink()
    except OSError as error:
        log.warning("request can't be answered path=%s cause=%s", taken, error.strerror)


def ask(layout: Layout, verb: str, arguments: Mapping[str, object]) -> Answer:
    """Ask the daemon that runs, and wait for what it says. Raises StoreError where it doesn't, Refused for its no."""
    path = layout.requests / f"{time.time_ns()}-{secrets.token_hex(4)}.json"
    make_dir(path.parent, flush=False)
    write_atomic(path, json.dumps({"verb": verb, "arguments": arguments}).encode(), flush=False)
    answer, pause = path.with_suffix(".answer"), threading.Event()
    deadline = time.monotonic() + TAKEN_WITHIN_S
    try:
        while not answer.exists():
            if lock_owner(layout) is None and not answer.exists():
                raise StoreError("the daemon ended before it answered: run the command again")
            if time.monotonic() > deadline and path.exists():
                raise StoreError(
                    f"process {lock_owner(layout)} holds {layout.root} and doesn't answer: it is a script, or hangs;"
                    " stop it, then run the command again"
                )
            pause.wait(_LOOK_S)
        said = json.loads(answer.read_bytes())
    finally:
        path.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)
    if "error" in said:
        raise Refused(said["error"])
    return Answer(said["lines"], said["facts"], said["failed"])
