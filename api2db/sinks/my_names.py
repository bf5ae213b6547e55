"""Names as MySQL and MariaDB keep them."""

from __future__ import annotations

from dataclasses import dataclass

from api2db.sinks.names import NameRules, cut, digest

_LAST_BMP = "\uffff"


@dataclass(frozen=True)
class MySQLNames(NameRules):
    """At most 64 characters of three bytes each, no blank at the end; columns differ by more than case.

    What the server folds depends on its version; folding more than it does costs a digest and nothing else.
    """

    def fold(self, name: str) -> str:
        return name.upper().casefold()

    def hashed(self, name: str) -> str:
        plain = "".join(c for c in name if "\0" < c <= _LAST_BMP)
        return f"{cut(plain, self.max_bytes - 5)}_{digest(name)}"

    def legal(self, name: str) -> str:
        kept = name.rstrip() == name and all(c <= _LAST_BMP for c in name)
        return super().legal(name) if kept else self.hashed(name)


def quote(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
