"""A group of batches on its way into a table, frozen on disk before Google hears of it.

``<newest>.job`` in the stream's queue directory says which batches, which rows of each, and which parts of them are in;
``<newest>.rows`` beside it holds the rows, as a parquet file that fits the table. The id of every job is made of the
manifest's: a job that may have been started is asked for by its id, and started again under it. Until all of a manifest
is decided nothing of it is put together in another way.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from api2db.errors import FatalError
from api2db.files import fsync_dir, write_atomic

JOB: Final = ".job"
ROWS: Final = ".rows"
_VERSION: Final = 1


class Way(Enum):
    """What a manifest's jobs do to the table."""

    APPEND = "append"
    REPLACE = "replace"
    MERGE = "merge"
    WRITE = "write"  # appended, by the Storage Write API instead of jobs


class Fate(Enum):
    """What is known of a part: nothing yet, its rows are in (maybe of the staging table), or its row can't be."""

    OPEN = "open"
    IN = "in"
    REFUSED = "refused"


@dataclass(frozen=True)
class Part:
    """Rows ``start`` to ``stop`` of a manifest: what one job loads.

    attempt  of the jobs that were to load it, how many have failed for good
    why      the target refuses it, in Google's words
    """

    start: int
    stop: int
    attempt: int = 0
    fate: Fate = Fate.OPEN
    why: str = ""


@dataclass(frozen=True)
class Member:
    """One batch of a manifest.

    rows     of it among the manifest's
    refused  row of the batch -> why it isn't among them: those are in quarantine already
    """

    batch_id: str
    created_ns: int
    rows: int
    refused: Mapping[int, str] = field(default_factory=dict)

    def row_of(self, place: int) -> int:
        """The row of the batch that is at this place among those loaded of it."""
        row = place
        for refused in sorted(self.refused):
            if refused > row:
                break
            row += 1
        return row


@dataclass(frozen=True)
class Manifest:
    """path     of the file that says what follows
    id         random: of it the ids of the jobs are made
    frozen_s   seconds since 1970
    table      ``project.dataset.table``
    columns    of the table, as the REST API has them
    merge      the statement's parts that aren't the columns: key and version as columns
    merged     how many merge jobs have failed for good; None: none is needed
    """

    path: Path
    table: str
    way: Way
    members: tuple[Member, ...]
    parts: tuple[Part, ...]
    columns: tuple[dict[str, Any], ...]
    layout: Mapping[str, Any] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    version: str | None = None
    sifted: bool = False
    last_attempt: int = 0
    write_stream: str = ""
    write_offset: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    frozen_s: float = field(default_factory=time.time)

    @property
    def rows_path(self) -> Path:
        return self.path.with_suffix(ROWS)

    @property
    def rows(self) -> int:
        return sum(member.rows for member in self.members)

    @property
    def is_staged(self) -> bool:
        """Its parts go into the staging table, and one more job brings them into the table."""
        return self.sifted or self.way is Way.MERGE

    @property
    def staging(self) -> str:
        """Beside the table."""
        return f"{self.table.rpartition('.')[0]}._api2db_{self.id}"

    def job_id(self, part: Part) -> str:
        return f"api2db_{self.id}_{part.start}_{part.stop}_{part.attempt}"

    @property
    def last_id(self) -> str:
        return f"api2db_{self.id}_last_{self.last_attempt}"

    def next_open(self) -> Part | None:
        return next((part for part in self.parts if part.fate is Fate.OPEN), None)

    @property
    def rows_in(self) -> int:
        return sum(part.stop - part.start for part in self.parts if part.fate is Fate.IN)

    @property
    def next_offset(self) -> int:
        """In its stream, of the first row of the next open part."""
        return self.write_offset + self.rows_in

    @property
    def is_untouched(self) -> bool:
        """Nothing of it is in: once no job of it is under way, its batches may be put together anew."""
        return all(part.fate is Fate.OPEN for part in self.parts)

    @property
    def refused_places(self) -> list[int]:
        """Among its rows, those that BigQuery refuses."""
        refused = (part for part in self.parts if part.fate is Fate.REFUSED)
        return [place for part in refused for place in range(part.start, part.stop)]

    def changed(self, part: Part, *by: Part) -> Manifest:
        """With others in the place of a part."""
        parts: list[Part] = []
        for each in self.parts:
            parts += by if each == part else [each]
        return replace(self, parts=tuple(parts))

    def refused(self) -> dict[str, dict[int, str]]:
        """By batch, its rows that aren't in and why: found before, or by Google."""
        found = {member.batch_id: dict(member.refused) for member in self.members}
        for part in self.parts:
            if part.fate is Fate.REFUSED:
                for place in range(part.start, part.stop):
                    member, at = self._member_at(place)
                    found[member.batch_id][member.row_of(at)] = part.why
        return found

    def loaded(self) -> dict[str, int]:
        """By batch, how many of its rows are in once every part is decided."""
        refused = self.refused()
        return {
            member.batch_id: member.rows + len(member.refused) - len(refused[member.batch_id])
            for member in self.members
        }

    def _member_at(self, place: int) -> tuple[Member, int]:
        for member in self.members:
            if place < member.rows:
                return member, place
            place -= member.rows
        raise IndexError(place)

    def save(self, *, durable: bool) -> None:
        """On disk, in place of what it was. Raises OSError."""
        about = {name: value for name, value in asdict(self).items() if name != "path"}
        about |= {"v": _VERSION, "way": self.way.value}
        about["parts"] = [part | {"fate": part["fate"].value} for part in about["parts"]]
        write_atomic(self.path, json.dumps(about).encode(), flush=durable)

    def remove(self, *, durable: bool) -> None:
        """This one first: rows that belong to no manifest mean nothing. Raises OSError."""
        self.path.unlink(missing_ok=True)
        if durable:
            fsync_dir(self.path.parent)
        self.rows_path.unlink(missing_ok=True)


def read_manifests(staging: Path) -> list[Manifest]:
    """Those in a stream's queue directory, oldest first; rows that belong to none of them are swept away.

    Raises OSError, FatalError for one that can't be read.
    """
    paths = sorted(staging.glob(f"*{JOB}"), key=lambda path: (len(path.name), path.name))
    known = {path.stem for path in paths}
    for path in staging.glob(f"*{ROWS}"):
        if path.stem not in known:
            path.unlink()
    for path in (*staging.glob(f".*{JOB}.tmp"), *staging.glob(f".*{ROWS}.tmp")):
        path.unlink()
    return [_read(path) for path in paths]


def _read(path: Path) -> Manifest:
    try:
        about = json.loads(path.read_bytes())
        if about.pop("v") != _VERSION:
            raise ValueError("another version")
        members = [
            Member(each["batch_id"], each["created_ns"], each["rows"], {int(k): v for k, v in each["refused"].items()})
            for each in about["members"]
        ]
        parts = [Part(**(each | {"fate": Fate(each["fate"])})) for each in about["parts"]]
        about |= {"way": Way(about["way"]), "members": tuple(members), "parts": tuple(parts)}
        about |= {"key": tuple(about["key"]), "columns": tuple(about["columns"])}
        return Manifest(path, **about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FatalError(
            f"{path} can't be read ({type(error).__name__}): it says which jobs may have loaded the shards beside it;"
            " look in BigQuery's job history whether they have, then remove it"
        ) from error


def halves(part: Part) -> Sequence[Part]:
    """A part that was refused as two; of one row, that row refused."""
    if part.stop - part.start == 1:
        return (replace(part, fate=Fate.REFUSED),)
    middle = (part.start + part.stop) // 2
    return Part(part.start, middle), Part(middle, part.stop)
