"""A place: where a name in ``to=[...]`` leads."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from api2db.credentials import FIELDS, Auth, check_complete, load_auth, override, read_fields
from api2db.durations import seconds
from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.secret import redact_url, remember, remember_named

DATABASE = "database"
FILES = "files"
DATABASE_FILE = "database.sqlite"

# The documented dialects, and the driver that each is loaded through.
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "duckdb": "duckdb",
    "amazon_aurora_mysql": "mysql+pymysql",
    "amazon_aurora_postgresql": "postgresql+psycopg",
    "oracle": "oracle+oracledb",
    "microsoft_sql": "mssql+pymssql",
}
# Their databases are files, named against the project's folder.
FILE_DIALECTS = ("sqlite", "duckdb")
TYPES = ("sql", "local", "bigquery")
FORMATS = ("parquet", "json", "pickle", "csv", "feather", "orc")
MODES = ("shard", "update", "replace")
_LOCAL_KEYS = ("path", "fmt", "mode")
_BIGQUERY_TEXTS = (
    *("auth_path", "pid", "did", "tid", "location", "if_exists", "batch_column"),
    *("partition_by", "partition_type", "nested", "api_endpoint", "storage_endpoint"),
)
_BIGQUERY_KEYS = (*_BIGQUERY_TEXTS, "cluster_by", "load_every", "fresh")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A database or a folder of files, ready to be made a stream.

    kind    "sql", "local" or "bigquery"
    url     of an SQL database; None for files
    table   of an SQL database; None is the collector's name
    batch_column  of an SQL database: the column added to each row, with its batch's id
    options  of BigQuery: what Stream2Bigquery takes by keyword, its auth_path absolute
    path    of files, absolute: a folder, or with mode "update" or "replace" a file; None is Stream2Local's own
    """

    name: str
    kind: Literal["sql", "local", "bigquery"]
    url: URL | None = None
    table: str | None = None
    path: Path | None = None
    fmt: str = "parquet"
    mode: str = "shard"
    batch_column: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        where = redact_url(self.url) if self.url is not None else self.path or self.options.get("did")
        return f"Place({self.name!r}, {self.kind}, {where}, table={self.table!r}, {self.fmt}, {self.mode})"


def read_place(name: str, table: Mapping[str, object], project: Path, environ: Mapping[str, str] = os.environ) -> Place:
    """The place of one ``[places.<name>]`` table. Relative paths are against ``project``.

    Raises ConfigError naming the place and the key, never a password.
    """
    where = f"[places.{name}]"
    kind = table.get("type", "sql")
    if kind not in TYPES:
        raise ConfigError(f"{where}: type must be one of: {', '.join(TYPES)}")
    keys = {"local": _LOCAL_KEYS, "bigquery": _BIGQUERY_KEYS}
    own = ("type", *keys.get(str(kind), ("table", "auth_path", "batch_column", *FIELDS)))
    for key in table:
        if key not in own:
            raise ConfigError(f"{where}: there is no key {key!r} for type {kind!r}{nearest(key, own)}")
    if kind == "local":
        return _files(name, table, project, where)
    if kind == "bigquery":
        return _bigquery(name, table, project, where)
    own_fields = read_fields({key: value for key, value in table.items() if key in FIELDS}, where)
    auth_path = _text(table, "auth_path", where)
    if auth_path is None:
        auth = override(name, own_fields, environ)
    else:
        in_file = load_auth(project / auth_path, environ)
        auth = override(name, _over(own_fields, in_file), environ)
    found = _database(name, auth, project, where, _text(table, "table", where))
    return replace(found, batch_column=_text(table, "batch_column", where))


