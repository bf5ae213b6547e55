"""A folder whose files are composed: which they are, its lock, and how they go once their rows are safe.

While a folder is composed its lock is held, so that two never take the same files. What happens then has one moment
at which it is decided, whatever kills the process: before it all files are where they were, after it the next compose
of the folder finishes what is left to do.

moving      ``.compose.json``, the plan, appears in the folder by a rename: which files it is about, where they go, and
            where the composed file is, already on disk under a temporary name. Then that gets its name, the files go
            their way, and the plan is removed. Before, while that file is written, the plan says only where.
deleting    the files are moved to ``.composing/`` in the folder, from where they come back if that isn't finished; then
            it is renamed to ``.composed/``, and removed.
"""

from __future__ import annotations

import errno
import fcntl
import filecmp
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from api2db.errors import ConfigError, StoreError
from api2db.failpoint import reach
from api2db.files import fsync_dir, make_dir, write_atomic

log = logging.getLogger(__name__)

PLAN: Final = ".compose.json"
TAKEN: Final = ".composing"
DONE: Final = ".composed"
# Of the 255 that file systems take; a number may come behind a name.
_NAME_BYTES: Final = 245


@dataclass(frozen=True)
class Shard:
    """A file as it was when it was read: one that has changed since isn't the one that was composed."""

    name: str
    size: int
    mtime_ns: int

    def is_at(self, path: Path | str, dir_fd: int | None = None) -> bool:
        try:
            found = os.stat(path, dir_fd=dir_fd)
        except FileNotFoundError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder is this caller's alone inside; ``finish`` what an earlier, killed compose left to do first.

    Raises OSError, and StoreError while another compose is at work in it.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{folder} is being composed already: wait for that to end") from error
        yield
    finally:
        os.close(fd)


def settle(
    folder: Path,
    shards: Sequence[Shard],
    shards_to: Path | None = None,
    composed_to: Path | None = None,
    *,
    name: str = "",
    write: Callable[[Path], None] = lambda path: None,
    done: Callable[[Path], None] | None = None,
) -> None:
    """Move the files to ``shards_to``, or delete them; before that ``write`` the composed file into ``composed_to``.

    write  puts the whole file at a path, flushed
    done   what finishes the plan; ``finish`` by default

    Returns once that is decided, which a later compose finishes if this one couldn't. Raises OSError, or what
    ``write`` raises, with all files where they were. Existing files are never replaced: ``a_b.csv`` becomes
    ``a_b~2.csv`` where that name is taken.
    """
    if shards_to is None and composed_to is None:
        _delete(folder, shards)
        return
    if shards_to is not None and is_same(shards_to, folder):
        raise ConfigError(f"{shards_to} is the folder that is composed: its files would be composed again")
    plan: dict[str, Any] = {
        "shards": [[shard.name, shard.size, shard.mtime_ns] for shard in shards],
        "shards_to": None if shards_to is None else os.path.abspath(shards_to),
        "ready": None,
        "composed": None,
    }
    if composed_to is not None:
        # A name of its own: another machine may compose a folder of the same path into the same place.
        ready = composed_to / f".compose-{secrets.token_hex(8)}.ready"
        try:
            # First of all where it will be: killed from here on, the next compose removes it.
            write_atomic(folder / PLAN, json.dumps({"writing": os.path.abspath(ready)}).encode())
            write(ready)
            fsync_dir(composed_to)
        except Exception:
            with suppress(OSError):
                finish(folder)
            raise
        plan["size"] = ready.stat().st_size
        plan["ready"] = os.path.abspath(ready)
        plan["composed"] = os.path.abspath(_free(composed_to / name))
    write_atomic(folder / PLAN, json.dumps(plan).encode())
    reach("composing.planned")
    try:
        (done or finish)(folder)
    except OSError as error:
        log.error("compose not finished folder=%s cause=%s; the next compose goes on with it", folder, error)


