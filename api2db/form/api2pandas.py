"""Api2Pandas: a form, used on its own, that gives pandas frames."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from api2db.form.api_form import ApiForm


class Api2Pandas:
    """Calls ``api_form_function()`` once for its form."""

    def __init__(self, api_form_function: Callable[[], ApiForm]) -> None:
        self.api_form = api_form_function()

    def dependencies_satisfied(self) -> bool:
        """Are the files of all MergeStatic steps there?"""
        return self.api_form.dependencies_satisfied()

    def extract(self, data: object) -> pd.DataFrame | None:
        """The frame of one response: Int64, Float64, bool, string; None if pre-processing leaves nothing.

        Raises ShapeError for data that can't become a frame.
        """
        return self.api_form.frame(data)
