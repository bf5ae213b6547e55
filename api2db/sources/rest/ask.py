"""One request as it is asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """One request as it is asked, before auth: what retries, tapes and validators know it by.

    url      absolute; a query it has stays as it is, before ``params``
    params   in the order they are sent; a name may come more than once
    body     with its Content-Type in ``headers``
    """

    method: str
    url: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def identity(self) -> str:
        """Hex digest of method, address, parameters and body, but not of headers: these may hold credentials."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.method, self.url, *(text for pair in self.params for text in pair)):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data) + data)
        digest.update(b"-" if self.body is None else b"=" + self.body)
        return digest.hexdigest()
