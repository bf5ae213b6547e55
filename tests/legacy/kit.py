"""The commands of 1.0.1 as an installer makes them: a process each, in the folder they are about."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests import warm
from tests.project_kit import REPOSITORY, TIMEOUT_S

SCRIPTS: dict[str, str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
PYTHONPATH = {"PYTHONPATH": str(REPOSITORY)}


def run(folder: Path, command: str, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    """``command`` in ``folder``, as the entry point of that name in pyproject.toml; ``answers`` are typed."""
    module, _, function = SCRIPTS[command].partition(":")
    code = f"import sys; from {module} import {function}; sys.argv[0] = {command!r}; sys.exit({function}())"
    return warm.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, **PYTHONPATH},
        input=answers,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def files(folder: Path) -> dict[str, bytes]:
    """Every file below, and every empty folder (with a slash, b"")."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and "__pycache__" not in name:
            found[name] = path.read_bytes()
        elif path.is_dir() and path.name != "__pycache__" and not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found
