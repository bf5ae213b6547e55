"""Records that may come again, by digest: in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from api2db.sources.incremental.values import Rank

DIGEST_BYTES: Final = 16
KEY_BYTES: Final = 12
"""Before a digest, where a record has a key."""


class Known:
    """Digests of one partition's records, with the rank of each; of one key the one added last.

    largest  of all ranks; None without any
    """

    def __init__(self, digests: Mapping[bytes, Rank] | None = None) -> None:
        self._digests: dict[bytes, Rank] = dict(digests or {})
        self._of_key: dict[bytes, bytes] = {}
        self._keep_newest(list(self._digests))
        self._after_pruning = len(self._digests)
        self.largest: Rank | None = max(self._digests.values(), default=None)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def __len__(self) -> int:
        return len(self._digests)

    def items(self) -> Iterator[tuple[bytes, Rank]]:
        yield from self._digests.items()

    def add(self, fresh: Mapping[bytes, Rank]) -> None:
        self._digests.update(fresh)
        self._keep_newest(fresh)
        if fresh:
            most = max(fresh.values())
            self.largest = most if self.largest is None else max(most, self.largest)

    def prune(self, needed: Callable[[Rank], bool], spare: int) -> None:
        """Forget those that can't come again, once they are twice as many as were left the last time, and ``spare``."""
        if len(self._digests) <= 2 * self._after_pruning + spare:
            return
        self._digests = {digest: rank for digest, rank in self._digests.items() if needed(rank)}
        self._of_key = {key: digest for key, digest in self._of_key.items() if digest in self._digests}
        self._after_pruning = len(self._digests)
        self.largest = max(self._digests.values(), default=None)

    def _keep_newest(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            if len(digest) > DIGEST_BYTES:
                before = self._of_key.get(digest[:KEY_BYTES])
                if before is not None and before != digest:
                    del self._digests[before]
                self._of_key[digest[:KEY_BYTES]] = digest
