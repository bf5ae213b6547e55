"""What the daemon tells at its start."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from api2db.app.story import look
from api2db.place import FORMATS
from api2db.sinks.base import Placement
from api2db.stream import Stream2Local


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("mode", ["shard", "update"])
def test_what_it_says_to_look_at_files_by_shows_the_rows_of_each_format(
    fmt: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = Stream2Local("quakes", mode=mode, fmt=fmt, path="out" if mode == "shard" else "out/all")  # type: ignore[arg-type]
    stream.stream(pd.DataFrame({"place": ["Hawthorne, Nevada"]}))
    there = Placement("quakes/x", tmp_path / "STORE", tmp_path / "a", tmp_path / "b", tmp_path)
    line = look(f"local.{fmt}", stream.sink(there), tmp_path)
    assert line is not None
    exec(line.strip('"'), {})  # what a shell hands to python -c
    assert "Hawthorne, Nevada" in capsys.readouterr().out


def test_of_a_place_that_is_no_folder_of_known_files_nothing_is_said(tmp_path: Path) -> None:
    there = Placement("quakes/x", tmp_path / "STORE", tmp_path / "a", tmp_path / "b", tmp_path)
    assert look("stream", Stream2Local("quakes").sink(there), tmp_path) is None
