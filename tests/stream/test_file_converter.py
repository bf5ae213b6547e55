"""Frames in files, and folders of files as one frame: the documented results, and nothing lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from textwrap import dedent

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given, settings
from pandas.testing import assert_frame_equal

from api2db.errors import ConfigError
from api2db.formats import FORMATS, store_dtypes
from api2db.stream import Stream2Local
from api2db.stream.compose import composing
from api2db.stream.file_converter import FileConverter
from tests import warm

REPOSITORY = Path(__file__).parents[2]
ALL = tuple(FORMATS)
compose = FileConverter.static_compose_df_from_dir


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def frame(*rows):
    return pd.DataFrame(list(rows), columns=["A", "B", "C"]).astype("Int64")


ROWS = {"file1": (1, 2, 3), "file2": (4, 5, 6), "file3": (7, 8, 9)}


def documented_folders(fmt="parquet"):
    for folder in ("store", "sharded", "composed"):
        Path(folder).mkdir(exist_ok=True)
    for name, row in ROWS.items():
        assert FileConverter.static_store_df(frame(row), f"store/{name}.{fmt}", fmt)


def names(folder):
    """Everything there, hidden files too."""
    return sorted(os.listdir(folder))


def rows(df):
    return df["A"].tolist()


# The examples of the documentation, for each format.


@pytest.mark.parametrize("fmt", ALL)
def test_the_files_of_a_folder_become_one_frame_and_are_deleted(fmt):
    documented_folders(fmt)
    found = compose(path="store/", fmt=fmt)
    assert_frame_equal(found, frame(*ROWS.values()))
    assert [names(folder) for folder in ("store", "sharded", "composed")] == [[], [], []]


@pytest.mark.parametrize("fmt", ALL)
def test_shards_go_to_move_shards_path(fmt):
    documented_folders(fmt)
    found = compose(path="store/", fmt=fmt, move_shards_path="sharded/", move_composed_path=None)
    assert_frame_equal(found, frame(*ROWS.values()))
    assert names("store") == names("composed") == []
    assert names("sharded") == [f"file1.{fmt}", f"file2.{fmt}", f"file3.{fmt}"]


@pytest.mark.parametrize("fmt", ALL)
def test_the_composed_file_goes_to_move_composed_path_and_the_shards_are_deleted(fmt):
    documented_folders(fmt)
    found = compose(path="store/", fmt=fmt, move_shards_path=None, move_composed_path="composed/")
    assert names("store") == names("sharded") == []
    assert names("composed") == [f"file1_file3.{fmt}"]
    assert_frame_equal(FileConverter.static_load_df(f"composed/file1_file3.{fmt}", fmt), found)


@pytest.mark.parametrize("fmt", ALL)
def test_both_are_kept_where_both_paths_are_given(fmt):
    documented_folders(fmt)
    compose("store", fmt, "sharded", "composed")
    assert names("store") == []
    assert names("sharded") == [f"{name}.{fmt}" for name in ROWS]
    assert names("composed") == [f"file1_file3.{fmt}"]


# Storing and loading.


@pytest.mark.parametrize("fmt", ALL)
def test_a_stored_frame_is_loaded_as_it_was(fmt):
    given_frame = frame((1, 2, 3), (None, 5, 6))
    store, load = getattr(FileConverter, f"{fmt}_store"), getattr(FileConverter, f"{fmt}_load")
    assert store(f"a/b/x.{fmt}", given_frame) is True
    assert names("a/b") == [f"x.{fmt}"]
    assert_frame_equal(load(f"a/b/x.{fmt}"), given_frame)
    assert_frame_equal(
        FileConverter.static_load_df(f"a/b/x.{fmt}", fmt, {"A": "Float64"}), given_frame.astype({"A": "Float64"})
    )


@pytest.mark.parametrize("fmt", ALL)
def test_what_cannot_be_loaded_is_none_and_the_reason_is_logged(fmt, caplog):
    load = getattr(FileConverter, f"{fmt}_load")
    assert load("nowhere") is None
    Path("torn").write_bytes(b"PAR1 \x80 {")
    assert load("torn") is None or fmt == "csv"
    Path("empty").touch()
    assert load("empty") is None
    assert load(".") is None
    assert load("nul\0") is None
    assert caplog.text.count("not loaded path=nowhere cause=[Errno 2]") == 1
    assert f"not loaded path=empty cause=not a readable {fmt} file" in caplog.text


@pytest.mark.parametrize("fmt", ALL)
def test_what_cannot_be_stored_is_false_and_leaves_what_was_there(fmt, caplog):
    store = getattr(FileConverter, f"{fmt}_store")
    assert store(f"x.{fmt}", frame((1, 2, 3)))
    before = Path(f"x.{fmt}").read_bytes()
    assert store(f"x.{fmt}", [1, 2]) is False
    assert store(f"x.{fmt}/below.{fmt}", frame((1, 2, 3))) is False
    assert store(f"nowhere/x.{fmt}", frame((1, 2, 3)), force=False) is False
    Path("folder").mkdir()
    assert store("folder", frame((1, 2, 3))) is False
    assert Path(f"x.{fmt}").read_bytes() == before
    assert names(".") == ["folder", f"x.{fmt}"]
    assert "not stored path=" in caplog.text


def test_a_full_disk_is_false_and_leaves_what_was_there():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    # The temporary name leads to the device, which takes nothing.
    assert FileConverter.csv_store("x.csv", frame((1, 2, 3)))
    os.symlink("/dev/full", ".x.csv.tmp")
    assert FileConverter.csv_store("x.csv", frame((4, 5, 6))) is False
    assert rows(FileConverter.csv_load("x.csv")) == [1]


@pytest.mark.parametrize(
    ("path", "force", "valid"),
    [
        ("x.csv", False, True),
        ("there/x.csv", False, True),
        ("there/", False, True),
        ("new/deep/x.csv", False, False),
        ("new/deep/x.csv", True, True),
        ("a_file/x.csv", True, False),
        ("a_file/deep/x.csv", True, False),
        ("nul\0/x.csv", True, False),
    ],
)
def test_a_path_is_valid_if_its_folder_is_there_or_may_be_made(path, force, valid, caplog):
    Path("there").mkdir()
    Path("a_file").touch()
    assert FileConverter.store_valid(path, force) is valid
    assert Path("new/deep").is_dir() == (valid and path.startswith("new"))
    assert ("no folder to store in" in caplog.text) == (not valid)


@pytest.mark.parametrize(
    "call",
    [
        lambda: FileConverter.static_store_df(frame(), "x", "xml"),
        lambda: FileConverter.static_load_df("x", "xml"),
        lambda: compose(".", "xml"),
    ],
)
def test_an_unknown_format_is_a_failure_whose_reason_names_the_formats(call, caplog):
    assert not call()
    assert "'xml': the formats are parquet, json, pickle, csv" in caplog.text


# The object.


def test_an_unknown_format_is_refused_at_once():
    with pytest.raises(ConfigError, match="parquet, json, pickle, csv"):
        FileConverter(fmt="xml")


def test_dtypes_given_come_before_those_kept():
    store_dtypes(Path("CACHE/weather_dtypes.json"), {"A": "Int64", "at": "datetime64[us, UTC]", "k": "category"})
    kept = FileConverter("weather").dtypes
    assert kept == {"A": "Int64", "at": "datetime64[us, UTC]", "k": "category"}
    assert FileConverter("weather", dtypes={"A": "string"}).dtypes == {"A": "string"}
    assert frame((1, 2, 3)).astype({"A": kept["A"]})["A"].dtype == "Int64"
    assert FileConverter("other").build_dtypes() is None
    assert FileConverter().build_dtypes() is None
    assert Stream2Local("weather").dtypes == kept


def test_dtypes_that_cannot_be_read_are_none_and_the_reason_is_logged(caplog):
    Path("CACHE").mkdir()
    Path("CACHE/weather_dtypes.json").write_text('{"A": "Whole"}')
    assert FileConverter("weather").dtypes is None
    assert "dtypes not read name=weather" in caplog.text


# Composing: which files, in which order, as what.


def test_names_that_are_numbers_come_by_number_before_others_by_name():
    for name in ("10", "9", "b", "a", "100", "007"):
        FileConverter.csv_store(f"store/{name}.csv", pd.DataFrame({"A": pd.array([name], dtype="string")}))
    found = compose("store", "csv", move_composed_path="composed")
    assert rows(found) == ["007", "9", "10", "100", "a", "b"]
    assert names("composed") == ["007_b.csv"]


def test_one_file_is_composed_under_its_name_twice():
    FileConverter.csv_store("store/1.csv", frame((1, 2, 3)))
    compose("store", "csv", move_composed_path="composed")
    assert names("composed") == ["1_1.csv"]


def test_hidden_files_folders_and_other_formats_are_left_alone():
    documented_folders()
    others = [".file4.parquet.tmp", ".hidden.parquet", "notes.txt", "file5.parquet.part", "file6.csv"]
    for name in others:
        Path("store", name).write_text("not a shard")
    Path("store/folder.parquet").mkdir()
    assert len(compose("store", "parquet")) == 3
    assert names("store") == sorted([*others, "folder.parquet"])


def test_an_empty_folder_and_one_that_is_missing_are_none(caplog):
    Path("store").mkdir()
    assert compose("store", "parquet", "sharded", "composed") is None
    assert "ERROR" not in caplog.text
    assert compose("nowhere", "parquet") is None
    assert "not composed path=nowhere" in caplog.text
    assert not Path("nowhere").exists()
    assert compose("nul\0", "parquet") is None


@pytest.mark.parametrize("option", ["move_shards_path", "move_composed_path"])
def test_without_force_folders_are_not_made_and_nothing_is_touched(option):
    documented_folders()
    assert compose("store", "parquet", **{option: "new/folder"}, force=False) is None
    assert len(names("store")) == 3
    assert not Path("new").exists()
    assert len(compose("store", "parquet", **{option: "new/folder"})) == 3
    assert names("new/folder") == (
        ["file1_file3.parquet"] if "composed" in option else [f"{name}.parquet" for name in ROWS]
    )


@pytest.mark.parametrize("fmt", ALL)
def test_a_file_that_cannot_be_read_stays_where_it_is_and_the_others_are_composed(fmt, caplog):
    documented_folders(fmt)
    Path(f"store/file2.{fmt}").write_bytes(b"")
    found = compose("store", fmt, move_composed_path="composed")
    assert rows(found) == [1, 7]
    assert names("store") == [f"file2.{fmt}"]
    assert names("composed") == [f"file1_file3.{fmt}"]
    assert f"left where it is file=store/file2.{fmt}" in caplog.text
    assert compose("store", fmt) is None
    assert names("store") == [f"file2.{fmt}"]


def test_a_composed_frame_that_cannot_be_stored_leaves_all_shards(caplog):
    documented_folders()
    Path("composed").rmdir()
    Path("composed").write_text("a file")
    assert compose("store", "parquet", "sharded", "composed") is None
    assert len(names("store")) == 3
    assert names("sharded") == []
    assert "not composed path=store" in caplog.text


def test_files_that_are_there_already_are_never_replaced():
    for _ in range(3):
        documented_folders()
        assert len(compose("store", "parquet", "sharded", "composed")) == 3
    assert names("composed") == ["file1_file3.parquet", "file1_file3~2.parquet", "file1_file3~3.parquet"]
    assert len(names("sharded")) == 9
    assert "file2~3.parquet" in names("sharded")


def test_shards_are_not_moved_to_the_folder_they_are_in(caplog):
    documented_folders()
    assert compose("store", "parquet", move_shards_path="store/") is None
    assert len(names("store")) == 3
    assert "would be composed again" in caplog.text


def test_a_folder_can_be_composed_into_itself():
    documented_folders()
    compose("store", "parquet", move_composed_path="store")
    assert names("store") == ["file1_file3.parquet"]
    FileConverter.parquet_store("store/file4.parquet", frame((10, 11, 12)))
    assert rows(compose("store", "parquet", move_composed_path="store")) == [1, 4, 7, 10]
    assert names("store") == ["file1_file3_file4.parquet"]


def test_files_that_come_or_change_while_a_folder_is_composed_are_left_for_the_next_time():
    documented_folders()
    with composing(Path("store"), FORMATS["parquet"]) as composition:
        FileConverter.parquet_store("store/file0.parquet", frame((0, 0, 0)))
        FileConverter.parquet_store("store/file2.parquet", frame((40, 50, 60), (70, 80, 90)))
        composition.settle()
    assert rows(composition.frame) == [1, 4, 7]
    assert names("store") == ["file0.parquet", "file2.parquet"]
    assert rows(compose("store", "parquet")) == [0, 40, 70]


def test_a_composition_that_is_not_settled_leaves_everything():
    documented_folders()
    with composing(Path("store"), FORMATS["parquet"]) as composition:
        assert composition.name == "file1_file3.parquet"
    assert len(names("store")) == 3


def test_a_folder_that_is_being_composed_is_not_composed_again(caplog):
    documented_folders()
    with composing(Path("store"), FORMATS["parquet"]):
        assert compose("store", "parquet") is None
    assert "is being composed already" in caplog.text
    assert len(compose("store", "parquet")) == 3


def test_each_file_is_composed_once_however_many_try():
    Path("store").mkdir()
    for number in range(50):
        FileConverter.csv_store(f"store/{number}.csv", frame((number, 0, 0)))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(compose("store", "csv", move_composed_path="composed")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(row for df in found if df is not None for row in rows(df)) == list(range(50))


def test_columns_that_differ_from_file_to_file_meet_without_a_value_changing():
    FileConverter.csv_store("store/1.csv", pd.DataFrame({"id": pd.array([2**62 + 1], dtype="Int64"), "only": ["x"]}))
    FileConverter.csv_store("store/2.csv", pd.DataFrame({"id": pd.array([None], dtype="Int64"), "n": [1.5]}))
    found = compose("store", "csv")
    assert found["id"].tolist() == [2**62 + 1, pd.NA]
    assert str(found["id"].dtype) == "Int64"
    assert list(found.columns) == ["id", "only", "n"]


def test_dtypes_given_to_compose_are_those_of_its_frame():
    FileConverter.csv_store("store/1.csv", pd.DataFrame({"k": ["a"], "n": [1]}))
    found = compose("store", "csv", dtypes={"k": "category", "n": "int64"})
    assert [str(dtype) for dtype in found.dtypes] == ["category", "int64"]


@settings(max_examples=20)
@given(
    shards=st.lists(
        st.lists(st.tuples(st.integers(-99, 99), st.text(st.characters(exclude_categories=["Cs"]))), max_size=3),
        max_size=6,
    ),
    fmt=st.sampled_from(ALL),
)
def test_composing_is_reading_file_after_file(tmp_path_factory, shards, fmt):
    folder = tmp_path_factory.mktemp("composing")
    for number, shard in enumerate(shards):
        df = pd.DataFrame(shard, columns=["n", "s"]).astype({"n": "Int64", "s": "string"})
        assert FileConverter.static_store_df(df, str(folder / "store" / f"{number}.{fmt}"), fmt)
    found = compose(str(folder / "store"), fmt, move_composed_path=str(folder / "composed"))
    if not shards:
        assert found is None
        return
    every = [row for shard in shards for row in shard]
    assert list(zip(found.get("n", []), found.get("s", []), strict=True)) == every
    assert names(folder / "store") == []


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system here")
class TestAnotherFileSystem:
    @pytest.fixture
    def elsewhere(self, tmp_path):
        folder = Path("/dev/shm") / f"api2db-{os.getpid()}-{tmp_path.name}"
        folder.mkdir()
        if folder.stat().st_dev == tmp_path.stat().st_dev:
            folder.rmdir()
            pytest.skip("no second file system here")
        yield folder
        shutil.rmtree(folder)

    def test_shards_and_composed_file_go_there(self, elsewhere):
        documented_folders()
        originals = [Path("store", f"{name}.parquet").read_bytes() for name in ROWS]
        compose("store", "parquet", str(elsewhere / "sharded"), str(elsewhere / "composed"))
        assert names("store") == []
        assert names(elsewhere / "composed") == ["file1_file3.parquet"]
        assert [(elsewhere / "sharded" / f"{name}.parquet").read_bytes() for name in ROWS] == originals

    def test_a_copy_an_earlier_attempt_left_is_not_made_twice(self, elsewhere):
        documented_folders()
        (elsewhere / "file1.parquet").write_bytes(Path("store/file1.parquet").read_bytes())
        (elsewhere / "file2.parquet").write_bytes(b"another file")
        compose("store", "parquet", move_shards_path=str(elsewhere))
        assert names(elsewhere) == ["file1.parquet", "file2.parquet", "file2~2.parquet", "file3.parquet"]
        assert (elsewhere / "file2.parquet").read_bytes() == b"another file"


# Kills. A process composes and is killed at the n-th call into the operating system that changes a name or writes.

KILLED_AT = """
import os, signal, sys
from api2db.stream.file_converter import FileConverter
from tests import warm