def find_place(
    name: str,
    places: Mapping[str, Place],
    *,
    auth: Path,
    store: Path,
    project: Path,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """The place a name of ``to=[...]`` means: ``[places]``, ``AUTH/<name>.json``, then the built-in ones.

    Raises ConfigError naming the nearest known place.
    """
    if name in places:
        return places[name]
    known = {path.stem for path in auth.glob("*.json") if not path.stem.endswith("_template")}
    if name in known:
        path = auth / f"{name}.json"
        return _database(name, load_auth(path, environ), project, str(path), None)
    from_environment = override(name, Auth(), environ)
    if from_environment != Auth():
        check_complete(from_environment, f"the environment's credentials {name!r}")
        return _database(name, from_environment, project, f"the environment's credentials {name!r}", None)
    if name == DATABASE:
        return Place(name=name, kind="sql", url=URL.create("sqlite", database=str(store / DATABASE_FILE)))
    if name == FILES:
        return Place(name=name, kind="local")
    raise ConfigError(f"there is no place {name!r}{nearest(name, {*places, *known, DATABASE, FILES})}")


def _files(name: str, table: Mapping[str, object], project: Path, where: str) -> Place:
    path = _text(table, "path", where)
    fmt = _choice(table, "fmt", FORMATS, where)
    mode = _choice(table, "mode", MODES, where)
    return Place(name=name, kind="local", path=_absolute(project, path) if path else None, fmt=fmt, mode=mode)


def _bigquery(name: str, table: Mapping[str, object], project: Path, where: str) -> Place:
    options: dict[str, object] = {key: _text(table, key, where) for key in _BIGQUERY_TEXTS if key in table}
    if options.get("did") is None:
        raise ConfigError(f"{where}: did missing or empty: the dataset")
    auth_path = _text(table, "auth_path", where)
    if auth_path is not None:
        options["auth_path"] = str(_absolute(project, auth_path))
    elif options.get("pid") is None:
        raise ConfigError(
            f"{where}: pid missing or empty: the project, or auth_path, a service account's file that has it"
        )
    clusters = table.get("cluster_by", [])
    clusters = [clusters] if isinstance(clusters, str) else clusters
    if not isinstance(clusters, list) or not all(isinstance(each, str) and each for each in clusters):
        raise ConfigError(f"{where}: cluster_by must be a list of columns")
    options["cluster_by"] = tuple(clusters)
    if "fresh" in table:
        if not isinstance(table["fresh"], bool):
            raise ConfigError(f"{where}: fresh must be true or false")
        options["fresh"] = table["fresh"]
    if "load_every" in table:
        try:
            options["load_every"] = seconds(table["load_every"])
        except ConfigError as error:
            raise ConfigError(f"{where}: load_every: {error}") from None
    return Place(name=name, kind="bigquery", options=options)


def _database(name: str, auth: Auth, project: Path, where: str, table: str | None) -> Place:
    check_complete(auth, where)
    url = _url_of_text(auth, where) if auth.url is not None else _url_of_fields(auth, where)
    dialect = url.get_backend_name()
    if dialect in FILE_DIALECTS:
        if not url.database or url.database == ":memory:":
            kind = {"sqlite": "SQLite", "duckdb": "DuckDB"}[dialect]
            raise ConfigError(f"{where}: a {kind} database needs a file: what is in memory ends with the daemon")
        if not url.database.startswith("file:"):
            url = url.set(database=str(_absolute(project, url.database)))
    return Place(name=name, kind="sql", url=url, table=table)


def parse_url(text: str, where: str) -> URL:
    """An SQLAlchemy URL. Raises ConfigError, which quotes nothing of it: it may hold a password."""
    try:
        # The URLs that hosting companies hand out say "postgres", which SQLAlchemy refuses.
        url = make_url(re.sub(r"^postgres(?=[:+])", "postgresql", text))
    except (ArgumentError, ValueError):
        # Not chained: the parser's message quotes the URL.
        raise ConfigError(
            f"{where}: url is not an SQLAlchemy URL (dialect://user:password@host/db);"
            " of a password's characters @ : / ? # % are written %40 %3A %2F %3F %23 %25"
        ) from None
    remember(str(url.password or ""))
    remember_named(url.query)
    if "@" in (url.host or ""):
        raise ConfigError(f"{where}: the url has an @ too many: in user and password it is written %40")
    return url


def _url_of_text(auth: Auth, where: str) -> URL:
    """The URL as written; fields given beside it (an environment's password, say) replace those parts."""
    assert auth.url is not None
    url = parse_url(auth.url.reveal(), where)
    if auth.dialect not in (None, url.get_backend_name()):
        raise ConfigError(f"{where}: url is of dialect {url.get_backend_name()!r}, not {auth.dialect!r}")
    password = auth.password.reveal() if auth.password is not None else None
    return url.set(username=auth.username, password=password, host=auth.host, port=auth.port, database=auth.db_name)


def _url_of_fields(auth: Auth, where: str) -> URL:
    if auth.dialect not in DRIVERS:
        raise ConfigError(f"{where}: dialect must be one of: {', '.join(DRIVERS)}; for others give a url")
    if not auth.db_name:
        raise ConfigError(f"{where}: db_name missing or empty")
    password = auth.password.reveal() if auth.password is not None else None
    return url_of_parts(auth.dialect, auth.db_name, auth.username, password, auth.host, auth.port)


def url_of_parts(
    dialect: str, db_name: str, username: str | None, password: str | None, host: str | None, port: int | None
) -> URL:
    """The URL of a database of one of the ``DRIVERS``' dialects; of Oracle ``db_name`` is the service's name."""
    if dialect in FILE_DIALECTS:
        return URL.create(dialect, database=db_name)
    service = dialect == "oracle"
    return URL.create(
        DRIVERS[dialect],
        username=username,
        password=password,
        host=host,
        port=port,
        database=None if service else db_name,
        query={"service_name": db_name} if service else {},
    )


def _over(upper: Auth, lower: Auth) -> Auth:
    """``upper``'s fields where it has them, else ``lower``'s."""
    chosen = {field: getattr(upper, field) for field in FIELDS}
    return Auth(**{field: getattr(lower, field) if value is None else value for field, value in chosen.items()})


def _absolute(project: Path, path: str) -> Path:
    return Path(os.path.abspath(project / path))


def _choice(table: Mapping[str, object], key: str, choices: tuple[str, ...], where: str) -> str:
    value = table.get(key, choices[0])
    if value in choices:
        return str(value)
    raise ConfigError(f"{where}: {key} must be one of: {', '.join(choices)}")


def _text(table: Mapping[str, object], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    raise ConfigError(f"{where}: {key} must be text")
