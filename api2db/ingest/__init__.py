"""Everything a collector's four functions are written with: ``from api2db.ingest import *``."""

from api2db.form.api2pandas import Api2Pandas
from api2db.form.api_form import ApiForm
from api2db.form.bad_row_swap import BadRowSwap
from api2db.form.feature import Feature
from api2db.form.merge_static import MergeStatic
from api2db.form.post import ColumnAdd, ColumnApply, ColumnsCalculate, DateCast, DropNa
from api2db.form.pre import FeatureFlatten, GlobalExtract, ListExtract
from api2db.ingest.collector import Collector

__all__ = [
    "Api2Pandas",
    "ApiForm",
    "BadRowSwap",
    "Collector",
    "ColumnAdd",
    "ColumnApply",
    "ColumnsCalculate",
    "DateCast",
    "DropNa",
    "Feature",
    "FeatureFlatten",
    "GlobalExtract",
    "ListExtract",
    "MergeStatic",
]
