"""Every error of ours, in one tree. What to do about one is in its class, so nobody parses messages.

Api2dbError
├── ConfigError           the project can't run as written; a person edits a file
├── SourceError           a poll failed; counted, logged, repeated at its next time
├── ShapeError            a payload can't become a table; kept in quarantine as it arrived
├── StoreError            STORE can't take or give back data
│   ├── StoreFullError    no space, or a limit is reached; collecting pauses until there is room
│   ├── StoreLockedError  another daemon owns this STORE
│   └── TornShardError    a shard's bytes aren't the ones written; set aside, never loaded
│       └── GoneShardError    there is no such file any more: someone removed it
├── NotToldError          a message didn't reach its receiver; it is sent again
└── SinkError             a load failed; everything in its transaction was rolled back
    ├── RetryableError    healing by itself: repeat with back-off (down, locked, out of space)
    ├── BadDataError      the target refuses some rows: find them, keep them in quarantine, load the rest
    └── FatalError        a person must act (password, permission, wrong table); the stream stops, its shards wait
"""


class Api2dbError(Exception):
    """The base of every error this package raises on purpose."""


class ConfigError(Api2dbError, ValueError):
    """The project can't run as written. A ``ValueError`` too: the documented constructors raise those."""


class SourceError(Api2dbError):
    """A poll failed: it raised, hung, or returned something that isn't data."""


class ShapeError(Api2dbError):
    """A payload can't become a table."""


class StoreError(Api2dbError):
    """STORE can't take or give back data."""


class StoreFullError(StoreError):
    """No space left, or a limit of the settings is reached. Nothing was written."""


class StoreLockedError(StoreError):
    """Another live process owns this STORE."""


class TornShardError(StoreError):
    """A shard's bytes aren't the ones that were written."""


class GoneShardError(TornShardError):
    """A shard isn't there any more: someone removed it."""


class SinkError(Api2dbError):
    """A load failed; everything in its transaction was rolled back."""


class RetryableError(SinkError):
    """Healing by itself: repeat the same load later."""


class BadDataError(SinkError):
    """The target refuses some of the rows."""


class FatalError(SinkError):
    """Repeating won't help until a person has acted."""


class NotToldError(Api2dbError):
    """A message didn't reach its receiver; it is sent again. Its text holds no secret."""


def in_one_line(error: BaseException) -> str:
    """The text of an error of ours; of any other its class, too, since its text alone may say nothing."""
    return str(error) if isinstance(error, Api2dbError) else f"{type(error).__name__}: {error}"
