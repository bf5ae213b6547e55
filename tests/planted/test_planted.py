"""The planted faults stay what they are: mistakes in code that is there, sought by tests that are there."""

from __future__ import annotations

import pytest

from tests.planted.__main__ import REPOSITORY
from tests.planted.faults import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_place_of_a_planted_fault_is_in_the_code_once(fault):
    assert (REPOSITORY / fault.path).read_text().count(fault.old) == 1
    assert all((REPOSITORY / test).exists() for test in fault.tests if test.endswith(".py"))


def test_faults_have_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) > 20
