"""Batches into one table of Google BigQuery by load jobs, each batch once: see docs/sinks/bigquery.md."""

from api2db.sinks.bigquery.sink import BigQuerySink

__all__ = ["BigQuerySink"]
