"""The documented import paths lead to the same names."""

import importlib

import pytest

STEPS = """
    ListExtract GlobalExtract FeatureFlatten BadRowSwap
    ColumnAdd ColumnApply ColumnsCalculate DateCast DropNa MergeStatic
"""
NAMES = ["Collector", "ApiForm", "Api2Pandas", "Feature", *STEPS.split()]
MODULES = {
    "collector": "Collector",
    "api_form": "ApiForm",
    "api2pandas": "Api2Pandas",
    "data_feature.feature": "Feature",
    "pre_process.pre": "Pre",
    "pre_process.list_extract": "ListExtract",
    "pre_process.global_extract": "GlobalExtract",
    "pre_process.feature_flatten": "FeatureFlatten",
    "pre_process.bad_row_swap": "BadRowSwap",
    "post_process.post": "Post",
    "post_process.column_add": "ColumnAdd",
    "post_process.column_apply": "ColumnApply",
    "post_process.columns_calculate": "ColumnsCalculate",
    "post_process.date_cast": "DateCast",
    "post_process.drop_na": "DropNa",
    "post_process.merge_static": "MergeStatic",
}


def test_a_star_import_of_ingest_gives_every_documented_name():
    namespace: dict[str, object] = {}
    exec("from api2db.ingest import *", namespace)
    assert set(NAMES) <= set(namespace)
    ingest = importlib.import_module("api2db.ingest")
    assert sorted(ingest.__all__) == sorted(NAMES)


@pytest.mark.parametrize(("module", "name"), MODULES.items())
def test_every_documented_module_has_its_class(module, name):
    found = getattr(importlib.import_module(f"api2db.ingest.{module}"), name)
    assert getattr(importlib.import_module("api2db.ingest"), name, found) is found


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nope"):
        importlib.import_module("api2db.form").nope  # noqa: B018
