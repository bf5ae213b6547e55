"""Where a URL of any database leads: what of it says which database, and nothing that says who comes, or how.

Two databases must never share a target, since what waits for one would go to the other; and one database must not
have two: a password that is changed leaves its target as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import URL

# Parameters of a URL that say which database, for the drivers that take it there.
_SAYS_WHERE: Final = frozenset(
    ("catalog", "database", "dsn", "host", "http_path", "odbc_connect", "schema", "server", "service_name", "sid")
)
# Those that hold a whole connection string, with its password.
_STRINGS: Final = frozenset(("dsn", "odbc_connect"))
# What in such a string says where, in the words of several drivers.
_SAYS_WHERE_THERE: Final = {
    "addr", "address", "database", "db", "dbalias", "dbname", "dbq", "dsn", "filedsn", "host", "hostname",
    "initial catalog", "network address", "port", "schema", "server", "servername", "service", "sid",
}  # fmt: skip
_CREDENTIAL: Final = re.compile(r"pass|pwd|uid|user|token|secret|key|auth", re.IGNORECASE)
# A value in braces may hold a semicolon, and a brace twice.
_PAIR: Final = re.compile(r"\s*([^=;]+?)\s*=\s*(\{(?:[^}]|\}\})*\}|[^;]*)")


def target(name: str, url: URL) -> str:
    """``name://host:port/database``, and what the URL's parameters add to that. Without credentials."""
    port = f":{url.port}" if url.port else ""
    parts = dict(_parts(name, url))
    return f"{name}://{url.host or ''}{port}/{url.database or ''}" + (f"?{urlencode(parts)}" if parts else "")


def _parts(name: str, url: URL) -> Iterator[tuple[str, str]]:
    for key, given in sorted(url.query.items()):
        if key.lower() not in _SAYS_WHERE:
            continue
        value = given if isinstance(given, str) else ",".join(given)
        yield key.lower(), _hash(value) if key.lower() in _STRINGS and "=" in value else value
    if name == "oracle" and url.username:
        yield "owner", url.username.lower()  # each user has tables of their own


def _hash(connection: str) -> str:
    pairs = {key.lower(): value.strip() for key, value in _PAIR.findall(connection)}
    where = {key: value for key, value in pairs.items() if key in _SAYS_WHERE_THERE}
    said = where or {key: value for key, value in pairs.items() if not _CREDENTIAL.search(key)}
    return hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()[:12]
