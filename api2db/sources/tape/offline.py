"""A process that reaches no network any more, whatever asks."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_CLONE_NEWUSER: Final = 0x10000000  # https://man7.org/linux/man-pages/man2/unshare.2.html
_CLONE_NEWNET: Final = 0x40000000
_STARTS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")


class Offline:
    """From now on, for good. Made while the process has one thread.

    By the kernel, in a network of its own that leads nowhere: C code and programs it starts are held, too. Where that
    isn't allowed Python's own connections are refused, and programs aren't started. Sockets in the file system stay.

    tried  whom the poll wanted to ask, or what to start, by Python; "" for nobody
    """

    def __init__(self, *, by_kernel: bool = True) -> None:
        self.tried = ""
        self.alone = by_kernel and _leave()
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            self._refuse(str(arguments[0]))
        elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
            self._refuse(str(arguments[1][0]))  # a tuple: an address of the Internet's
        elif event in _STARTS and not self.alone:
            self._refuse(str(arguments[0]) if arguments else "another process")

    def _refuse(self, what: str) -> None:
        self.tried = self.tried or what
        raise OSError(f"{what} is not asked while a poll is rebuilt: only what Http asked is on its tape")


def _leave() -> bool:
    """Whether the kernel has given this process a network of its own."""
    if sys.platform != "linux":
        return False
    unshare = ctypes.CDLL(None).unshare
    if unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with suppress(OSError):  # else it has no name; what it may do is the same
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True
