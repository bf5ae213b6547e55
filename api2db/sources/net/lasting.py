"""A session that asks the same host again and again, for as long as the daemon runs."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from api2db.sources.http import Http


class LastingHttp(Http):
    """Looks up once for each host which proxy and which authorities the environment names.

    requests does so at each request, which takes a fifth of the processor time of one that is answered by 304.
    """

    _found: dict[tuple[Any, ...], MutableMapping[str, Any]] | None = None

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        if proxies or not isinstance(url, str):
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        parts = urlsplit(url)
        self._found = {} if self._found is None else self._found
        key = (parts.scheme, parts.netloc, stream, verify, cert)
        if key not in self._found:
            found: Mapping[str, Any] = super().merge_environment_settings(url, proxies, stream, verify, cert)
            self._found[key] = dict(found)
        return dict(self._found[key])
