"""Whether the daemon can accept rows now, and if not, why."""

from __future__ import annotations

from pathlib import Path

from api2db.runtime.vitals import Phase, Vitals

PROBE = ".writable"


def reasons_against(vitals: Vitals, store: Path) -> list[str]:
    """Why nothing is accepted now, a line each; empty when all is ready. Writes a byte into STORE and takes it away."""
    if vitals.phase is not Phase.RUNNING:
        return [f"the daemon is {vitals.phase.value}"]
    found = [reason for reason in (vitals.trouble, _unwritable(store)) if reason]
    if vitals.usage is not None and not found:
        refusal = vitals.usage.refusal("")
        found += [f"collecting pauses: {refusal}"] if refusal else []
    return found


def _unwritable(store: Path) -> str | None:
    probe = store / PROBE
    try:
        probe.write_bytes(b"\n")
        probe.unlink()
    except OSError as error:
        return f"{store} can't be written: {error.strerror}"
    return None
