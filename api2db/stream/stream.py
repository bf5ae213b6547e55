"""What all streams have in common."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pandas as pd

from api2db.sinks.base import Placement, Sink
from api2db.stream.file_converter import FileConverter


class Stream(FileConverter):
    """One collector's delivery to one place; subclassed for each kind of place.

    A daemon asks it for ``target`` and ``sink`` and does the rest.

    name         the collector's name
    path         where files go; what it means is the subclass's
    dtypes       column -> pandas dtype, or None
    fmt          format of files
    chunk_size   rows sent to the place at a time; 0 leaves it to the stream
    stream_type  names the stream's folders in STORE
    store        True when a store uses the stream
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        dtypes: dict[str, object] | None = None,
        fmt: str | None = None,
        chunk_size: int = 0,
        stream_type: str = "stream",
        store: bool = False,
    ) -> None:
        super().__init__(name, dtypes, path, fmt)
        self.chunk_size = chunk_size
        self.stream_type = stream_type
        self.is_store_instance = store
        self.lock = threading.Lock()
        self.q: queue.Queue[pd.DataFrame] = queue.Queue()

    def target(self, project: Path, store: Path) -> str:
        """The place's identity, without credentials."""
        raise AttributeError(f"{type(self).__name__} has no place of its own: use a subclass such as Stream2Sql")

    def sink(self, placement: Placement) -> Sink:
        """The sink that loads this stream's batches."""
        raise AttributeError(f"{type(self).__name__} can't load: use a subclass such as Stream2Sql")

    def stream(self, data: pd.DataFrame) -> None:
        """A plain Stream has no place to send data to."""
        raise AttributeError(
            f"{type(self).__name__} {self.name}: a stream's data comes from its collector, in the daemon"
        )
