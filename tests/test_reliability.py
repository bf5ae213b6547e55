"""docs/reliability.md names tests that exist and commands that can be run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_test_the_page_names_exists():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"^(?:def|class|\s+def) (\w+)", sources, re.M))
    named = set(re.findall(r"`(test_\w+|\w+Machine)`", PAGE))
    assert len(named) > 30
    missing = named - defined
    assert not missing
    assert not [path for path in re.findall(r"`(tests/[\w/.]+)`", PAGE) if not (ROOT / path).exists()]


def test_every_command_the_page_names_can_be_run():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)", PAGE):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in re.findall(r"`python -m ([\w.]+)", PAGE):
        assert importlib.util.find_spec(module), module
