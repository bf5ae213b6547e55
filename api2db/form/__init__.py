"""How a payload becomes an Arrow table: steps, features, inference. The steps' names are in ``api2db.ingest``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api2db.form.api2pandas import Api2Pandas
    from api2db.form.api_form import ApiForm, form_from_shape
    from api2db.form.feature import Feature
    from api2db.form.inferred import InferredForm
    from api2db.form.tables import from_arrow, from_frame

__all__ = ["Api2Pandas", "ApiForm", "Feature", "InferredForm", "form_from_shape", "from_arrow", "from_frame"]

# Loaded when first asked for: ``api2db.form.shaped`` is for everyone, pandas only for who shapes.
_HOMES = {
    "Api2Pandas": "api2pandas",
    "ApiForm": "api_form",
    "Feature": "feature",
    "InferredForm": "inferred",
    "form_from_shape": "api_form",
    "from_arrow": "tables",
    "from_frame": "tables",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'api2db.form' has no attribute {name!r}")
    return getattr(importlib.import_module(f"api2db.form.{_HOMES[name]}"), name)
