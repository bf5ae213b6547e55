"""What the person running the daemon decides: read once, checked once, then only passed on.

Arguments win over the environment (``API2DB_<KEY>``), that over ``api2db.toml``, that over the defaults.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from api2db.address import is_loopback, split_address
from api2db.credentials import API_FIELDS, ENVIRONMENT_PREFIX, FIELDS
from api2db.durations import seconds
from api2db.errors import ConfigError
from api2db.nearest import nearest
from api2db.place import Place, find_place, read_place
from api2db.secret import Secret
from api2db.sizes import size_bytes
from api2db.telling import ENVIRONMENT_PREFIX as TELLING_PREFIX
from api2db.telling import Telling, read_telling

FILE_NAME = "api2db.toml"
PREFIX = "API2DB_"
# Set for tests, benchmarks and the demo's own use; never settings.
IGNORED = re.compile(r"API2DB_(FAILPOINT|TEST_\w+)")
DURABILITIES = ("fsync", "process")
MIN_TOKEN = 16
_FLAGS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the daemon is told. Paths are absolute; ``_s`` is seconds, as is ``history``, ``_bytes`` bytes."""

    project: Path
    store: Path
    collectors: Path
    auth: Path
    logs: Path
    durability: str
    history: float
    poll_threads: int
    delivery_threads: int
    target_threads: int
    stop_timeout_s: float
    poll_timeout_s: float
    max_stuck_polls: int
    max_collector_bytes: int
    max_store_bytes: int
    min_free_bytes: int
    keep: float  # seconds
    max_log_bytes: int
    max_tape_bytes: int
    console: bool
    demo: bool
    http: str
    http_token: Secret
    notify: Telling
    places: Mapping[str, Place]

    def place(self, name: str, environ: Mapping[str, str] = os.environ) -> Place:
        """Where ``name`` in ``to=[...]`` leads. Raises ConfigError naming the nearest known place."""
        return find_place(name, self.places, auth=self.auth, store=self.store, project=self.project, environ=environ)


@dataclass(frozen=True)
class Key:
    """One setting: its default as a person would write it in the file, and how a value of it is read.

    parse    turns a value of the file or an argument into the setting's, or raises ConfigError
    of_text  turns the environment's text into such a value, where that can't be text itself
    """

    default: object
    parse: Callable[[object], object]
    of_text: Callable[[str], object] = str


