"""``python -m tests.planted``: plant each fault in a copy of the tree and run the tests that must notice.

First the same tests run on the code as it is: a test that fails anyway proves nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.planted.faults import FAULTS, Fault

REPOSITORY = Path(__file__).parents[2]
OF_PYTEST = (sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly")
FAILED = 1  # pytest's exit status: tests ran, and some failed


@click.command()
@click.option("--only", default="", metavar="TEXT", help="Only faults whose name contains it.")
def main(only: str) -> None:
    """Every planted fault must be caught; exit status 1 if one isn't."""
    faults = [fault for fault in FAULTS if only in fault.name]
    missed = []
    with tempfile.TemporaryDirectory(prefix="api2db-planted-") as folder:
        tree = Path(folder) / "tree"
        _copy(tree)
        for tests in sorted({fault.tests for fault in faults}):
            done = _run(tree, tests)
            if done.returncode:
                raise click.ClickException(f"without a fault these don't pass: {' '.join(tests)}\n{done.stdout}")
        for number, fault in enumerate(faults, 1):
            caught = _caught(tree, fault)
            missed += [] if caught else [fault.name]
            click.echo(f"{number:>3}  {'caught' if caught else 'MISSED'}  {fault.name:<70}  {caught}")
    click.echo(f"{len(faults) - len(missed)} of {len(faults)} planted faults caught")
    sys.exit(bool(missed))


def _copy(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, tree / name)


def _caught(tree: Path, fault: Fault) -> str:
    """The first test that failed; empty if none did."""
    path = tree / fault.path
    sound = path.read_text()
    assert sound.count(fault.old) == 1, f"{fault.name}: its place isn't in {fault.path} exactly once"
    path.write_text(sound.replace(fault.old, fault.new))
    try:
        done = _run(tree, fault.tests)
    finally:
        path.write_text(sound)
    if done.returncode not in (0, FAILED):
        raise click.ClickException(f"{fault.name}: the tests can't run\n{done.stdout}{done.stderr}")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR tests"))]
    return failed[0].partition(" - ")[0] if done.returncode and failed else ""


def _run(tree: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*OF_PYTEST, *tests], cwd=tree, capture_output=True, text=True)


if __name__ == "__main__":
    main()
