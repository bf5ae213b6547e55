"""The server of the pages: waitress, small, in threads of its own."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api2db.address import split_address
from api2db.runtime.sparing import Sparing
from api2db.runtime.status import Status
from api2db.runtime.vitals import Vitals
from api2db.settings import Settings

log = logging.getLogger(__name__)

THREADS = 4  # one reads and writes sockets beside them, so a client that dawdles holds none
STOP_S = 2.0


@contextmanager
def serving(settings: Settings, vitals: Vitals, status: Sparing[Status]) -> Iterator[None]:
    """The pages at the setting ``http``, while inside. Where it can't listen it says so, and the daemon goes on."""
    listening = _listen(settings.http) if settings.http else None
    if listening is None:
        yield
        return
    with listening:
        # When first needed: most daemons serve nothing.
        from waitress import create_server

        from api2db.web.site import Site

        # It warns of each request that waits for a thread.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        sockets: dict[int, Any] = {}
        server = create_server(
            Site(settings, vitals, status),
            map=sockets,
            sockets=[listening],
            threads=THREADS,
            connection_limit=100,
            channel_timeout=20,
            cleanup_interval=5,
            max_request_header_size=8192,
            max_request_body_size=1,
            inbuf_overflow=8192,
            asyncore_loop_timeout=5,
            asyncore_use_poll=True,
            ident="api2db",
        )
        host, port = listening.getsockname()[:2]
        thread = threading.Thread(target=server.run, name="http", daemon=True)
        thread.start()
        log.info("answering over HTTP address=http://%s:%d", f"[{host}]" if ":" in host else host, port)
        try:
            yield
        finally:
            # In the server's own thread: no other may close what it waits on.
            server.trigger.pull_trigger(lambda: _close(sockets))
            thread.join(STOP_S)
            server.task_dispatcher.shutdown(timeout=STOP_S)


def _close(sockets: dict[int, Any]) -> None:
    """Close all of them; the server's loop ends when none is left."""
    for each in list(sockets.values()):
        each.close()


def _listen(address: str) -> socket.socket | None:
    host, port = split_address(address)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        log.warning(
            "can't answer over HTTP, the daemon runs without: no health checks, no metrics address=%s cause=%s;"
            " free the address or change the setting http, then restart",
            address, error.strerror,
        )  # fmt: skip
        return None
    return listening
