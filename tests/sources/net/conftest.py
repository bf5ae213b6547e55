"""An API with one record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http_api import HttpApi


@pytest.fixture
def http_api() -> Iterator[HttpApi]:
    with HttpApi([{"id": 1}]) as api:
        yield api
