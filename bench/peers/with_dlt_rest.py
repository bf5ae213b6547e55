"""HTTP pages to a database by dlt's own ``rest_api`` source: ``with_dlt_rest.py API PAGES DATABASE``.

Links in the header are followed; the load files are CSV where PostgreSQL can copy them. What it is told of the columns
spares it their inference. When the last row is in, it says so: seconds since 1970.
"""

import os
import sys
import tempfile
import time

import dlt
from dlt.sources.rest_api import rest_api_source

SETTINGS = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__BUFFER_MAX_ITEMS": "50000"}
TYPES = {
    "id": "bigint",
    "kind": "bigint",
    "mag": "double",
    "depth": "double",
    "felt": "bool",
    "place": "text",
    "net": "text",
    "title": "text",
    "updated": "bigint",
    "lat": "double",
    "lon": "double",
}


def main(api: str, pages: int, database: str) -> None:
    is_postgres = database.startswith("postgresql")
    events = {
        "name": "events",
        "write_disposition": "append",
        "columns": {name: {"data_type": kind} for name, kind in TYPES.items()},
        "endpoint": {"path": "linked/0", "params": {"of": pages}, "data_selector": "$", "paginator": "header_link"},
    }
    source = rest_api_source({"client": {"base_url": f"{api}/"}, "resources": [events]})
    destination = dlt.destinations.postgres(database) if is_postgres else dlt.destinations.sqlalchemy(database)
    with tempfile.TemporaryDirectory() as folder:
        name = "public" if is_postgres else "main"
        pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=destination, dataset_name=name)
        pipeline.run(source, loader_file_format="csv" if is_postgres else None)
    sys.stdout.write(f"{time.time()}\n")


if __name__ == "__main__":
    os.environ.update(SETTINGS)
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
