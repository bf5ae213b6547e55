"""DuckDB's errors in our words, by their class and, where that says little, by their text."""

from __future__ import annotations

import re

from api2db.errors import BadDataError, FatalError, RetryableError, SinkError
from api2db.sinks.dialect import Cause

_LOOK = "compare the table's definition with what is loaded into it"
_AWAY = "restore the file from a backup, or move it away"
# By the name of the exception's class, its own before those it derives from; what isn't here is repeated.
_CAUSES: dict[str, tuple[type[SinkError], str]] = {
    "ConstraintException": (BadDataError, ""),
    "ConversionException": (BadDataError, ""),
    "OutOfRangeException": (BadDataError, ""),
    "InvalidInputException": (BadDataError, ""),
    "TypeMismatchException": (BadDataError, ""),
    "BinderException": (FatalError, _LOOK),
    "CatalogException": (FatalError, _LOOK),
    "DependencyException": (FatalError, _LOOK),
    "InvalidTypeException": (FatalError, _LOOK),
    "NotImplementedException": (FatalError, _LOOK),
    "ParserException": (FatalError, _LOOK),
    "SyntaxException": (FatalError, _LOOK),
    "PermissionException": (FatalError, "allow the access"),
    "SerializationException": (FatalError, _AWAY),
    "IOException": (RetryableError, "look after the disk"),
    "ConnectionException": (RetryableError, ""),
    "ResourceInUseException": (RetryableError, ""),
    "TransactionException": (RetryableError, ""),
    "OutOfMemoryException": (RetryableError, "give it more memory, or fewer rows at once: chunk_size"),
    "FatalException": (RetryableError, ""),
    "InternalException": (RetryableError, ""),
}
# What an IO error of these words means.
_IO: tuple[tuple[str, type[SinkError], str], ...] = (
    ("Could not set lock", RetryableError, "another program has the file open: close it there, or open it read_only"),
    ("handle conflict", RetryableError, "this program has the file open: close it there"),
    ("different configuration", RetryableError, "this program has the file open in another way: close it there"),
    ("No space left", RetryableError, "free some disk space"),
    ("Permission denied", FatalError, "make the file and its folder writable"),
    ("Read-only file system", FatalError, "make the file and its folder writable"),
    ("attached in read-only mode", FatalError, "make the file and its folder writable"),
    ("not a valid DuckDB database", FatalError, "choose another file, or move this one away"),
    ("version number", FatalError, "it is of another version of DuckDB: install that, or export and import it"),
    ("Corrupt", FatalError, _AWAY),
    ("checksum", FatalError, _AWAY),
)
_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")


def cause(error: BaseException) -> Cause:
    text = " ".join(str(error).partition("\n\nLINE ")[0].split())[:300]
    holder = _HOLDER.search(text)
    if holder is not None:
        # The path and DuckDB's own advice are long: who it is comes first.
        text = f"process {holder['pid']} ({holder['program']}) holds the file: {text}"[:300]
    for one in type(error).__mro__:
        if one.__name__ in _CAUSES:
            kind, advice = _CAUSES[one.__name__]
            if kind is RetryableError or one.__name__ == "InvalidInputException":
                kind, advice = next(((k, a) for words, k, a in _IO if words in text), (kind, advice))
            return Cause(kind, text, advice)
    return Cause(RetryableError, f"{type(error).__name__}: {text}")
