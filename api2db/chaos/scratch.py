"""A copy of a project to be hurt in place of it: its own STORE, and a scratch place for every place."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import URL, make_url

from api2db.cli.here import Here
from api2db.collector import Collector
from api2db.discovery import Broken
from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.runtime.store_job import StoreCollector
from api2db.settings import Settings
from api2db.sinks.base import Target
from api2db.stream.overridden import is_overridden
from api2db.stream.places import targets_of
from api2db.stream.stream import Stream
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2sql import Stream2Sql

PLAN = "chaos.json"
_PROJECT = "project"


@dataclass(frozen=True)
class Plan:
    """What the daemon under attack is told, in ``chaos.json``.

    folder      of the scratch: the copy of the project, STORE, LOGS and the places are in it
    collectors  the names of those that run
    overrides   settings of the copy, above its api2db.toml
    database    where every SQL place leads: a server's URL, with the port of the proxy; None for SQLite files
    """

    folder: Path
    collectors: tuple[str, ...]
    overrides: dict[str, str]
    database: str | None = None

    def write(self) -> None:
        path = self.folder / PLAN
        path.touch(mode=0o600)  # the URL may hold a password
        path.write_text(json.dumps({**asdict(self), "folder": str(self.folder)}))

    @staticmethod
    def read(folder: Path) -> Plan:
        plan = json.loads((folder / PLAN).read_text())
        return Plan(folder, tuple(plan["collectors"]), plan["overrides"], plan["database"])


class Scratch:
    """The copy, as the daemon in it and those who ask about it see it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.here = Here(plan.folder / _PROJECT, plan.overrides)

    @property
    def settings(self) -> Settings:
        return self.here.settings

    def collectors(self) -> list[Collector]:
        """Those that run. Imports the copies of the user's modules."""
        declared, _ = self.here.declared
        chosen = [collector for collector in declared if collector.name in self.plan.collectors]
        return [collector for collector in chosen if not isinstance(collector, StoreCollector)]

    def targets_of(self, collector: Collector) -> list[Target]:
        """The collector's streams, each led to a scratch place. Raises ConfigError for one that can't be."""
        return [self._scratch(collector, target) for target in targets_of(collector, self.settings)]

    def _scratch(self, collector: Collector, target: Target) -> Target:
        if isinstance(target, Stream) and not is_overridden(target):
            if isinstance(target, Stream2Sql):
                return self._sql(target)
            if isinstance(target, Stream2Local):
                return self._local(target)
        raise ConfigError(
            f"collector {collector.name}: a stream with code of its own can't be led to a scratch place;"
            " name the other collectors: api2db chaos NAME ..."
        )

    def _sql(self, target: Stream2Sql) -> Stream2Sql:
        assert target.name is not None
        place = _name(target.target(self.settings.project, self.settings.store).rpartition("/")[0])
        url: str | URL
        if self.plan.database is None:
            url = URL.create("sqlite", database=str(self.plan.folder / "places" / f"{place}.sqlite"))
        else:
            url = make_url(self.plan.database)
        return Stream2Sql(
            target.name,
            url=url,
            # One scratch database for all of them: places that have a table of one name must not share it.
            table=target.table if self.plan.database is None else f"{target.table}_{place}",
            if_exists=target.if_exists,
            chunk_size=target.chunk_size,
            key=target.key,
            version=target.version,
        )

    def _local(self, target: Stream2Local) -> Stream2Local:
        assert target.name is not None
        assert target.fmt is not None
        real = Path(target.target(self.settings.project, self.settings.store))
        path = self.plan.folder / "places" / _name(str(real)) / real.name
        return Stream2Local(
            target.name,
            path=str(path),
            mode=target.mode,
            fmt=target.fmt,
            drop_duplicate_keys=target.drop_duplicate_keys,
            keep=target.keep,
        )


def _name(real: str) -> str:
    """A place's name in the scratch, the same in every process."""
    return "p" + hashlib.blake2b(real.encode(), digest_size=4).hexdigest()


def make(
    project: Here, folder: Path, names: Sequence[str], *, database: str | None, changes: Mapping[str, str]
) -> Scratch:
    """Copy the project into ``folder``; of its collectors those named run, or all that aren't disabled.

    Raises ConfigError if it can't be copied, or a collector isn't there or can't be imported.

    Left out: STORE and LOGS, hidden files, environments. AUTH is not copied but used where it is: secrets stay there.
    ``changes`` are settings over the project's.
    """
    settings = project.settings
    out = {settings.store, settings.logs, settings.auth, folder}

    def ignore(inside: str, names: list[str]) -> list[str]:
        return [name for name in names if _left_out(path := Path(inside, name)) or path in out]

    try:
        shutil.copytree(project.folder, folder / _PROJECT, symlinks=True, ignore=ignore)
        for name in ("STORE", "LOGS", "places"):
            (folder / name).mkdir(exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise ConfigError(f"{project.folder} can't be copied to {folder}: {error}") from error
    modules = settings.collectors
    if modules.is_relative_to(project.folder):
        modules = folder / _PROJECT / modules.relative_to(project.folder)
    overrides = {key: str(value) for key, value in project.overrides.items()} | {
        "store": str(folder / "STORE"),
        "logs": str(folder / "LOGS"),
        "auth": str(settings.auth),
        "collectors": str(modules),
        "demo": "false",  # its replay is run by who attacks: it must outlive the daemon
        **changes,
    }
    everyone = Scratch(Plan(folder, (), overrides, database)).here.declared
    plan = Plan(folder, _chosen(names, *everyone), overrides, database)
    plan.write()
    return Scratch(plan)


def _chosen(names: Sequence[str], declared: Sequence[Collector], broken: Sequence[Broken]) -> tuple[str, ...]:
    if broken:
        raise ConfigError(f"{broken[0].path.name} can't be used: {broken[0].cause}")
    # Stores are left alone: the folder that one empties may be the user's own.
    known = [each.name for each in declared if each.seconds and not isinstance(each, StoreCollector)]
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no collector {name!r} that runs{nearest(name, known)}")
    if not known:
        raise ConfigError("no collector runs here: there is nothing to attack")
    return tuple(names or known)


def _left_out(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__pycache__" or (path / "pyvenv.cfg").exists()


def load(folder: Path) -> Scratch:
    """The scratch that the plan in ``folder`` describes. Raises ConfigError."""
    return Scratch(Plan.read(folder))