left = int(sys.argv[1])

def killing(real):
    def call(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*arguments, **options)
    return call

for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "write"):
    setattr(os, name, killing(getattr(os, name)))
frame = FileConverter.static_compose_df_from_dir("store", "csv", *[each or None for each in sys.argv[2:]])
assert len(frame) == 3
print("calls left:", left)
"""


def killed_at(step, *paths):
    """Compose in a process of its own; is there such a step?"""
    Path("killed.py").write_text(dedent(KILLED_AT))
    done = warm.run(
        [sys.executable, "-W", "error", "killed.py", str(step), *paths],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def visible_rows(*folders):
    return sorted(
        row
        for folder in folders
        for path in Path(folder).glob("*.csv")
        for row in rows(FileConverter.csv_load(str(path)))
    )


def steps_until_it_ends(kill, first=0):
    step = first
    while kill(step):
        step += 1
    assert step > first + 5


def fresh_folders():
    for folder in ("store", "sharded", "composed"):
        for path in Path(folder).glob("*"):
            path.unlink()
    documented_folders("csv")


def test_a_compose_killed_anywhere_leaves_every_row_in_shards_or_composed_file_and_the_next_makes_it_once():
    def kill(step):
        fresh_folders()
        again = killed_at(step, "", "composed")
        assert set(visible_rows("store", "composed")) == {1, 4, 7}
        found = compose("store", "csv", move_composed_path="composed")
        assert found is None or rows(found) == [1, 4, 7]
        assert visible_rows("composed") == [1, 4, 7]
        assert names("store") == []
        assert not list(Path("composed").glob(".*"))  # of the one that was killed
        return again

    steps_until_it_ends(kill)


def test_a_compose_killed_anywhere_while_it_moves_shards_loses_none():
    def kill(step):
        fresh_folders()
        again = killed_at(step, "sharded", "composed")
        assert visible_rows("store", "sharded") == [1, 4, 7]
        compose("store", "csv", "sharded", "composed")
        assert visible_rows("sharded") == visible_rows("composed") == [1, 4, 7]
        assert names("store") == []
        return again

    steps_until_it_ends(kill, first=3)  # before the composed file is written nothing differs from the test before


def test_a_compose_that_deletes_killed_before_it_is_through_gives_every_row_to_the_next():
    outcomes = []

    def kill(step):
        fresh_folders()
        again = killed_at(step)
        outcomes.append(compose("store", "csv"))
        assert names("store") == []
        return again

    steps_until_it_ends(kill)
    # All or nothing, and nothing only from the moment on at which the frame is the caller's.
    all_rows = [found is not None and rows(found) == [1, 4, 7] for found in outcomes]
    gone = [found is None for found in outcomes]
    first_gone = gone.index(True)
    assert all(all_rows[:first_gone])
    assert all(gone[first_gone:])
    assert first_gone >= len(ROWS)


def test_a_store_killed_anywhere_leaves_the_old_file_or_the_new():
    script = KILLED_AT.partition("frame = ")[0] + dedent(
        """
        import pandas as pd
        assert FileConverter.csv_store("x.csv", pd.DataFrame({"A": [2], "B": [2], "C": [2]}))
        """
    )
    Path("killed.py").write_text(script)
    seen = set()
    for step in range(20):
        assert FileConverter.csv_store("x.csv", frame((1, 2, 3)))
        code = warm.run(
            [sys.executable, "killed.py", str(step)], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=60
        ).returncode
        found = rows(FileConverter.csv_load("x.csv"))
        assert found in ([1], [2])
        seen.add((code, found[0]))
        if code == 0:
            break
    assert (-signal.SIGKILL, 1) in seen
    assert (0, 2) in seen


def test_what_was_decided_but_could_not_be_finished_is_finished_by_the_next_compose(caplog):
    documented_folders("csv")
    Path("sharded").rmdir()
    with composing(Path("store"), FORMATS["csv"]) as composition:
        # A file where the folder should be made: the plan is written, the moves fail.
        Path("sharded").write_text("a file")
        composition.settle(Path("sharded"), Path("composed"))
    assert "compose not finished folder=store" in caplog.text
    assert rows(FileConverter.csv_load("composed/file1_file3.csv")) == [1, 4, 7]
    assert compose("store", "csv") is None
    assert len(names("store")) == 4
    Path("sharded").unlink()
    FileConverter.csv_store("store/file4.csv", frame((10, 11, 12)))
    assert rows(compose("store", "csv")) == [10]
    assert len(names("sharded")) == 3
    assert names("store") == []


def test_shards_stay_where_the_composed_file_is_not_to_be_found(tmp_path, monkeypatch, caplog):
    """Killed with the plan on disk, and then the disk of the composed file isn't mounted."""
    shards, mounted = tmp_path / "s", tmp_path / "mnt"
    for number in (1, 2):
        FileConverter.static_store_df(pd.DataFrame({"n": [number]}), str(shards / f"{number}.csv"), "csv")
    with monkeypatch.context() as patch:
        patch.setattr("api2db.stream.compose.finish", lambda folder: None)
        FileConverter.static_compose_df_from_dir(str(shards), "csv", move_composed_path=str(mounted))
    mounted.rename(tmp_path / "away")
    mounted.mkdir()
    assert FileConverter.static_compose_df_from_dir(str(shards), "csv", move_composed_path=str(mounted)) is None
    assert "is its disk mounted?" in caplog.text
    assert sorted(path.name for path in shards.glob("*.csv")) == ["1.csv", "2.csv"]
    mounted.rmdir()
    (tmp_path / "away").rename(mounted)
    FileConverter.static_compose_df_from_dir(str(shards), "csv", move_composed_path=str(mounted))
    assert [path.name for path in mounted.glob("*.csv")] == ["1_2.csv"]
    assert list(shards.glob("*.csv")) == []


def test_a_path_that_is_none_is_answered_and_logged(caplog):
    assert FileConverter.static_load_df(None, "csv") is None
    assert FileConverter.static_store_df(pd.DataFrame({"n": [1]}), None, "csv") is False
    assert FileConverter.static_compose_df_from_dir(None, "csv") is None
