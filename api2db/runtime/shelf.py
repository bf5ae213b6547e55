"""Every shard and file of rows in STORE, as it lies there. Takes no lock; safe beside a running daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from api2db.errors import StoreError, TornShardError, in_one_line
from api2db.layout import Layout
from api2db.quarantine import REASON
from api2db.shard import decode_header, peek
from api2db.shardlog import name_ns

PLACES = ("queue", "failed", "quarantine", "log")
_SHOWN = 200  # characters of a reason


@dataclass(frozen=True)
class Item:
    """One file. ``rows`` and ``batch_id`` are None where nobody can tell.

    stream  the stream's directory; None in the log; ``accepted``, ``held`` or ``source`` where it is none's
    reason  why it is in quarantine, or can't be read
    """

    where: str
    collector: str
    stream: str | None
    created_ns: int | None
    rows: int | None
    size: int
    batch_id: str | None
    reason: str | None
    path: Path


def items(
    layout: Layout, collector: str | None = None, stream: str | None = None, where: str | None = None
) -> Iterator[Item]:
    """What lies there, oldest first in each folder. What is delivered meanwhile is left out."""
    for place in PLACES:
        if where not in (None, place):
            continue
        for folder in _folders(layout, place):
            name = folder.name if place == "log" else folder.parent.name
            of = None if place == "log" else folder.name
            if collector not in (None, name) or (stream is not None and stream != of):
                continue
            for path in sorted(folder.iterdir(), key=lambda one: (len(one.name), one.name)):
                if path.name.startswith(".") or path.suffix not in (".parquet", ".json", ".jsonl"):
                    continue
                try:
                    yield _item(place, name, of, path)
                except FileNotFoundError:
                    continue


def _folders(layout: Layout, place: str) -> list[Path]:
    if place == "log":
        return sorted(path for path in layout.logs.glob("*") if path.is_dir())
    root = layout.root / ("upload_failed" if place == "failed" else place)
    return sorted(path for path in root.glob("*/*") if path.is_dir())


def _item(place: str, collector: str, stream: str | None, path: Path) -> Item:
    created_ns, size = name_ns(path.name), path.stat().st_size
    rows: int | None = None
    batch_id = reason = None
    try:
        if path.suffix == ".parquet" and created_ns is not None:
            header = peek(path)
            rows, batch_id = header.rows, header.batch_id
        elif path.suffix == ".parquet":
            rows, batch_id, created_ns, reason = _refused(path)
        elif path.suffix == ".jsonl":
            rows, reason = _held(path)
        else:
            about = json.loads(path.read_bytes())
            created_ns, reason = int(about["received_ns"]), str(about["reason"])
    except (TornShardError, pa.ArrowInvalid, ValueError, KeyError) as error:
        reason = f"damaged: {str(error).splitlines()[0]}"
    return Item(place, collector, stream, created_ns, rows, size, batch_id, reason and reason[:_SHOWN], path)


def _refused(path: Path) -> tuple[int, str | None, int | None, str | None]:
    with pq.ParquetFile(path) as file:
        about = file.metadata.metadata or {}
        reasons = file.read(columns=[REASON]).column(0) if REASON in file.schema_arrow.names else []
        batch_id, created = about.get(b"api2db.batch_id"), about.get(b"api2db.created_ns")
        return (
            file.metadata.num_rows,
            None if batch_id is None else batch_id.decode(),
            None if created is None else int(created),
            _first([one.as_py() for one in reasons]),
        )


def _held(path: Path) -> tuple[int, str | None]:
    reasons = [json.loads(line)["reason"] for line in path.read_text("ascii").splitlines()]
    return len(reasons), _first(reasons)


def _first(reasons: list[str]) -> str | None:
    if not reasons:
        return None
    others = len(set(reasons)) - 1
    return reasons[0] + (f" (and {others} other reasons)" if others else "")


def find(layout: Layout, name: str) -> Item:
    """The file of that path, file name, time or batch id. Raises StoreError if there is none."""
    wanted = Path(name)
    # The batch a shard and its refused rows have in common is the shard's first: it lies before them.
    for item in items(layout):
        if wanted.name in (item.path.name, item.path.stem) and (
            len(wanted.parts) == 1 or item.path.resolve() == wanted.resolve()
        ):
            return item
        if item.batch_id == name:
            return item
    raise StoreError(f"{layout.root} has no shard or file of rows named {name!r}: api2db shards ls lists them")


def contents(item: Item, rows: int) -> tuple[dict[str, object], list[object]]:
    """What a file says of itself, and its first rows. Raises StoreError if it can't be read."""
    try:
        if item.path.suffix == ".jsonl":
            return {}, [json.loads(line) for line in item.path.read_text("ascii").splitlines()[:rows]]
        if item.path.suffix == ".json":
            about = json.loads(item.path.read_bytes())
            return {"received_ns": about["received_ns"]}, [about["payload"]]
        with pq.ParquetFile(item.path) as file:
            told = (file.metadata.metadata or {}).items()
            about = {key.decode(): value.decode("utf-8", "replace") for key, value in told if key.startswith(b"api2db")}
            about["columns"] = ", ".join(f"{field.name} {field.type}" for field in file.schema_arrow)
            batch = next(file.iter_batches(max(1, rows)), None)
            return about, list(batch.slice(0, rows).to_pylist()) if batch is not None else []
    except (OSError, pa.ArrowInvalid, ValueError, KeyError) as error:
        raise StoreError(f"{item.path} can't be read: {str(error).splitlines()[0]}") from error