def remove(folder: Path, shards: Iterable[Shard]) -> None:
    """Delete the files that are still what they were, one by one: for who knows, killed amidst it, that all may go.

    Raises OSError.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for shard in shards:
            # By the folder's descriptor, without a Path: there may be ten thousands.
            if shard.is_at(shard.name, dir_fd=fd) or _still(folder, shard):
                os.unlink(shard.name, dir_fd=fd)
                reach("composing.removed")
    finally:
        os.close(fd)
    fsync_dir(folder)


def name_of(shards: Sequence[Shard], suffix: str) -> str:
    """What the file composed of these is called: ``<first>_<last><suffix>``

    Where no file can have so long a name: the beginning of each of the two, and a digest of both.
    """
    first, last = (Path(shards[at].name).stem for at in (0, -1))
    name = f"{first}_{last}"
    if len(os.fsencode(name + suffix)) > _NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
        room = (_NAME_BYTES - len(f"__{digest}{suffix}")) // 2
        begun = (os.fsencode(each)[:room].decode(errors="ignore") for each in (first, last))
        name = "_".join([*begun, digest])
    return f"{name}{suffix}"


def finish(folder: Path) -> None:
    """Do what a plan says and give back what wasn't decided about. The folder's lock is held."""
    _restore(folder)
    if (folder / DONE).exists():
        shutil.rmtree(folder / DONE)
    try:
        plan = json.loads((folder / PLAN).read_bytes())
    except FileNotFoundError:
        return
    if "writing" in plan:  # nothing was decided yet
        Path(plan["writing"]).unlink(missing_ok=True)
        (folder / PLAN).unlink()
        return
    if plan["ready"] is not None:
        ready, composed = Path(plan["ready"]), Path(plan["composed"])
        if ready.exists():
            os.rename(ready, _free(composed))
        elif not _is_there(composed, plan["size"]):
            raise StoreError(
                f"the file composed of {folder} is neither at {ready} nor at {composed}: is its disk mounted? The files"
                f" it was made of stay. If you have taken it away yourself, remove {folder / PLAN} and those files"
            )
        fsync_dir(composed.parent)
        # From here on it may be taken away by whoever reads it.
        plan["ready"] = None
        write_atomic(folder / PLAN, json.dumps(plan).encode())
    shards = [Shard(*each) for each in plan["shards"]]
    if plan["shards_to"] is None:
        for shard in shards:
            if _still(folder, shard):
                (folder / shard.name).unlink()
    else:
        target = Path(plan["shards_to"])
        make_dir(target)
        for shard in shards:
            if _still(folder, shard):
                move(folder / shard.name, target)
        fsync_dir(target)
    fsync_dir(folder)
    (folder / PLAN).unlink()
    fsync_dir(folder)


def files_in(folder: Path, suffix: str) -> list[Path]:
    found = [path for path in folder.iterdir() if path.suffix == suffix and not path.name.startswith(".")]
    return sorted((path for path in found if path.is_file()), key=order)


def order(path: Path) -> tuple[bool, int, str]:
    """Names that are numbers by number, before all others by name."""
    number = path.stem.isascii() and path.stem.isdigit()
    return (not number, int(path.stem) if number else 0, path.name)


def _delete(folder: Path, shards: Sequence[Shard]) -> None:
    taken = folder / TAKEN
    taken.mkdir()
    try:
        for shard in shards:
            if _still(folder, shard):
                os.rename(folder / shard.name, taken / shard.name)
        os.rename(taken, folder / DONE)
    except OSError:
        _restore(folder)
        raise
    fsync_dir(folder)
    try:
        shutil.rmtree(folder / DONE)
    except OSError as error:
        log.error("composed files not removed folder=%s cause=%s; the next compose tries again", folder / DONE, error)


def _restore(folder: Path) -> None:
    taken = folder / TAKEN
    if taken.exists():
        for path in sorted(taken.iterdir()):
            os.rename(path, _free(folder / path.name))
        taken.rmdir()


def _still(folder: Path, shard: Shard) -> bool:
    if shard.is_at(folder / shard.name):
        return True
    if (folder / shard.name).exists():
        log.warning("file changed since it was composed, left where it is file=%s", folder / shard.name)
    return False


def move(path: Path, folder: Path) -> None:
    try:
        os.rename(path, _free(folder / path.name))
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # Another file system. A copy of an earlier attempt, killed before it removed the original, is the same file.
        target = folder / path.name
        if not (target.exists() and filecmp.cmp(path, target, shallow=False)):
            write_atomic(_free(target), path.read_bytes())
        fsync_dir(folder)
        path.unlink()


def _names(path: Path) -> Iterator[Path]:
    """``a.csv``, ``a~2.csv``, ``a~3.csv``, …"""
    yield path
    yield from (path.with_name(f"{path.stem}~{number}{path.suffix}") for number in count(2))


def _free(path: Path) -> Path:
    return next(each for each in _names(path) if not each.exists())


def _is_there(composed: Path, size: int) -> bool:
    """Whether the composed file has one of its names."""
    for name in _names(composed):
        if not name.exists():
            return False
        if name.stat().st_size == size:
            return True
    return False


def is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)
