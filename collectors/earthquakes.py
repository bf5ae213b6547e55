"""Earthquakes of the world, from the U.S. Geological Survey: one row an event, in its latest version.

This file is all there is to a collector: what to poll, how often, its shape, and where it goes.
"""

import os
from datetime import date, timedelta

import requests

from api2db import Cursor, collector

# With ``demo = true`` in api2db.toml these are set: a recorded week, replayed on this machine.
URL = os.environ.get("EARTHQUAKES_URL", "https://earthquake.usgs.gov/fdsnws/event/1/query")
EVERY = os.environ.get("EARTHQUAKES_EVERY", "1m")
# The first poll begins a day back: the live service answers at most 20,000 events at once.
START = os.environ.get("EARTHQUAKES_START") or (date.today() - timedelta(days=1)).isoformat()


@collector(
    every=EVERY,
    to=["database", "files"],
    key="id",
    version="updated",
    shape={
        "id": "id",
        "mag": "properties.mag:float",
        "place": "properties.place",
        "at": "properties.time:ms",
        "updated": "properties.updated:ms",
        "status": "properties.status",
        "type": "properties.type",
        "felt": "properties.felt:int",
        "tsunami": "properties.tsunami:int",
        "longitude": "geometry.coordinates.0:float",
        "latitude": "geometry.coordinates.1:float",
        "depth_km": "geometry.coordinates.2:float",
        "url": "properties.url",
    },
)
def earthquakes(since=Cursor("updated", start=START)):  # type: ignore[no-untyped-def]
    """Ask only for what changed since the newest row accepted. What is yielded is on disk before we go on."""
    query = {"format": "geojson", "updatedafter": since, "orderby": "time"}
    response = requests.get(URL, params=query, timeout=30)
    response.raise_for_status()
    yield response.json()["features"]