def faults(layout: Layout) -> tuple[int, list[tuple[Path, str]]]:
    """Check the digest of every shard in the queue, in upload_failed and in the log, and that what is in quarantine
    can be read; how many files, and what is wrong. Shards in quarantine were damaged when they came there.
    """
    seen: set[int] = set()
    checked, found = 0, []
    for place in ("queue", "failed", "log"):
        for folder in _folders(layout, place):
            collector = folder.name if place == "log" else folder.parent.name
            for path in sorted(folder.glob("[!.]*.parquet")):
                try:
                    inode = path.stat().st_ino
                    if inode in seen:
                        continue  # another name of one that is checked
                    wrong = _wrong(path, collector)
                except FileNotFoundError:
                    continue  # delivered meanwhile
                seen.add(inode)
                checked += 1
                if wrong is not None:
                    found.append((path, wrong))
    for folder in _folders(layout, "quarantine"):
        for path in sorted(folder.glob("[!.]*")):
            if path.suffix in (".parquet", ".json", ".jsonl") and name_ns(path.name) is None:
                wrong = _wrong_rows(path)
                checked += 1
                if wrong is not None:
                    found.append((path, wrong))
    return checked, found


def _wrong_rows(path: Path) -> str | None:
    """What is wrong with refused rows, held rows or a payload."""
    try:
        if path.suffix == ".parquet":
            about = pq.read_table(path).schema.metadata or {}
            of = about.get(b"api2db.batch_id", path.stem.encode()).decode()
            return None if of == path.stem else f"foreign: it holds rows of batch {of}"
        if path.suffix == ".json":
            return None if "payload" in json.loads(path.read_bytes()) else "damaged: there is no payload in it"
        rows = [json.loads(line)["row"] for line in path.read_text("ascii").splitlines()]
        return None if rows else "damaged: there are no rows in it"
    except FileNotFoundError:
        return None  # replayed meanwhile
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        return f"damaged: {in_one_line(error)}"


def _wrong(path: Path, collector: str) -> str | None:
    try:
        header = decode_header(path.read_bytes())
    except TornShardError as error:
        return f"damaged: {error}"
    if header.collector != collector:
        return f"foreign: it is of collector {header.collector}"
    if header.created_ns != name_ns(path.name):
        return f"foreign: it was named {header.created_ns}.parquet"
    return None
