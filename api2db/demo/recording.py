"""One recorded week of the USGS earthquake feed, as the versions each event went through.

Recorded (public domain, https://earthquake.usgs.gov/earthquakes/feed/v1.0/geojson.php) is one response:
every event of the week in its last version. The earlier versions were not recorded. They are derived here
by fixed rules, from the recorded times: an automatic solution a few minutes after the event and, for about
half of the events that were revised more than an hour later, one revision in between.
"""

from __future__ import annotations

import gzip
import json
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any

Feature = dict[str, Any]

RESOURCE = "earthquakes.geojson.gz"
_HOUR_MS = 3_600_000
# Automatic solutions are published one to five minutes after the event.
_FIRST_AFTER_MS = (60_000, 300_000)
# How far off the magnitude of a first solution is, where it was revised later.
_FIRST_OFF_BY = (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)


@dataclass(frozen=True)
class Version:
    """One event as it was known from ``updated_ms`` (epoch milliseconds) until its next version."""

    id: str
    updated_ms: int
    feature: Feature

    @property
    def key(self) -> tuple[str, int]:
        """What identifies a version: (id, updated in epoch milliseconds)."""
        return (self.id, self.updated_ms)


@dataclass(frozen=True)
class Recording:
    """Events in the order they were recorded; each with its versions, oldest first."""

    metadata: dict[str, Any]
    events: tuple[tuple[Version, ...], ...]

    @property
    def versions(self) -> tuple[Version, ...]:
        return tuple(version for event in self.events for version in event)

    @property
    def first_event_ms(self) -> int:
        return min(int(event[0].feature["properties"]["time"]) for event in self.events)

    @property
    def end_ms(self) -> int:
        """When the last event got its last version."""
        return max(event[-1].updated_ms for event in self.events)

    def current(self, at_ms: int) -> Iterator[Version]:
        """Every event known at a time, in the version it then had."""
        for event in self.events:
            known = bisect_right(event, at_ms, key=lambda version: version.updated_ms)
            if known:
                yield event[known - 1]


def load() -> Recording:
    """Read the recording that is shipped in this package."""
    packed = resources.files(__package__).joinpath(RESOURCE).read_bytes()
    collection = json.loads(gzip.decompress(packed))
    return Recording(collection["metadata"], tuple(tuple(_versions(feature)) for feature in collection["features"]))


def _versions(final: Feature) -> Iterator[Version]:
    """The versions of a recorded event, oldest first, no two at one time; the last as recorded."""
    event_id = str(final["id"])
    time_ms, final_ms = int(final["properties"]["time"]), int(final["properties"]["updated"])
    # Chance that is the same on every machine and in every run.
    chance = zlib.crc32(event_id.encode())
    shortest, longest = _FIRST_AFTER_MS
    after_ms = min(shortest + chance % (longest - shortest), (final_ms - time_ms) // 2)
    times_ms = [time_ms + after_ms, final_ms]
    magnitude = final["properties"]["mag"]
    magnitudes = [magnitude]
    if final_ms - time_ms > _HOUR_MS:
        off_by = _FIRST_OFF_BY[chance % len(_FIRST_OFF_BY)]
        magnitudes = [magnitude + off_by]
        if chance & 1024:
            times_ms.insert(1, times_ms[0] + (final_ms - times_ms[0]) * (1 + chance % 3) // 4)
            magnitudes.append(magnitude + off_by / 2)
    assert all(earlier < later for earlier, later in pairwise((time_ms, *times_ms)))
    for updated_ms, preliminary in zip(times_ms, magnitudes, strict=False):
        yield Version(event_id, updated_ms, _preliminary(final, updated_ms, round(preliminary, 2)))
    yield Version(event_id, final_ms, final)


def _preliminary(final: Feature, updated_ms: int, magnitude: float) -> Feature:
    """The event before anybody looked at it: automatic, no reports of people who felt it."""
    known = final["properties"]
    properties = known | {
        "mag": magnitude,
        "updated": updated_ms,
        "felt": None,
        "cdi": None,
        "mmi": None,
        "alert": None,
        "status": "automatic",
        # The service's own formula for an event without reports.
        "sig": round(magnitude * abs(magnitude) * 100 / 6.5),
        "title": f"M {magnitude:.1f} - {known['place']}",
    }
    return final | {"properties": properties}
