"""MySQL's and MariaDB's errors in our words, by number.

https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html, https://mariadb.com/kb/en/mariadb-error-codes/
"""

from __future__ import annotations

import re
import socket
import ssl

from api2db.errors import BadDataError, FatalError, RetryableError, SinkError
from api2db.sinks.dialect import Cause

# What is quoted is a name or the value that was refused; forty characters tell which.
_SHOWN_CHARS = 40
_QUOTED = re.compile(r"'([^']*)'")
_TEXT_CHARS = 400

FORBIDS_LOCAL = (1148, 3948, 4166)
DUPLICATE = 1062
UNKNOWN_DATABASE = 1049
NO_SUCH_TABLE = 1146
PACKET_TOO_LARGE = 1153
TRUNCATED = 1265
# Warnings that say something of the statement and nothing of the rows.
DEPRECATIONS = (1287, 1681, 3719, 3778)
# The SQLSTATE of an error we make of a warning: where the number isn't known, the rows are bad all the same.
BAD_DATA = "22000"
_CANNOT_CONNECT = 2003

_RULES: tuple[tuple[type[SinkError], str, tuple[int, ...]], ...] = (
    (RetryableError, "the connection was lost or refused", (2001, 2002, 2003, 2006, 2012, 2013, 2014, 2027, 2055)),
    (RetryableError, "the connection was lost or refused", (1043, 1080, 1158, 1159, 1160, 1161, 1184, 1189, 1190)),
    (RetryableError, "the server is starting or stopping", (1047, 1053, 1077, 1079, 1152, 3168, 4031)),
    (RetryableError, "", (1205, 1213, 1020, 1412, 1614, 1615, 3058, 3572)),
    (RetryableError, "someone ended the connection or its statement", (1317, 1927, 3169)),
    (RetryableError, "raise max_statement_time if that is what ended it", (1907, 1969, 3024)),
    (RetryableError, "raise max_connections, or lower the threads per target", (1040, 1203, 1226)),
    (RetryableError, "free disk space or memory on the server", (1021, 1026, 1030, 1037, 1038, 1041, 1114, 1135, 3675)),
    (RetryableError, "the server only reads at the moment; is it a replica?", (1290, 1792, 1836, 3100)),
    # Someone else created, altered or dropped the table meanwhile: the next try reads the catalog anew.
    (RetryableError, "", (1007, 1050, 1051, 1054, 1060, 1061, 1091, 1146, 1305)),
    (FatalError, "correct user and password, or allow the login from this host", (1045, 1698, 1130, 1131, 1251, 1524)),
    (FatalError, "the account is locked or its password expired", (1820, 1862, 3118, 4151)),
    (FatalError, "the server shuts this host out; there, run: FLUSH HOSTS", (1129,)),
    (FatalError, "grant the permission to this user", (1044, 1142, 1143, 1227, 1370, 1410)),
    (FatalError, "create the database, or correct its name", (1046, 1049, 1102)),
    (FatalError, "correct the host", (2005,)),
    (FatalError, "set ssl_mode and ssl_ca as the server wants them", (2026, 3159)),
    (FatalError, "this client can't log in the way the server asks", (2049, 2054, 2058, 2059, 2061)),
    (FatalError, "is it the right server? Nothing was sent", (2068,)),
    (FatalError, "set binlog_format to ROW or MIXED on the server", (1665,)),
    (FatalError, "load into a plain table this server can load into", (1288, 1347, 1348, 1471, 1906, 3105, 1031, 1036)),
    (FatalError, "this server can't do what the load needs", (1115, 1235, 1273)),
    (FatalError, "repair the table", (1033, 1034, 1035, 1194, 1195, 1459, 1712, 1932)),
    (FatalError, "compare the table's definition with what is loaded into it", (1064, 1059, 1068, 1071, 1072, 1075)),
    (FatalError, "compare the table's definition with what is loaded into it", (1067, 1103, 1113, 1166, 1170, 1286)),
    (FatalError, "give the stream a key, or set sql_require_primary_key to OFF on the server", (3750,)),
    (FatalError, "the table has more columns than the server can do", (1117, 1118)),
    # No value, a second one, or one of the wrong kind.
    (BadDataError, "", (1022, 1048, 1062, 1169, 1263, 1364, 1557, 1586, 1859, 3819, 4025)),
    (BadDataError, "", (1216, 1217, 1451, 1452, 1761, 1762)),
    (
        BadDataError,
        "",
        (1138, 1261, 1262, 1264, 1265, 1292, 1300, 1366, 1367, 1406, 1411, 1416, 1425, 1426, 1427, 1441),
    ),
    (BadDataError, "", (1365, 1525, 1526, 1690, 1748, 3140, 3141, 3144, 3156, 3157, 4036, 4038, 4078)),
    # A trigger of the table's owner refuses the row.
    (BadDataError, "", (1644, 1645)),
    # A row longer than the server takes.
    (BadDataError, "raise max_allowed_packet on the server to take such rows", (1153, 1301, 1713, 1139)),
)
_BY_NUMBER = {number: (kind, advice) for kind, advice, numbers in _RULES for number in numbers}
# Of numbers that aren't above, by the class of their SQLSTATE; anything else is repeated.
_BY_STATE = {
    "22": BadDataError,
    "23": BadDataError,
    "45": BadDataError,
    "28": FatalError,
    "42": FatalError,
}
_LOST = (0, 1053, 2002, 2003, 2006, 2013, 2055)


def number(error: BaseException) -> int:
    """The server's or the driver's number; 0 where there is none: the connection was closed before."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def cause(error: BaseException) -> Cause:
    """What a pymysql error means for a load."""
    code = number(error)
    kind, advice = _BY_NUMBER.get(code, (None, ""))
    if code == _CANNOT_CONNECT:
        kind, advice = _unreachable(getattr(error, "original_exception", None))
    if kind is None:
        kind = _BY_STATE.get((getattr(error, "sqlstate", None) or "")[:2], RetryableError)
        advice = "compare the table's definition with what is loaded into it" if kind is FatalError else ""
    return Cause(kind, _text(error, code), advice, lost=code in _LOST and kind is RetryableError)


def _unreachable(original: BaseException | None) -> tuple[type[SinkError], str]:
    if isinstance(original, ssl.SSLCertVerificationError):
        return FatalError, "the server's certificate isn't one of ssl_ca, or not for this host"
    if isinstance(original, socket.gaierror) and original.errno in (socket.EAI_NONAME, socket.EAI_SERVICE):
        return FatalError, "correct the host"
    return RetryableError, "the connection was lost or refused"


def _text(error: BaseException, code: int) -> str:
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    text = _QUOTED.sub(_shorten, " ".join(text.split()) or type(error).__name__)
    return text[:_TEXT_CHARS] + (f" ({code})" if code else "")


def _shorten(quoted: re.Match[str]) -> str:
    text = quoted[1]
    return f"'{text[:_SHOWN_CHARS]}…'" if len(text) > _SHOWN_CHARS else quoted[0]
