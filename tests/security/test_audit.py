"""``make audit`` fails on a known vulnerability, and never passes in silence where it couldn't look."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.http_api import Answer, HttpApi
from tests.project_kit import REPOSITORY

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pip_audit") is None, reason="pip-audit isn't installed")

VULNERABLE = {
    "vulns": [
        {
            "id": "PYSEC-0000-1",
            "modified": "2026-01-01T00:00:00Z",
            "published": "2026-01-01T00:00:00Z",
            "summary": "a hole",
            "details": "a hole",
            "aliases": ["CVE-0000-1"],
            "affected": [{"package": {"name": "ours", "ecosystem": "PyPI"}, "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}]}],
        }
    ]
}  # fmt: skip


def audit(url: str, folder: Path) -> tuple[int, str]:
    (folder / "ours.txt").write_text("ours==1.0\n")
    done = subprocess.run(
        [sys.executable, REPOSITORY / ".ci" / "audit.py", "--disable-pip", "--no-deps", "-r", folder / "ours.txt"],
        env={**os.environ, "OSV_URL": url}, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("vulnerable", [True, False])
def test_a_known_vulnerability_fails_and_is_named_with_the_version_that_is_without(
    http_api: HttpApi, tmp_path: Path, vulnerable: bool
) -> None:
    body = json.dumps(VULNERABLE).encode()
    http_api.script(Answer(body=body), Answer(body=body if vulnerable else b"{}"))
    status, said = audit(http_api.url, tmp_path)
    assert status == vulnerable, said
    assert ("ours 1.0: PYSEC-0000-1, fixed in 999" in said) == vulnerable
    assert f"audited 1 packages: {int(vulnerable)} with known vulnerabilities" in said
    assert len(http_api.requests) == 2


def test_where_no_advisories_can_be_had_it_says_that_it_is_skipped(http_api: HttpApi, tmp_path: Path) -> None:
    http_api.always(Answer(body=b"{}"))
    status, said = audit(http_api.url, tmp_path)
    assert status == 0, said
    assert "audit SKIPPED: no advisories can be had from http" in said
