"""An API that changes while it is read, and a reader that is killed: both without HTTP, on a clock of their own."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from api2db.errors import SourceError
from api2db.sources.incremental.incremental import Incremental
from api2db.sources.incremental.progress import Progress

EPOCH_S = 1_767_225_600  # 2026-01-01
START = "2026-01-01"


@dataclass
class Row:
    """One record: its cursor's value, when it can be seen, and which version of it this is."""

    id: int
    at_s: int
    seen_from_s: int
    version: int = 0

    def shown(self, unit: str) -> dict[str, Any]:
        moment = dt.datetime.fromtimestamp(EPOCH_S + self.at_s, dt.UTC)
        value: object = moment.isoformat() if unit == "iso" else (EPOCH_S + self.at_s) * (1000 if unit == "ms" else 1)
        return {"id": self.id, "version": self.version, "meta": {"at": value}}

    @property
    def name(self) -> tuple[int, int]:
        return self.id, self.version


class Api:
    """Pages of its rows.

    by   a step is where the last row is ("token"), a number of rows ("offset"), or the number of a page, where the
         empty one is the end ("number")
    """

    def __init__(self, *, order: str | None, inclusive: bool, unit: str, size: int, by: str) -> None:
        self.now_s = 0
        self.rows: dict[int, Row] = {}
        self.versions: set[tuple[int, int]] = set()
        self._order, self._inclusive, self._unit, self._size, self._by = order, inclusive, unit, size, by

    def add(self, late_s: int) -> None:
        row = Row(len(self.rows), self.now_s, self.now_s + late_s)
        self.rows[row.id] = row
        self.versions.add(row.name)

    def update(self, id: int) -> None:
        """A row that is there gets another content, and another time of change."""
        old = self.rows[id]
        if old.seen_from_s <= self.now_s:
            self.rows[id] = Row(id, self.now_s, self.now_s, old.version + 1)
            self.versions.add(self.rows[id].name)

    def page(self, params: dict[str, str], step: Any) -> tuple[list[dict[str, Any]], Any]:
        """Records, and the step of the page behind them; None where there is none."""
        rows = [row for row in self.rows.values() if row.seen_from_s <= self.now_s and self._asked(row, params)]
        sign = -1 if self._order == "newest_first" else 1
        rows.sort(key=lambda row: (sign * row.at_s if self._order else 0, row.id))
        if step is not None and self._by == "token":
            rows = [row for row in rows if (sign * row.at_s if self._order else 0, row.id) > tuple(step)]
        elif step is not None:
            rows = rows[step * (self._size if self._by == "number" else 1) :]
        page, rest = rows[: self._size], rows[self._size :]
        if self._by == "number":
            return [row.shown(self._unit) for row in page], (step or 0) + 1 if page else None
        behind: Any = None
        if rest:
            last = page[-1]
            token = [sign * last.at_s if self._order else 0, last.id]
            behind = token if self._by == "token" else (step or 0) + self._size
        return [row.shown(self._unit) for row in page], behind

    def is_open(self, page: list[dict[str, Any]]) -> bool:
        """Rows that are added may come on this page, too."""
        return self._by == "number" and 0 < len(page) < self._size

    def _asked(self, row: Row, params: dict[str, str]) -> bool:
        at_s = EPOCH_S + row.at_s
        since, until = (self._read(params.get(name)) for name in ("since", "until"))
        if since is not None and (at_s < since or (not self._inclusive and at_s == since)):
            return False
        return until is None or at_s <= until

    @staticmethod
    def _read(text: str | None) -> float | None:
        if text is None:
            return None
        return float(text) if text.isdigit() else dt.datetime.fromisoformat(text).timestamp()


class Reader:
    """Polls it as the daemon does, and is killed at any page: what is accepted stays, what isn't is gone.

    forgets  the API may not know any more where a killed poll was
    ahead_s  so far the reader's clock is ahead of the API's: what comes while it reads counts as reached
    """

    def __init__(
        self,
        api: Api,
        how: Incremental,
        folder: Path | None,
        chance: Random,
        *,
        forgets: bool = False,
        ahead_s: int = 0,
    ) -> None:
        self.delivered: list[tuple[int, int]] = []
        self.pages = 0
        self._api, self._how, self._folder, self._chance = api, how, folder, chance
        self._forgets, self._ahead_s = forgets, ahead_s
        self._cursor = "null"

    @property
    def cursor(self) -> Any:
        return json.loads(self._cursor)

    def poll(self, *, kills: bool, meanwhile: Any = lambda: None) -> bool:
        """One poll; False if it was killed."""
        now_us = lambda: (EPOCH_S + self._api.now_s + self._ahead_s) * 1_000_000  # noqa: E731
        progress = Progress(self._how, self.cursor, folder=self._folder, name="quakes", now_us=now_us)
        for stretch in progress.stretches():
            step, is_over = stretch.step, False
            if step is not None and self._forgets and self._chance.random() < 0.2:
                progress.lost_step()
                continue
            while not is_over:
                own = step
                records, step = self._api.page(stretch.params, step)
                more = {"open_at": own} if self._api.is_open(records) else {}
                self.pages += 1
                if kills and self._chance.random() < 0.1:
                    return False  # before anything is written
                try:
                    fresh = progress.take(records, step, **more)
                except SourceError as error:
                    if "a page begins before" not in str(error):
                        raise
                    return False  # more than a page appeared since the last one: the next poll goes on there
                if kills and self._chance.random() < 0.1:
                    return False  # written, not accepted
                if fresh.moved:
                    self.delivered += [(record["id"], record["version"]) for record in fresh.records]
                    self._cursor = json.dumps(fresh.cursor)
                    if kills and self._chance.random() < 0.1:
                        return False  # accepted, and the poll doesn't hear of it
                    progress.accepted()
                is_over = fresh.enough
                meanwhile()
        return True
