"""A project of api2db 1.0.1 on disk: made, added to, taken from, cleared. Nothing that exists is overwritten.

Each file appears whole, by rename, and in an order in which a kill at any moment leaves an ``apis/__init__.py`` that
can be imported: a collector's file is there before it is listed, and goes after it is no longer.
"""

from __future__ import annotations

import fcntl
import keyword
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from api2db.errors import ConfigError
from api2db.files import write_atomic
from api2db.layout import check_name
from api2db.legacy import listing

APIS, LAB = "apis", "laboratory"
LIST, LAB_FILE, PROGRAM = f"{APIS}/__init__.py", f"{LAB}/lab.py", "main.py"
FOLDERS = (APIS, "AUTH", "CACHE", "STORE", "LOGS")
_PRIVATE = "AUTH"
_NAME = "NAME"  # in the template of a collector


def check_collector(name: str) -> str:
    """A name for folders, a table, a module and functions. Raises ConfigError."""
    check_name(name)
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
        better = "".join(c if c.isalnum() else "_" for c in name).strip("_")
        better = f"a_{better}" if not better[:1].isalpha() or keyword.iskeyword(better) else better
        raise ConfigError(f'collector name {name!r} can\'t name a module and functions of Python; try "{better}"')
    if name.endswith(listing.SUFFIX):
        raise ConfigError(f"collector name {name!r}: what ends in {listing.SUFFIX} is the name of a collector's object")
    return name


def _check_apart(name: str, others: Sequence[str]) -> None:
    """Raises ConfigError where there is that name already, or one that differs in case alone."""
    for other in others:
        if other == name:
            raise ConfigError(f"{name} is named twice")
        if other.lower() == name.lower():
            raise ConfigError(
                f"collector name {name!r}: there is {other!r}, and names that differ in case alone are one table in"
                " most databases, and one file on some disks; give it another name"
            )


