"""Some simulated minutes of ten collectors at one poll a second; ``python -m bench.soak`` is the whole day."""

from __future__ import annotations

from bench.soak import LIMITS, POLLS_AN_HOUR, Sample, growths, soak


def test_minutes_of_ten_collectors_leave_no_thread_and_no_file_behind_and_every_row_is_in_once(tmp_path):
    hours = 0.01
    taken, wrong = soak(tmp_path, hours, samples=8)
    assert not wrong
    assert taken[-1].hours >= hours
    grown = growths(taken)
    for name in ("threads", "descriptors"):  # memory and files settle later: caches fill first
        assert grown[name] <= LIMITS[name], taken


def test_what_goes_up_and_down_is_no_growth_and_what_goes_up_is():
    def sample(at: int, rss_mb: float, files: int) -> Sample:
        return Sample(at / POLLS_AN_HOUR, rss_mb, 0, 0, 0, 0, 0, 20, 30, files, 0, 0, 0, 0, 0, 0)

    samples = [sample(at, 100 + at % 7, 10 + at) for at in range(100)]
    grown = growths(samples)
    assert abs(grown["rss_mb"]) < 1
    assert round(grown["files"]) == 74  # from the end of the warm-up, a quarter, to the last
    assert grown["threads"] == 0
