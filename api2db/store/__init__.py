"""The documented stores: each composes the files of a folder and loads them through an ordinary stream."""

from api2db.store.store import Store
from api2db.store.store2bigquery import Store2Bigquery
from api2db.store.store2local import Store2Local
from api2db.store.store2omnisci import Store2Omnisci
from api2db.store.store2sql import Store2Sql

__all__ = ["Store", "Store2Bigquery", "Store2Local", "Store2Omnisci", "Store2Sql"]
