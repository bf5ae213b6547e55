"""What a page costs beside its request: ``python -m bench.rest_pages API PAGES``.

The same pages by a hand-written loop, by ``RestSource``, and by one with an ``Incremental``, taken in turns; nothing is
shaped or loaded. The last line: milliseconds of the processor a page, of each.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median

import click
import requests

from api2db import Incremental, RestSource
from api2db.sources.decode import decode

TURNS = 5


def by_hand(api: str, pages: int) -> Iterator[object]:
    with requests.Session() as session:
        for number in range(pages):
            yield decode(session.get(f"{api}/linked/{number}?of={pages}").content)


def declared(api: str, pages: int) -> Iterator[object]:
    yield from RestSource(api, "/linked/0", params={"of": pages}, records="")(None)


def incremental(api: str, pages: int) -> Iterator[object]:
    new = Incremental("id", "since", start=0, order="ascending")
    yield from RestSource(api, "/linked/0", params={"of": pages}, records="", incremental=new)(None)


def main(api: str, pages: int) -> None:
    ways: dict[str, Callable[[str, int], Iterator[object]]] = {
        "by_hand": by_hand,
        "declared": declared,
        "incremental": incremental,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            started = time.process_time()
            count = sum(1 for _ in way(api, pages))
            found[name].append((time.process_time() - started) / pages * 1000)
            assert count == pages
    click.echo(json.dumps({name: median(times) for name, times in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
