"""Numbers of bytes as people write them: ``"10 GiB"``, ``"256 MB"``, ``4096``."""

from __future__ import annotations

import re
from decimal import Decimal

from api2db.errors import ConfigError

UNITS_BYTES = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgtp", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
EXAMPLES = "a number of bytes, or text like '256 MiB', '10 GiB', '500 MB'"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)


def size_bytes(value: object) -> int:
    """Bytes, not negative, of a whole number or text; KiB, MiB, … are powers of 1024, kB, MB, … of 1000.

    Raises ConfigError.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        parts = _SIZE.fullmatch(value.strip().lower())
        if parts is not None and parts[2] in UNITS_BYTES:
            # Decimal, so that "0.1 GB" is a hundred million and not one less.
            return int(Decimal(parts[1]) * UNITS_BYTES[parts[2]])
    raise ConfigError(f"{value!r} is not a size; give {EXAMPLES}")
