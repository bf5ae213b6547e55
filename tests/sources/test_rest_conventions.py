"""The recorded earthquakes, handed out in every convention, are the same table from each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from importlib import resources

import pytest

from tests.project_kit import Project, eventually
from tests.sources.rest_server import RestServer

# One collector a convention, as their users write them: {root} is the server's address.
COLLECTORS = {
    "link": "RestSource('{root}/link')",
    "link_said": "RestSource('{root}/link', paging=LinkHeader(), records='')",
    "next_url": "RestSource('{root}/url')",
    "next_url_said": "RestSource('{root}/url', records='data.items', paging=NextUrl('links.next'))",
    "next_cursor": "RestSource('{root}/cursor')",
    "header_cursor": "RestSource('{root}/header_cursor', paging=NextCursor(header='X-Next', param='continue'))",
    "body_cursor": (
        "RestSource('{root}/body_cursor', method='POST', json={'filter': 'all'},"
        " paging=NextCursor('next_cursor', field='page.start_cursor', has_more='has_more'))"
    ),
    "last_id": (
        "RestSource('{root}/last_id', records='data',"
        " paging=NextCursor(last='id', param='starting_after', has_more='has_more'))"
    ),
    "offset": "RestSource('{root}/offset', params={'limit': 300})",
    "offset_said": "RestSource('{root}/offset', paging=OffsetLimit(1000, total='total'))",
    "silent_offset": "RestSource('{root}/silent_offset', paging=OffsetLimit(1000))",
    "number": "RestSource('{root}/number', params={'per_page': 400})",
    "number_said": "RestSource('{root}/number', paging=PageNumber(400, pages='total_pages'))",
    "silent_number": "RestSource('{root}/silent_number', paging=PageNumber())",
    "last_again": "RestSource('{root}/last_again', paging=PageNumber(repeat_ends=True))",
    "nodes": "lambda cursor: Rest('{root}').graphql(QUERY, records='feed.events', cursor=cursor)",
    "edges": (
        "lambda cursor: Rest('{root}').graphql(QUERY, {'edges': True}, records='feed.events.edges', cursor=cursor)"
    ),
    "whole": "RestSource('{root}/whole')",
    "lines": "RestSource('{root}/lines')",
}
MODULE = """
    from api2db import Rest, RestSource, collector
    from api2db.sources.rest import LinkHeader, NextCursor, NextUrl, OffsetLimit, PageNumber

    INFO = "pageInfo {{ hasNextPage endCursor }}"
    QUERY = "query ($after: String) {{ feed {{ events(after: $after) {{ nodes " + INFO + " }} }} }}"
    SHAPE = {{
        "id": "id",
        "mag": "properties.mag:float",
        "at": "properties.time:ms",
        "place": "properties.place",
        "depth": "geometry.coordinates.2:float",
    }}


    @collector(every="1h", name={name!r}, shape=SHAPE)
    def source(cursor):
        for page in ({source})(cursor):
            yield page.rows() if hasattr(page, "rows") else page
"""


@pytest.fixture(scope="module")
def recorded() -> list[dict]:
    packed = resources.files("api2db.demo").joinpath("earthquakes.geojson.gz").read_bytes()
    return json.loads(gzip.decompress(packed))["features"]


@pytest.fixture(scope="module")
def server(recorded: list[dict]) -> Iterator[RestServer]:
    with RestServer(recorded, size=600) as api:
        yield api


@pytest.fixture(scope="module")
def loaded(server: RestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with all of them, after one poll of each."""
    sources = {name: source.replace("{root}", server.root) for name, source in COLLECTORS.items()}
    modules = {name: MODULE.format(name=name, source=source) for name, source in sources.items()}
    project = Project(tmp_path_factory.mktemp("conventions"), **modules)
    process = project.start()
    ended = "SELECT count(DISTINCT collector) FROM runs WHERE outcome IS NOT NULL"
    eventually(lambda: project.journal(ended) == [(len(COLLECTORS),)], what=project.console)
    eventually(lambda: not project.waiting(), what="everything is delivered")
    project.stop(process)
    yield project
    project.close()


@pytest.mark.parametrize("name", COLLECTORS)
def test_the_recorded_earthquakes_are_the_same_table_from_each_convention(
    loaded: Project, recorded: list[dict], name: str
) -> None:
    outcomes = loaded.journal(f"SELECT outcome, cause FROM runs WHERE collector = '{name}'")
    assert outcomes == [("ok", None)]
    properties = {feature["id"]: feature["properties"] for feature in recorded}
    found = loaded.sqlite(f"SELECT id, mag, place, depth FROM {name}")
    assert found == [
        (feature["id"], properties[feature["id"]]["mag"], properties[feature["id"]]["place"], depth)
        for feature in recorded
        for depth in [feature["geometry"]["coordinates"][2]]
    ]
    assert loaded.sqlite(f"SELECT * FROM {name}") == loaded.sqlite("SELECT * FROM whole")
