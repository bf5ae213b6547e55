"""PostgreSQL's errors in our words, by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

from __future__ import annotations

import re

from api2db.errors import BadDataError, FatalError, RetryableError, SinkError
from api2db.sinks.dialect import Cause

# What is quoted is a name or the value that was refused; forty characters tell which.
_SHOWN_CHARS = 40
_QUOTED = re.compile(r'"([^"]*)"')
_TEXT_CHARS = 400

# The longest start of the SQLSTATE that is here decides; what isn't here is repeated.
_RULES: dict[str, tuple[type[SinkError], str]] = {
    "08": (RetryableError, "the connection was lost or refused"),
    "0A": (FatalError, "load into a plain table this server can load into"),
    "21": (BadDataError, ""),
    "22": (BadDataError, ""),
    "23": (BadDataError, ""),
    "25006": (RetryableError, "the server only reads at the moment; is it a standby?"),
    "28": (FatalError, "correct user and password, or allow the login in pg_hba.conf"),
    "3D": (FatalError, "create the database, or correct its name"),
    "3F": (FatalError, "create the schema, or correct search_path"),
    "40": (RetryableError, ""),
    "42": (FatalError, "compare the table's definition with what is loaded into it"),
    "42501": (FatalError, "grant the permission to this user (INSERT on all of a table, not on single columns)"),
    # Someone else created, altered or dropped the table meanwhile: the next try reads the catalog anew.
    "42701": (RetryableError, ""),
    "42703": (RetryableError, ""),
    "42704": (RetryableError, ""),
    "42P01": (RetryableError, ""),
    "42P07": (RetryableError, ""),
    "42P10": (FatalError, "create a unique index over exactly the key's columns"),
    "44": (BadDataError, ""),
    "53": (RetryableError, "free disk space, memory or connections on the server"),
    "53300": (RetryableError, "raise max_connections or the user's CONNECTION LIMIT, or lower target_threads"),
    "53100": (RetryableError, "free disk space on the server"),
    "54": (FatalError, "the table has more columns than the server can do"),
    # A row wider than a page, or a key wider than an index takes.
    "54000": (BadDataError, ""),
    "55P03": (RetryableError, "another transaction holds the table for long"),
    "57014": (RetryableError, "raise statement_timeout if that is what cancelled it"),
    "57P": (RetryableError, "the server is starting, stopping or has ended the connection"),
    # A trigger of the table's owner refuses the row.
    "P0": (BadDataError, ""),
}
# By the server's function that raised it too, since a sentence may be in any language.
_BY_ORIGIN: dict[tuple[str, str | None], tuple[type[SinkError], str]] = {
    # A policy refuses one row, not the user.
    ("42501", "ExecWithCheckOptions"): (BadDataError, ""),
    ("0A000", "DoCopy"): (FatalError, "row security stops COPY: let this user bypass it (BYPASSRLS), or load by key="),
}
_LOST = ("08", "57P01", "57P02", "57P03", "57P05")

# A login that fails has no SQLSTATE in libpq, only the server's text.
_LOGIN = (
    (re.compile(r'database ".*" does not exist', re.S), "3D000"),
    (re.compile(r"password authentication failed|no pg_hba\.conf entry|no password supplied"), "28P01"),
    (re.compile(r"(Ident|Peer|GSSAPI|SSPI|PAM|LDAP|RADIUS|certificate) authentication failed"), "28000"),
    (re.compile(r'role ".*" (does not exist|is not permitted to log in)', re.S), "28000"),
    (re.compile(r"permission denied for database"), "42501"),
    (re.compile(r"too many (clients|connections)|connection slots are reserved"), "53300"),
)


def state(error: BaseException) -> str:
    """The SQLSTATE, also of a login that failed; empty where there is none."""
    known = getattr(error, "sqlstate", None)
    if known:
        return str(known)
    text = str(error)
    found = next((code for pattern, code in _LOGIN if pattern.search(text)), "")
    if not found and getattr(getattr(error, "pgconn", None), "needs_password", False):
        return "28P01"
    return found


def cause(error: BaseException) -> Cause:
    """What a psycopg error means for a load."""
    code = state(error)
    starts = (code[:length] for length in (5, 3, 2))
    rule = next((_RULES[start] for start in starts if start and start in _RULES), None)
    # Without SQLSTATE the connection itself broke, or was never made.
    rule = _BY_ORIGIN.get((code, getattr(getattr(error, "diag", None), "source_function", None)), rule)
    kind, advice = rule or (RetryableError, "")
    lost = not code or code.startswith(_LOST)
    return Cause(kind, _text(error, code), advice, lost, column=_column(error))


def _text(error: BaseException, code: str) -> str:
    """The server's sentence, without its DETAIL: that shows whole rows."""
    diag = getattr(error, "diag", None)
    text = getattr(diag, "message_primary", None) or " ".join(str(error).split()) or type(error).__name__
    text = _QUOTED.sub(_shorten, text)
    column = _column(error)
    where = f'column "{column}": ' if column else ""
    return f"{where}{text[:_TEXT_CHARS]}" + (f" ({code})" if code else "")


def _column(error: BaseException) -> str:
    """The column COPY was reading; empty for other errors."""
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    found = re.search(r"^COPY .*, column (.+?)(?:: |$)", context, re.M)
    return found[1] if found else ""


def _shorten(quoted: re.Match[str]) -> str:
    text = quoted[1]
    return f'"{text[:_SHOWN_CHARS]}…"' if len(text) > _SHOWN_CHARS else quoted[0]
