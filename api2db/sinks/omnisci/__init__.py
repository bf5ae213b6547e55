"""HeavyDB, which was OmniSci: batches into one table, over the Thrift interface of its own client."""

from api2db.sinks.omnisci.sink import OmnisciSink
from api2db.sinks.omnisci.wire import Login

__all__ = ["Login", "OmnisciSink"]
