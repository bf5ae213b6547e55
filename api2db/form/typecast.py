"""The documented names of column types in pandas."""

from __future__ import annotations

from typing import Any, Final

_PANDAS: Final = {int: "Int64", float: "Float64", bool: "bool"}


def typecast(dtype: Any) -> str:
    """``Int64``, ``Float64`` or ``bool`` for ``int``, ``float`` and ``bool``; ``string`` for anything else."""
    return next((name for known, name in _PANDAS.items() if known is dtype), "string")
