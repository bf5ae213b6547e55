"""The documented import paths of pre-processors."""

from api2db.form.bad_row_swap import BadRowSwap
from api2db.form.pre import FeatureFlatten, GlobalExtract, ListExtract, Pre

__all__ = ["BadRowSwap", "FeatureFlatten", "GlobalExtract", "ListExtract", "Pre"]