class Folder:
    """The folder of such a project, or of one to be. Raises ConfigError for what can't be done, with what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, names: Sequence[str]) -> list[str]:
        """A new project; the files made, relative to its folder. What was interrupted half-way can be done again."""
        for name in names:
            check_collector(name)
        for at, name in enumerate(names):
            _check_apart(name, names[:at])
        if (self.path / PROGRAM).exists():
            raise ConfigError(f"there is a {PROGRAM} in {self.path} already; a collector is added with: cadd NAME")
        # main.py comes last: with it the project is complete.
        files = {f"{APIS}/{name}.py": _collector(name) for name in names}
        files[LIST] = listing.new(names)
        files |= {f"{_PRIVATE}/{name}": text for name, text in _templates("api2db.cli", f"project/{_PRIVATE}")}
        files |= {name: _template(name) for name in ("helpers.py", PROGRAM)}
        in_the_way = [name for name, text in files.items() if self._differs(name, text)]
        if in_the_way:
            raise ConfigError(f"nothing is overwritten, and in {self.path} there is: {', '.join(in_the_way)}")
        with self._undone_on_error() as made:
            for folder in FOLDERS:
                self._mkdir(folder, made)
            for name, text in files.items():
                self._write(name, text, made)
        return sorted(files)

    def names(self) -> list[str]:
        """The collectors that are listed, in order."""
        return listing.names(self._listing())

    def add(self, name: str) -> str | None:
        """List one more collector, and make its file; a remark if that was there."""
        check_collector(name)
        file = f"{APIS}/{name}.py"
        with self._locked():
            text = self._listing()
            if name in listing.names(text):
                raise ConfigError(f"{name} is a collector of this project already")
            _check_apart(name, listing.names(text))
            edited = listing.added(text, name)
            there = self._differs(file, _collector(name))
            if there and not listing.assigns(self._read(file), name):
                raise ConfigError(f"{file} is there, and makes no {name}{listing.SUFFIX}: rename it, or add that to it")
            with self._undone_on_error() as made:
                if not there:
                    self._write(file, _collector(name), made)
                try:
                    self._write_list(edited)
                except OSError:
                    if name in self.names():
                        made.clear()  # listed, though perhaps not flushed: what it lists stays
                    raise
        return f"{file} was there and is as it was" if there else None

    def remove(self, name: str) -> None:
        """Take a collector out of the list, then delete its file."""
        with self._locked(), self._undone_on_error():
            self._write_list(listing.removed(self._listing(), name))
            self._delete(f"{APIS}/{name}.py")

    def require(self, name: str) -> None:
        """Raises ConfigError unless the collector is listed."""
        if name not in self.names():
            raise ConfigError(f"{name} is no collector of this project; there are: {', '.join(self.names()) or 'none'}")

    def parts(self) -> list[str]:
        """What ``clear`` deletes, in that order: main.py first, so that nothing runs the rest."""
        everything = (PROGRAM, "helpers.py", LAB, *reversed(FOLDERS))
        return [name for name in everything if os.path.lexists(self.path / name)]

    def check_clearable(self) -> None:
        """Raises ConfigError where a folder of the project lies elsewhere: nothing outside of it is deleted."""
        self._listing()
        for name in (LAB, *FOLDERS):
            path = self.path / name
            if path.is_symlink() and path.is_dir():
                raise ConfigError(
                    f"{name} is a link to {os.path.realpath(path)}, and nothing outside of {self.path} is deleted:"
                    " delete what you don't need there, and the link, then clear the project"
                )

    def clear(self) -> None:
        """Delete the project, and nothing else that lies in its folder. Raises as ``check_clearable``."""
        self.check_clearable()
        for name in self.parts():
            if name == APIS:
                # The list goes last: as long as it is there, clearing can go on.
                for path in (self.path / APIS).iterdir():
                    if path.name != "__init__.py":
                        self._delete(f"{APIS}/{path.name}")
            self._delete(name)

    def make_lab(self) -> None:
        self._listing()
        if (self.path / LAB_FILE).exists():
            raise ConfigError(f"{LAB_FILE} is there already: run it with rlab, or clear it away with clab")
        with self._undone_on_error() as made:
            self._mkdir(LAB, made)
            self._write(LAB_FILE, _template("lab.py"), made)

    def require_lab(self) -> None:
        self._listing()
        if not (self.path / LAB_FILE).is_file():
            raise ConfigError(f"there is no {LAB_FILE} in {self.path}; make one with: mlab")

    def clear_lab(self) -> None:
        self._delete(LAB)

    def _listing(self) -> str:
        if not (self.path / LIST).is_file():
            raise ConfigError(f"{self.path} is no project of this kind: there is no {LIST}; make one with: pmake NAME")
        return self._read(LIST)

    def _read(self, name: str) -> str:
        try:
            with open(self.path / name, encoding="utf-8", newline="") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name} can't be read: {error}") from error

    def _differs(self, name: str, text: str) -> bool:
        """Whether something else is there under that name."""
        path = self.path / name
        return os.path.lexists(path) and (not path.is_file() or self._read(name) != text)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One command at a time edits the list."""
        self._listing()
        fd = os.open(self.path / APIS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _undone_on_error(self) -> Iterator[list[Path]]:
        """What was made is removed again, newest first, when something after it can't be."""
        made: list[Path] = []
        try:
            yield made
        except OSError as error:
            for path in reversed(made):
                with suppress(OSError):  # what went wrong first is what counts
                    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
            raise ConfigError(f"{error.filename}: {error.strerror}; mend that, and give the command again") from error

    def _mkdir(self, name: str, made: list[Path]) -> None:
        path = self.path / name
        if path.is_dir():
            return
        path.mkdir(mode=0o700 if name == _PRIVATE else 0o777)
        made.append(path)

    def _write(self, name: str, text: str, made: list[Path]) -> None:
        path = self.path / name
        if path.exists():
            return  # from before an interruption
        private = path.parent.name == _PRIVATE
        made.append(path)
        # A copy of a template keeps its mode: credentials are nobody else's from the start.
        _put(path, text, 0o600 if private else 0o666)

    def _write_list(self, text: str) -> None:
        _put(self.path / LIST, text, 0o666)

    def _delete(self, name: str) -> None:
        path = self.path / name
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{error.filename} can't be deleted: {error.strerror}") from error


def _put(path: Path, text: str, mode: int) -> None:
    try:
        write_atomic(path, text.encode(), mode=mode)
    except OSError:
        with suppress(OSError):
            path.with_name(f".{path.name}.tmp").unlink(missing_ok=True)
        raise


def _collector(name: str) -> str:
    return _template("api.py").replace(_NAME, name)


def _template(name: str) -> str:
    return resources.files("api2db.legacy").joinpath(f"project/{name}.template").read_text("utf-8")


def _templates(package: str, folder: str) -> list[tuple[str, str]]:
    entries = resources.files(package).joinpath(folder).iterdir()
    return sorted((entry.name, entry.read_text("utf-8")) for entry in entries if entry.name.endswith(".json"))
