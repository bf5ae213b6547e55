"""SIGKILL between the requests to BigQuery; ``python -m bench.bigquery_kills`` does it some hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bigquery import Emulator
from tests.faults.bigquery_kills import Killed, record
from tests.http_api import HttpApi

# Of the requests of a life of the daemon, those around which a mistake would show: before, after.
MOMENTS = (20, 33, 26, 41, 17, 44)


@pytest.mark.timeout(300)
def test_killed_between_requests_to_bigquery_while_batches_come_each_row_is_in_once(
    bigquery: Emulator, tmp_path: Path
) -> None:
    with HttpApi([record(n) for n in range(1, 41)], since_field="id") as api:
        killed = Killed(tmp_path, api, bigquery, rows=28)
        try:
            for moment in MOMENTS:
                killed.kill(moment)
            killed.deliver()
            killed.check()
        finally:
            killed.project.close()
    assert killed.regroupings, "no restart had anything to group anew"
