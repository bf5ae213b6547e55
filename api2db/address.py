"""Where the daemon listens: ``127.0.0.1:8424``."""

from __future__ import annotations

import ipaddress
import re

from api2db.errors import ConfigError

_ADDRESS = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})", re.ASCII)


def split_address(text: str) -> tuple[str, int]:
    """Host, as a numeric address, and port; 0 is any free one. Raises ConfigError."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[3]) > 65535:
        raise ConfigError(f"{text!r} is not an address and a port, such as 127.0.0.1:8424 or [::1]:8424")
    host = found[1] or found[2]
    if host == "localhost":
        host = "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host)), int(found[3])
    except ValueError:
        raise ConfigError(
            f"{host!r} is not the number of an address, such as 127.0.0.1; names aren't looked up"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(host).is_loopback
