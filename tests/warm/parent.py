"""The process that has imported what a daemon imports, and forks when it is told to. It has one thread."""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import warnings
from contextlib import suppress
from dataclasses import dataclass

# What daemons, commands and scripts of tests import sooner or later. No collector, and nothing that starts threads; not
# DuckDB, which complains at the end of what is frozen below.
MODULES = (
    "api2db.app.run",
    "api2db.audit.project",
    "api2db.cli.main",
    "api2db.demo",
    "api2db.form.inferred",
    "api2db.ingest",
    "api2db.runtime.daemon",
    "api2db.sinks.mysql",
    "api2db.sinks.postgresql",
    "api2db.store",
    "api2db.stream",
    "google.cloud.bigquery",
    "psycopg",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pymysql",
    "requests",
    "sqlalchemy.dialects.mysql",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
)
MESSAGE_BYTES = 1 << 20
ON_INTERRUPT = signal.getsignal(signal.SIGINT)  # what Python begins with, which is nothing if that is inherited
FIRST_FILTER = warnings.filters[0]  # of the warnings that Python begins with, before libraries add theirs


@dataclass(frozen=True)
class Order:
    """Whom to become. ``command`` is what follows ``python``."""

    command: list[str]
    cwd: str
    env: dict[str, str]
    new_session: bool


def serve(control_fd: int) -> Order:
    """Fork for each order that comes, and tell what became of it. Returns in a child, with its order.

    An order comes with four files: standard input, output, errors, and a socket to which the child's pid is told, then
    its status. Once that was heard (or nobody listens), the child is reaped. The process itself exits when nobody is
    left to give orders.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever gives orders
    for name in MODULES:
        importlib.import_module(name)
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"a fork would be without {len(threads) - 1} threads of this process"
    gc.collect()
    gc.freeze()  # a child's collections would copy all of it
    control = socket.socket(fileno=control_fd)
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is control:
                order = _fork(control, selector)
                if order is not None:
                    return order
            elif isinstance(key.fileobj, int):
                _tell(key.fileobj, selector, *key.data)
            elif isinstance(key.fileobj, socket.socket):
                selector.unregister(key.fileobj)
                key.fileobj.close()
                os.waitpid(key.data, 0)


def _fork(control: socket.socket, selector: selectors.BaseSelector) -> Order | None:
    """The next order, in a child that has nothing of ours but its standard streams; None in the process that forks."""
    data, fds, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 4)
    if not data:
        raise SystemExit
    told = socket.socket(fileno=fds.pop())
    pid = os.fork()
    if pid:
        for fd in fds:
            os.close(fd)
        selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
        return None
    order = Order(**json.loads(data))
    if order.new_session:
        os.setsid()
    with suppress(OSError):
        told.send(str(os.getpid()).encode())
    # One by one: an object of ours that ends later must not close a file that has its number then.
    told.close()
    for key in selector.get_map().values():
        if isinstance(key.fileobj, int):
            os.close(key.fileobj)
            key.data[1].close()
        elif isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
    selector.close()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    return order


def _tell(pidfd: int, selector: selectors.BaseSelector, pid: int, told: socket.socket) -> None:
    """A child has ended: tell its status as ``subprocess`` has it. It is reaped when the other end is closed."""
    selector.unregister(pidfd)
    os.close(pidfd)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with suppress(OSError):
        told.send(str(status).encode())
    selector.register(told, selectors.EVENT_READ, pid)
