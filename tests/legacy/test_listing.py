"""apis/__init__.py is edited as its owner wrote it; what can't be edited for sure is left for the owner."""

from __future__ import annotations

import pytest

from api2db.errors import ConfigError
from api2db.legacy import listing

OWN = '''"""Mine. ünïcode"""
import os  # why not

from .rain import rain_info
from apis.sun import (
    sun_info,
)

apis = [
    rain_info,  # the first
    sun_info,
]
print("loaded", os.getpid())
'''


def test_a_new_list_is_read_again():
    assert listing.names(listing.new([])) == []
    assert listing.names(listing.new(["rain", "sun"])) == ["rain", "sun"]


@pytest.mark.parametrize("names", [[], ["rain"], ["rain", "sun", "snow"]])
def test_what_is_added_and_removed_leaves_the_text_as_it_was(names):
    text = listing.new(names)
    more = listing.added(text, "hail")
    assert listing.names(more) == [*names, "hail"]
    compile(more, "apis", "exec")
    assert listing.removed(more, "hail").split() == text.split()


def test_a_list_its_owner_has_written_keeps_what_the_edit_does_not_concern():
    more = listing.added(OWN, "snow")
    assert more == OWN.replace(")\n\napis", ")\nfrom .snow import snow_info\n\napis").replace(
        "    sun_info,\n]", "    sun_info,\n    snow_info,\n]"
    )
    less = listing.removed(more, "sun")
    assert less == (
        '"""Mine. ünïcode"""\nimport os  # why not\n\nfrom .rain import rain_info\nfrom .snow import snow_info\n\n'
        'apis = [\n    rain_info,  # the first\n    snow_info,\n]\nprint("loaded", os.getpid())\n'
    )
    assert listing.names(listing.removed(listing.removed(less, "snow"), "rain")) == []


@pytest.mark.parametrize("text", ["apis = [rain_info,]\n", "apis = [\n    rain_info\n    ,\n]\n"])
def test_the_only_one_goes_with_its_comma(text):
    assert listing.names(listing.removed(f"from .rain import rain_info\n{text}", "rain")) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no list of its collectors"),
        ("apis = list(all_of_them)\n", "has no list of its collectors"),
        ("apis = [\n", r"__init__\.py, line 1"),
    ],
)
def test_a_file_without_such_a_list_is_told_apart(text, says):
    for attempt in (lambda: listing.names(text), lambda: listing.added(text, "hail")):
        with pytest.raises(ConfigError, match=says):
            attempt()


@pytest.mark.parametrize(
    "text",
    [
        "from .rain import rain_info, other\napis = [rain_info]\nprint(other)\n",
        "from . import rain\napis = [rain.rain_info]\n",
        "from .rain import rain_info\napis = [rain_info]\nfirst = rain_info\n",
    ],
)
def test_what_an_edit_would_break_is_left_to_its_owner(text):
    with pytest.raises(ConfigError, match=r"take rain_info out of its list, and its import away"):
        listing.removed(text, "rain")
