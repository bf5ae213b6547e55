"""An API over HTTP that knows what is newer: ``/events?since=…&until=…&page=…``, ``/accounts/<id>/events``."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from tests.http_api import OK, Answer, HttpApi, Record, Request

START = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=30)


def at(minutes: float) -> str:
    """So many minutes after a midnight a month ago."""
    return (START + dt.timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def event(number: int, minutes: float | None = None, **more: Any) -> Record:
    return {"id": number, "at": at(number if minutes is None else minutes), **more}


class SinceServer(HttpApi):
    """Pages of ``size``, sorted by ``at``; the address of the next one is in the body.

    accounts      name -> its records; of ``/events`` they are the server's own
    empty_is_404  where there is nothing it says so
    ignores_bounds  everything is given, whatever is asked for
    """

    def __init__(self, records: list[Record], *, size: int = 10, newest_first: bool = False) -> None:
        self.accounts: dict[str, list[Record]] = {}
        self.empty_is_404 = self.ignores_bounds = False
        self._size, self._newest_first = size, newest_first
        super().__init__(records)
        self.root = self.url.removesuffix("/records")

    @property
    def asked(self) -> list[dict[str, str]]:
        return [request.params for request in self.requests]

    def answer_to(self, request: Request) -> tuple[Answer, list[Record]]:
        answer, _ = super().answer_to(request)
        return (self._answer(request) if answer is OK else answer), []

    def _answer(self, request: Request) -> Answer:
        match request.path.strip("/").split("/"):
            case ["accounts"]:
                return _json({"items": [{"id": name} for name in self.accounts]})
            case ["accounts", name, "events"]:
                return self._page(self.accounts[name], request)
            case _ if "account" in request.params:
                return self._page(self.accounts[request.params["account"]], request)
        with self._changed:
            records = list(self._records)
        return self._page(records, request)

    def _page(self, records: list[Record], request: Request) -> Answer:
        params = request.params
        if request.body:
            params = params | json.loads(request.body)["filter"]
        records = [
            one
            for one in records
            if self.ignores_bounds or params.get("since", "") <= one["at"] < params.get("until", "9")
        ]
        records.sort(key=lambda one: (one["at"], one["id"]), reverse=self._newest_first)
        if self.empty_is_404 and not records:
            return Answer(404, body=b"{}")
        number = int(params.get("page", 1))
        page = records[(number - 1) * self._size : number * self._size]
        asked = "&".join(f"{name}={value}" for name, value in request.params.items() if name != "page")
        further = f"{self.root}{request.path}?{asked}&page={number + 1}" if len(records) > number * self._size else None
        return _json({"items": page, "next": further})


def _json(value: object) -> Answer:
    return Answer(body=json.dumps(value).encode())
