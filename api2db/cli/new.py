"""``api2db new URL``: a collector for an endpoint, written from what a few requests find out."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlencode, urlsplit

import click

from api2db.cli.here import Here, here
from api2db.credentialname import is_credential, may_be_records
from api2db.errors import ConfigError
from api2db.secret import HIDDEN, is_number_or_date, remember, shown_url

if TYPE_CHECKING:
    from api2db.probing.endpoint import Findings, Found
    from api2db.probing.fields import Choice
    from api2db.probing.selection import Selection
    from api2db.probing.since import Since

_KEY_CHARS: Final = 8


@click.command()
@click.argument("url")
@click.option("--name", help="Of the collector, its file and its table; by default the address says it.")
@click.option("--auth", help="The name of its credentials: of AUTH/<name>.json, written before.")
@click.option("--print", "only_print", is_flag=True, help="Show the collector, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="What was found out, as JSON.")
@here
def new(project: Here, url: str, name: str | None, auth: str | None, only_print: bool, as_json: bool) -> int:
    """Write a collector for the endpoint at URL, and a test of it against the recorded answer.

    Asks the endpoint a few times, one request after the other, to find records, key, types, times, paging, limits.
    """
    from api2db.probing.endpoint import Probe
    from api2db.probing.naming import checked_name, collector_name
    from api2db.probing.recording import recording
    from api2db.probing.writing import collector_text, sureness_of, test_text
    from api2db.sources.context import POLL, PollContext
    from api2db.sources.rest import Rest

    url, credentials = _without_credentials(url)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is no address of an API: give one that begins with https:// or http://")
    name = checked_name(name or collector_name(url))
    files = _Files(project.folder, project.settings.collectors, name)
    if not only_print and not as_json:
        files.refuse_if_there()
    if credentials is not None and auth:
        raise ConfigError("the address has credentials, and --auth names others: leave one of them out")
    rest = Rest(f"{parts.scheme}://{parts.netloc}", auth=auth or credentials)

    def fetch(ask: Any) -> Any:
        return rest.fetcher.fetch(ask, conditional=False).answer

    token = POLL.set(PollContext(credentials=files.credentials.parent))
    try:
        found = Probe(fetch).findings(url)
    finally:
        POLL.reset(token)
    named = name if credentials is not None else auth
    text = collector_text(name, found, dt.datetime.now(dt.UTC).date().isoformat(), named)
    if as_json:
        sure = {what: sureness.value for what, sureness in sureness_of(found).items()}
        click.echo(json.dumps(_as_json(name, found, sure), indent=2, default=str))
        return 0
    if only_print:
        click.echo(text, nl=False)
        return 0
    recorded, records = recording(found)
    with files.all_or_none():
        if credentials is not None:
            files.write_credentials(credentials)
        files.write_collector(text)
        table = files.shaped(_hidden(recorded, credentials))
        files.write_test(test_text(name, records, {field.name: str(field.type) for field in table.schema}))
    _tell(found, files)
    return 0


class _Files:
    """What is written, and where: nothing that is there is overwritten."""

    def __init__(self, project: Path, collectors: Path, name: str) -> None:
        self.collector = collectors / f"{name}.py"
        self.test = project / "tests" / f"test_{name}.py"
        self.recorded = project / "tests" / "recorded" / f"{name}.json"
        self.credentials = project / "AUTH" / f"{name}.json"
        self.name = name
        self._written: list[Path] = []

    def refuse_if_there(self) -> None:
        for path in (self.collector, self.test, self.recorded):
            if path.exists():
                raise ConfigError(f"{path} is there already: choose another name with --name, or remove it")

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """What was written goes again if the rest can't be."""
        try:
            yield
        except BaseException:
            for path in self._written:
                path.unlink()
            raise

    def write_credentials(self, credentials: dict[str, str]) -> None:
        """Those of an address in AUTH/, nobody else's to read."""
        if self.credentials.exists():
            raise ConfigError(
                f"{self.credentials} is there already: say --auth {self.name}, and leave them out of the address"
            )
        self.credentials.parent.mkdir(mode=0o700, exist_ok=True)
        self._write(self.credentials, json.dumps(credentials, indent=2) + "\n", 0o600)

    def write_collector(self, text: str) -> None:
        self._write(self.collector, text)

    def write_test(self, text: str) -> None:
        self._write(self.test, text)

    def shaped(self, recorded: dict[str, Any]) -> Any:
        """The recorded answer through the collector as it was written."""
        from api2db.testing import poll_recorded

        self._write(self.recorded, json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
        return poll_recorded(self.collector, self.recorded)

    def _write(self, path: Path, text: str, mode: int = 0o644) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Half a character, which JSON may hold, is escaped as JSON and Python do.
            escape = "backslashreplace"
            with open(
                path, "x", encoding="utf-8", errors=escape, opener=lambda name, flags: os.open(name, flags, mode)
            ) as file:
                self._written.append(path)
                file.write(text)
        except OSError as error:
            raise ConfigError(f"{path} can't be written: {error.strerror}") from error


def _without_credentials(url: str) -> tuple[str, dict[str, str] | None]:
    """The address without user, password and parameters that look like credentials; and these, as AUTH/ has them.

    Raises ConfigError where there are several.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    found = [{"type": "key", "param": name, "key": value} for name, value in pairs if _is_key(name, value)]
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        found.append({"type": "basic", "username": user, "password": password})
    remember(*(each["key" if each["type"] == "key" else "password"] for each in found))
    if len(found) > 1:
        names = ", ".join(each.get("param", "user and password") for each in found)
        raise ConfigError(f"the address has several credentials, {names}: write AUTH/<name>.json and say --auth")
    kept = urlencode([(name, value) for name, value in pairs if not _is_key(name, value)])
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query=kept, fragment="").geturl()
    return bare, found[0] if found else None


def _is_key(name: str, value: str) -> bool:
    """Is it the API's to know who asks? ``session=2024`` may say which records are asked for."""
    says_which = may_be_records(name) and len(value) < _KEY_CHARS and is_number_or_date(value)
    return bool(value) and is_credential(name) and not says_which


def _hidden(recorded: dict[str, Any], credentials: dict[str, str] | None) -> dict[str, Any]:
    """The recording without credentials that the server repeats."""
    text = json.dumps(recorded, ensure_ascii=False)
    for name in ("key", "password"):
        value = (credentials or {}).get(name, "")
        for form in {value, quote(value, safe=""), quote_plus(value)} - {""}:
            text = text.replace(json.dumps(form, ensure_ascii=False)[1:-1], HIDDEN)
    found: dict[str, Any] = json.loads(text)
    return found


def _as_json(name: str, found: Findings, sure: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "url": shown_url(found.url),
        "format": found.body.format,
        "records": {"at": found.selection.written, "count": len(found.records), "why": found.selection.why},
        "columns": [asdict(column) for column in found.columns],
        "key": _chosen(found.key),
        "version": _chosen(found.version),
        "paging": {"by": found.paging.value and repr(found.paging.value), "why": found.paging.why},
        "since": None if found.since is None else _since(found.since),
        "validator": None if found.validator is None else {"header": found.validator.value, "why": found.validator.why},
        "rate": None if found.rate is None else {"rate": found.rate.value, "why": found.rate.why},
        "every": {"every": found.every.value, "why": found.every.why},
        "sure": sure,
        "requests": [asdict(asked) for asked in found.asked],
    }


def _since(found: Since) -> dict[str, Any]:
    told = {name: getattr(found, name) for name in ("why", "start", "format", "lag", "inclusive", "order")}
    return {"param": found.value, "column": found.column.name, **told}


def _chosen(choice: Choice | None) -> dict[str, str] | None:
    return None if choice is None else {"column": choice.column.name, "path": choice.column.path, "why": choice.why}


def _tell(found: Findings, files: _Files) -> None:
    from api2db.probing.writing import paging_text

    click.echo(f"Asked {len(found.asked)} times:")
    for asked in found.asked:
        click.echo(f"  {asked.status:>9}  {asked.bytes:>9,} bytes  {asked.request}  ({asked.purpose})")
    click.echo("\nFound:")
    if found.body.why is not None:
        click.echo(f"  {'format':<10} {found.body.format}  ({found.body.sureness.value}: {found.body.why})")
    told: list[tuple[str, str, Selection | Choice | Since | Found]] = [
        ("records", f"{len(found.records):,} at {found.selection.written}", found.selection)
    ]
    told += [("key", found.key.column.name, found.key)] if found.key else []
    told += [("version", found.version.column.name, found.version)] if found.version else []
    told.append(("paging", paging_text(found.paging.value), found.paging))
    told += [
        (what, str(each.value), each)
        for what, each in (("since", found.since), ("validator", found.validator))
        if each is not None and each.value is not None
    ]
    told += [("rate", found.rate.value, found.rate)] if found.rate else []
    told += [("every", found.every.value, found.every)]
    for what, value, each in told:
        click.echo(f"  {what:<10} {value}  ({each.sureness.value}: {each.why})")
    click.echo(f"\nWritten: {files.collector}, {files.test}, {files.recorded}.")
    click.echo("Read the collector, and correct what you know better. Then:")
    click.echo(f"  api2db try {files.name}      one poll, nothing stored")
    click.echo(f"  python -m pytest {os.path.relpath(files.test)}")
