"""``fresh_within``: what is old is said to be old, also of a collector that never had a success."""

from __future__ import annotations

import time

import pytest

from api2db.journal.journal import Journal
from api2db.layout import Layout
from api2db.runtime.status import read_status


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "STORE")
    layout.prepare()
    return layout


@pytest.fixture
def journal(layout):
    journal = Journal(layout.journal)
    yield journal
    journal.close()


def declare(journal, *, fresh_within_s=1e-9):
    journal.declare([("feed", 60.0, fresh_within_s)], [])


def ended(journal, outcome, cause=None):
    journal.run("feed", started_ns=time.time_ns(), duration_s=0.1, outcome=outcome, batches=0, rows=0, cause=cause,
                steps=[], next_run_ns=None)  # fmt: skip


def feed(layout):
    (found,) = read_status(layout).collectors
    return found


@pytest.mark.parametrize("outcome", ["ok", "waiting", "stopped"])
def test_a_collector_whose_last_success_is_old_is_stale_whatever_its_polls_did_since(layout, journal, outcome):
    declare(journal)
    ended(journal, "ok")
    ended(journal, outcome)
    assert (feed(layout).state, feed(layout).stale) == ("stale", True)


@pytest.mark.parametrize("outcome", ["failed", "abandoned", "paused"])
def test_one_that_fails_keeps_its_cause_and_counts_as_stale_beside(layout, journal, outcome):
    declare(journal)
    ended(journal, "ok")
    ended(journal, outcome, "the reason")
    assert (feed(layout).state, feed(layout).cause, feed(layout).stale) == (outcome, "the reason", True)


def test_one_that_was_never_polled_is_stale_once_its_time_is_over(layout, journal):
    declare(journal, fresh_within_s=3600)
    assert (feed(layout).state, feed(layout).stale) == ("due", False)
    declare(journal)
    assert feed(layout).state == "stale"


def test_restarts_do_not_make_one_younger_that_never_succeeded(layout, journal):
    declare(journal, fresh_within_s=3600)
    first = journal._file.connection.execute("SELECT declared_ns FROM collectors").fetchone()
    declare(journal, fresh_within_s=3600)
    assert journal._file.connection.execute("SELECT declared_ns FROM collectors").fetchone() == first


@pytest.mark.parametrize("state", ["disabled", "broken"])
def test_one_that_does_not_run_is_not_stale_and_begins_anew_when_it_does(layout, journal, state):
    declare(journal)
    journal.declare([], [])
    journal.collector_state("feed", state, "the reason")
    assert (feed(layout).state, feed(layout).stale) == (state, False)
    declare(journal, fresh_within_s=3600)
    assert (feed(layout).state, feed(layout).stale) == ("due", False)


def test_one_without_fresh_within_is_never_stale(layout, journal):
    declare(journal, fresh_within_s=None)
    ended(journal, "ok")
    assert (feed(layout).state, feed(layout).stale) == ("ok", False)
