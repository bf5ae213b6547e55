"""Text of others can't pass for a name of ours, a line of ours, or an order to the terminal."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api2db import Cursor
from api2db.app.log import Redacting
from api2db.cli.status_text import as_text
from api2db.errors import ConfigError
from api2db.layout import Layout, check_name
from api2db.printable import one_line, printable
from api2db.runtime.status import CollectorStatus, Status

TEXT = st.text(st.one_of(st.characters(), st.sampled_from("\n\r\x1b\x9b\u202e\u2028%{}<'\"/\\.")))


@given(TEXT)
def test_a_collectors_name_is_refused_or_stays_in_its_folder(name: str) -> None:
    layout = Layout(Path("/store"))
    try:
        check_name(name)
    except ConfigError:
        return
    for path in (layout.queue(name, "s"), layout.state(name), layout.quarantine(name, "s"), layout.shards(name, "csv")):
        assert ".." not in path.parts
        assert path.is_relative_to("/store")
    assert printable(name) == name


@given(TEXT)
def test_a_line_of_the_log_is_one_record_and_orders_the_terminal_nothing(text: str) -> None:
    record = logging.LogRecord("api2db", logging.INFO, "f", 1, "poll failed cause=%s {x}", (text,), None)
    first, *others = Redacting("%(asctime)s %(levelname)s %(message)s").format(record).split("\n")
    assert "INFO poll failed cause=" in first
    assert all(line.startswith("    ") for line in others)
    assert not [c for c in first + "".join(others) if c != "\t" and (c < " " or "\x7f" <= c <= "\x9f" or c == "\u202e")]


def test_ordinary_text_is_as_it_was() -> None:
    text = "naïve 日本語 50 % {x}\t🌍"
    assert printable(text) == one_line(text) == text


def test_a_forged_line_does_not_look_like_one_of_the_journal_or_the_status() -> None:
    cause = "x\n<0>12:00:00 kernel: all data is lost\x1b[2J"
    assert printable(cause) == "x\n    <0>12:00:00 kernel: all data is lost\\x1b[2J"
    collector = CollectorStatus("c", "failed", cause, 1, None, None, 1, 1, 0, 0, 0, [], [])
    text = as_text(Status(1, 0, None, [collector]))
    assert "\\n<0>12:00:00" in text
    assert "\x1b" not in text


@given(TEXT.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_the_value_of_a_cursor_is_handed_over_as_it_is(text: str) -> None:
    cursor = Cursor("updated")
    reached = cursor.after(pa.table({"updated": [text]}), None)
    assert cursor.since(reached) == text


@pytest.mark.parametrize("name", ["../up", "a/b", "a\0b", "..", ".", "a\nb", "-rf", "a b", "%s", "{}", "'"])
def test_names_that_are_paths_options_or_statements_are_refused_with_a_better_one(name: str) -> None:
    with pytest.raises(ConfigError, match="try"):
        check_name(name)