def load(
    project: Path,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """The settings of a project folder; ``api2db.toml`` in it is optional.

    An override is a value as the file would have it, or text as the environment would; one that is None, and
    a variable that is empty, count as not given. Relative paths are against ``project``, whatever the working
    directory. Raises ConfigError with the key, where it was set and what it takes.
    """
    project = Path(os.path.abspath(project))
    if not project.is_dir():
        raise ConfigError(f"{project} is not a folder; a project is made with: api2db init {project}")
    given = {key: (default.default, "the default") for key, default in KEYS.items()}
    table = _read_file(project / FILE_NAME)
    places = _places(table.pop("places", {}), project, environ)
    telling = read_telling(table.pop("notify", {}), environ)
    for source, values in (
        (FILE_NAME, table),
        ("the environment", _of_environment(environ)),
        ("the arguments", _of_arguments(overrides or {})),
    ):
        for key, value in values.items():
            if key not in KEYS:
                raise ConfigError(f"{source}: there is no setting {key!r}{nearest(key, [*KEYS, 'places', 'notify'])}")
            given[key] = (value, source)
    # One mapping of checked values; each parser answers the type its field declares.
    parsed: dict[str, object] = {key: _parse(key, *value) for key, value in given.items()}
    for key in ("store", "collectors", "auth", "logs"):
        parsed[key] = Path(os.path.abspath(project / str(parsed[key])))
    settings = Settings(project=project, places=places, notify=telling, **parsed)  # type: ignore[arg-type]
    _check_http(settings)
    check_keep(settings.keep, settings)
    return settings


def check_keep(keep_s: float | None, settings: Settings) -> None:
    """Whatever can be replayed is remembered by the ledgers, which know that it is in. Raises ConfigError."""
    if keep_s is not None and keep_s > settings.history:
        raise ConfigError(
            f"keep: {keep_s:.0f} s are longer than history, {settings.history:.0f} s: of batches older than history"
            " nobody can tell what a place lacks; make history longer, or keep shorter"
        )


def check_tape(tape_s: float, settings: Settings) -> None:
    """What was rebuilt of a tape is known by the journal as long as its line is there. Raises ConfigError."""
    if tape_s > settings.history:
        raise ConfigError(
            f"tape: {tape_s:.0f} s are longer than history, {settings.history:.0f} s: of what is older nobody can tell"
            " what was rebuilt already; make history longer, or tape shorter"
        )


def with_places_of_now(settings: Settings, environ: Mapping[str, str] = os.environ) -> Settings:
    """The same settings, but for places and their credentials, read anew. Raises ConfigError as ``load``."""
    table = _read_file(settings.project / FILE_NAME)
    return replace(settings, places=_places(table.get("places", {}), settings.project, environ))


def _check_http(settings: Settings) -> None:
    if settings.http and not settings.http_token and not is_loopback(split_address(settings.http)[0]):
        raise ConfigError(
            f"http: {settings.http} can be reached from other machines: set http_token too, best as the environment's"
            f" {PREFIX}HTTP_TOKEN, or take an address of this machine alone, such as 127.0.0.1:8424"
        )


def _read_file(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The message names line and column, never the text: a password may stand there.
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _of_environment(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or not text or IGNORED.fullmatch(variable):
            continue
        if variable.startswith(TELLING_PREFIX):
            continue  # read_telling knows those
        if variable.startswith(ENVIRONMENT_PREFIX):
            if not variable.endswith(tuple(f"_{field.upper()}" for field in (*FIELDS, *API_FIELDS))):
                fields = ", ".join(dict.fromkeys(field.upper() for field in (*FIELDS, *API_FIELDS)))
                raise ConfigError(f"the environment: {variable} must end in one of: {fields}")
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in KEYS:
            hint = nearest(variable, [PREFIX + name.upper() for name in KEYS])
            raise ConfigError(f"the environment: {variable} is no setting{hint}")
        values[key] = KEYS[key].of_text(text)
    return values


def _of_arguments(overrides: Mapping[str, object]) -> dict[str, object]:
    return {
        key: KEYS[key].of_text(value) if isinstance(value, str) and key in KEYS else value
        for key, value in overrides.items()
        if value is not None
    }


def _places(table: object, project: Path, environ: Mapping[str, str]) -> Mapping[str, Place]:
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        raise ConfigError(f"{FILE_NAME}: places are tables: write [places.warehouse], then its keys below")
    return {name: read_place(name, entry, project, environ) for name, entry in table.items()}


def _parse(key: str, value: object, source: str) -> object:
    try:
        return KEYS[key].parse(value)
    except ConfigError as error:
        raise ConfigError(f"{source}: {key}: {error}") from None


def _path(value: object) -> str:
    if isinstance(value, (str, Path)) and str(value) and "\0" not in str(value):
        return str(value)
    raise ConfigError(f"{value!r} is not a path")


def _durability(value: object) -> str:
    if value in DURABILITIES:
        return str(value)
    raise ConfigError(f"{value!r} is not one of: {', '.join(DURABILITIES)}")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{value!r} is not true or false")


def _flag_of_text(text: str) -> object:
    return _FLAGS.get(text.lower(), text)


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10_000:
        return value
    raise ConfigError(f"{value!r} is not a whole number from 1 to 10000")


def _count_of_text(text: str) -> object:
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else text


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{value!r} is not an address and a port, such as 127.0.0.1:8424")
    if value:
        split_address(value)
    return value


def _token(value: object) -> Secret:
    if not isinstance(value, str) or 0 < len(value) < MIN_TOKEN or not value.isascii() or not value.isprintable():
        raise ConfigError(f"must be at least {MIN_TOKEN} characters of ASCII, made at random: openssl rand -hex 24")
    return Secret(value)


def _positive_seconds(value: object) -> float:
    span_s = seconds(value)
    if span_s == 0:
        raise ConfigError("must be more than 0 seconds")
    return span_s


def _limit(value: object) -> int:
    size = size_bytes(value)
    if size == 0:
        raise ConfigError("must be more than 0 bytes")
    return size


KEYS: Mapping[str, Key] = {
    "store": Key("STORE", _path),
    "collectors": Key("collectors", _path),
    "auth": Key("AUTH", _path),
    "logs": Key("LOGS", _path),
    "durability": Key("fsync", _durability),
    "history": Key("90d", _positive_seconds),
    "poll_threads": Key(16, _count, _count_of_text),
    "delivery_threads": Key(8, _count, _count_of_text),
    "target_threads": Key(2, _count, _count_of_text),
    "stop_timeout_s": Key(20.0, _positive_seconds),
    "poll_timeout_s": Key("5m", _positive_seconds),
    "max_stuck_polls": Key(16, _count, _count_of_text),
    "max_collector_bytes": Key("10 GiB", _limit),
    "max_store_bytes": Key("50 GiB", _limit),
    "min_free_bytes": Key("256 MiB", size_bytes),
    "keep": Key("2d", seconds),
    "max_log_bytes": Key("1 GiB", size_bytes),
    "max_tape_bytes": Key("1 GiB", size_bytes),
    "console": Key(True, _flag, _flag_of_text),
    "demo": Key(False, _flag, _flag_of_text),
    "http": Key("", _address),
    "http_token": Key("", _token),
}
