"""How a message leaves: a webhook that gets it, or a program that reads it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from api2db.credentials import ENVIRONMENT_PREFIX as AUTH_PREFIX
from api2db.errors import NotToldError
from api2db.secret import Secret, redact
from api2db.telling import ENVIRONMENT_PREFIX as TELLING_PREFIX
from api2db.telling import Telling

CONNECT_S, ANSWER_S = 5.0, 10.0
COMMAND_S = 30.0
KEPT_OUTPUT = 2000


class Channel(Protocol):
    """One receiver of messages."""

    @property
    def name(self) -> str: ...

    def send(self, message: Mapping[str, Any]) -> None:
        """Returns once the receiver has taken it. Raises NotToldError, with a cause that holds no secret."""


class Webhook:
    """POSTs each message as JSON. Redirects aren't followed: they would take the message elsewhere."""

    name = "webhook"

    def __init__(self, url: Secret) -> None:
        self._url = url

    def send(self, message: Mapping[str, Any]) -> None:
        import requests  # when there is something to tell

        try:
            with requests.post(
                self._url.reveal(),
                json=message,
                headers={"User-Agent": "api2db", "Idempotency-Key": str(message["id"])},
                timeout=(CONNECT_S, ANSWER_S),
                allow_redirects=False,
                stream=True,  # the answer's body is nobody's business, and may be endless
            ) as answer:
                status = answer.status_code
        except requests.RequestException as error:
            # The text of these quotes the URL, which is a secret.
            raise NotToldError(f"the webhook wasn't reached: {_cause(error)}") from None
        if not 200 <= status < 300:
            hint = "; look at its URL in [notify]" if status in (400, 401, 403, 404, 405, 410) or status < 400 else ""
            raise NotToldError(f"the webhook answered with status {status}{hint}")


class Command:
    """Runs a program for each message, without a shell, with the JSON as its standard input.

    It has 30 seconds. What it says on standard error is told if it fails, the beginning of it.
    """

    name = "command"

    def __init__(self, words: tuple[str, ...], folder: Path) -> None:
        self._words = words
        self._folder = folder

    def send(self, message: Mapping[str, Any]) -> None:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(message).encode())
            stdin.seek(0)
            try:
                process = subprocess.Popen(
                    self._words,
                    stdin=stdin,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    cwd=self._folder,
                    env=dict(_environment()),
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                cause = getattr(error, "strerror", None) or type(error).__name__
                raise NotToldError(f"the command {self._words[0]} can't be run: {cause}") from None
        assert process.stderr is not None
        with process.stderr:
            try:
                said = _read(process.stderr, time.monotonic() + COMMAND_S)
                status = process.wait(1.0)  # it has closed its standard error, so it is about to end
            except (TimeoutError, subprocess.TimeoutExpired):
                raise NotToldError(f"the command {self._words[0]} didn't end within {COMMAND_S:g} s") from None
            finally:
                _end(process)
        if status != 0:
            told = f": {redact(' '.join(said.split()))}" if said.strip() else ""
            raise NotToldError(f"the command {self._words[0]} ended with status {status}{told}")


def channels(telling: Telling, folder: Path) -> list[Channel]:
    """Those the settings ask for; ``folder`` is where a command runs."""
    found: list[Channel] = [Webhook(telling.webhook)] if telling.webhook else []
    return [*found, Command(telling.command, folder)] if telling.command else found


def _environment() -> Iterator[tuple[str, str]]:
    """The daemon's, without its secrets: a program that tells people needs none of them."""
    hidden = (AUTH_PREFIX, TELLING_PREFIX, "API2DB_HTTP_TOKEN")
    return ((key, value) for key, value in os.environ.items() if not key.startswith(hidden))


def _read(pipe: IO[bytes], deadline: float) -> str:
    """The beginning of what comes until the pipe is closed; the rest is dropped. Raises TimeoutError."""
    kept = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(pipe.fileno(), 65536)
            if not piece:
                return kept.decode(errors="replace")
            kept = (kept + piece)[:KEPT_OUTPUT]
            if time.monotonic() > deadline:
                raise TimeoutError


def _end(process: subprocess.Popen[bytes]) -> None:
    """One that hasn't ended, with whatever it started in its session."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _cause(error: BaseException) -> str:
    """What the operating system said, wherever it is in the chain; else the kind of error."""
    seen: list[BaseException] = [error]
    for each in seen:
        inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
        seen += [one for one in inner if isinstance(one, BaseException) and one not in seen]
    said = [one.strerror for one in seen if isinstance(one, OSError) and one.strerror]
    return said[-1] if said else type(error).__name__
