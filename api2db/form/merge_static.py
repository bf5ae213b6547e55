"""MergeStatic: joins what arrives often with a table that changes rarely."""

from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd

from api2db.form.post import Post
from api2db.form.step import Labelled


class MergeStatic(Labelled, Post):
    """Left merge on ``key`` with the pickled frame at ``path``: every row stays, with the columns of its match.

    The file is kept fresh by a ``Stream2Local`` in mode ``update`` or ``replace``. It is code as much as data
    (unpickling runs it): point ``path`` only at files your own project writes.
    """

    ctype = "merge_static"

    def __init__(self, key: str, path: str) -> None:
        super().__init__(key)
        self.key = key
        self.path = path

    def is_satisfied(self) -> bool:
        """Is the file there? A poll waits while it isn't."""
        return Path(self.path).is_file()

    def lam_wrap(self, lam_arg: pd.DataFrame) -> pd.DataFrame:
        with open(self.path, "rb") as file:
            static = pickle.load(file)
        return lam_arg.merge(static, on=self.key, how="left")
