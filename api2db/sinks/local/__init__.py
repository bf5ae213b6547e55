"""Files in folders: each batch a file of its own, or one file that batches update or replace. Published once.

``load`` writes finished files beside the shards; delivery then drops the shards; then ``publish`` renames the files
to their places. What a crash leaves is told apart by its shards: while they are there it is made again, once one of
them is gone it is published. So not even a file that someone has already taken away is published a second time.
"""

from __future__ import annotations

from api2db.sinks.local.dtypes import KeptDtypes
from api2db.sinks.local.duplicates import Duplicates
from api2db.sinks.local.rewrite import Replace, Update
from api2db.sinks.local.shard import ShardSink
from api2db.sinks.local.whole import WholeSink

__all__ = ["Duplicates", "KeptDtypes", "Replace", "ShardSink", "Update", "WholeSink"]
