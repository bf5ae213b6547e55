"""Fails on a known vulnerability of an installed package; where no advisories can be had, says so and passes.

``OSV_URL`` names another advisory database than api.osv.dev. That the database answers is proven each time by asking
for a version that is known to be vulnerable: silence about ours would else say nothing. Arguments go to pip-audit,
in place of those that ask for what is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KNOWN = "jinja2==2.4.1"  # CVE-2014-1402 and others
OSV_URL = os.environ.get("OSV_URL") or "https://api.osv.dev/v1/query"


def advisories(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """pip-audit's report of each package, and the last line of what went wrong if it made none."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    command += ["--vulnerability-service", "osv", "--osv-url", OSV_URL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder, "known.txt")
        known.write_text(f"{KNOWN}\n")
        control, trouble = advisories("--disable-pip", "--no-deps", "--requirement", str(known))
    if not any(package.get("vulns") for package in control):
        print(f"audit SKIPPED: no advisories can be had from {OSV_URL}: {trouble or f'it knows nothing of {KNOWN}'}")
        return 0
    packages, trouble = advisories(*(sys.argv[1:] or ["--skip-editable"]))
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
        if "skip_reason" in package:
            print(f"{package['name']}: not audited: {package['skip_reason']}")
    vulnerable = [package for package in packages if package.get("vulns")]
    if trouble or not packages:
        print(f"audit FAILED: {trouble or 'no installed package was found'}")
        return 1
    audited = [package for package in packages if "skip_reason" not in package]
    print(f"audited {len(audited)} packages: {len(vulnerable)} with known vulnerabilities")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    raise SystemExit(main())
