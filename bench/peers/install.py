"""The peers' own virtual environment, so that what they need doesn't meet what we need."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from bench.context import REPOSITORY, say

PACKAGES = (
    "dlt[postgres]",
    "adbc-driver-postgresql",
    "psycopg2-binary",
    "pyarrow",
    "orjson",
    "requests",
    "pandas",
    "sqlalchemy",
)
_FOLDER = REPOSITORY / ".cache" / "bench" / "peers"


@cache
def peer_python() -> Path:
    """Its interpreter; made on first use and kept."""
    python = _FOLDER / "bin" / "python"
    made = _FOLDER / "made"
    if not made.exists():
        say("installing what api2db is compared with into .cache/bench (the first time, about a minute) ...")
        subprocess.run([sys.executable, "-m", "venv", "--clear", _FOLDER], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        made.touch()
    return python


def versions() -> dict[str, str]:
    """What is installed there."""
    command = [peer_python(), "-m", "pip", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    wanted = {package.partition("[")[0] for package in PACKAGES}
    return {one["name"]: one["version"] for one in listed if one["name"].lower() in wanted}
