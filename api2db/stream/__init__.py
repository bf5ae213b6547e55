"""The documented streams: thin faces over sinks. Constructing one starts nothing."""

from api2db.stream.stream import Stream
from api2db.stream.stream2bigquery import Stream2Bigquery
from api2db.stream.stream2local import Stream2Local
from api2db.stream.stream2omnisci import Stream2Omnisci
from api2db.stream.stream2sql import Stream2Sql

__all__ = ["Stream", "Stream2Bigquery", "Stream2Local", "Stream2Omnisci", "Stream2Sql"]
