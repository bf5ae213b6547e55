"""README and docs are true: their code runs, their links lead somewhere, nothing a user can set is left out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from api2db.cli import main as cli
from tests import warm

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=name)
def test_the_code_of_a_page_runs(page, tmp_path):
    code = "\n".join(BLOCK.findall(page.read_text()))
    script = tmp_path / "page.py"
    script.write_text(code)
    done = warm.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing


def test_every_option_and_command_is_documented():
    text = "\n".join(page.read_text() for page in PAGES)
    options = [option for parameter in cli._main_py.params for option in parameter.opts if option.startswith("--")]
    commands = [f"api2db {name}" for name in cli.main.commands]
    missing = [word for word in [*options, *commands] if word not in text]
    assert not missing


def test_the_readmes_commands_are_targets_of_the_makefile():
    commands = re.findall(r"^\$ make (\w+)", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    makefile = (REPOSITORY / "Makefile").read_text()
    assert commands == ["run", "prove", "test"]
    assert all(re.search(rf"^{command}:", makefile, re.MULTILINE) for command in commands)


def test_every_module_of_the_architecture_page_exists():
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    for word in re.findall(r"`((?:runtime/|sinks/|tests/)?\w+\.py)`", text):
        assert (REPOSITORY / "api2db" / word).exists() or (REPOSITORY / word).exists(), word
    (listed,) = re.findall(r"^## Modules.*?```text\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    there = {path.stem for path in (REPOSITORY / "api2db").rglob("*") if path.suffix == ".py" or path.is_dir()}
    for line in listed.splitlines():
        names = re.split(r" {3,}", line.strip())[0].replace("/", " ").split()
        assert set(names) <= there, line
