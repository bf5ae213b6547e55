"""What a person reads of an error that user code raised."""

from __future__ import annotations

import traceback

from api2db.errors import Api2dbError
from api2db.secret import redact

MAX_CHARACTERS = 2000
READ_CHARACTERS = 20_000


def told(error: BaseException) -> str:
    """The cause in one line: the text of an error of ours, else the exception and the line of user code it is from."""
    if isinstance(error, Api2dbError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((f for f in reversed(frames) if "site-packages" not in f.filename), frames[-1] if frames else None)
    where = f" ({frame.filename}:{frame.lineno})" if frame else ""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a __str__ of user code
        text = f"<its text raised {type(broken).__name__}>"
    # Cut after: no half of a secret is left.
    whole = redact(f"{type(error).__name__}: {text}"[:READ_CHARACTERS])
    return " ".join(whole.split())[:MAX_CHARACTERS] + where
