"""``apis/__init__.py``, the list of a project's collectors: read without running it, edited without reformatting it.

Its owner may have written into it. What an edit doesn't concern stays, and an edit that can't be made for sure is
refused, with what to write by hand. Pure functions over its text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from api2db.errors import ConfigError

SUFFIX = "_info"  # of a collector's name in its module
_LIST = "apis"
_HEAD = '"""The collectors that ``python main.py`` runs: cadd and crem keep this list."""\n\n'


def new(names: Sequence[str]) -> str:
    """The file of a new project."""
    imports = "".join(f"{_import(name)}\n" for name in names)
    return f"{_HEAD}{imports}{'' if not names else chr(10)}{_LIST} = [{', '.join(name + SUFFIX for name in names)}]\n"


def names(text: str) -> list[str]:
    """The collectors listed, in order. Raises ConfigError for a file without such a list."""
    return [_name(element) for element in _list(text).elts]


def added(text: str, name: str) -> str:
    """The file with one more collector. Raises ConfigError."""
    found = names(text)
    lines = _Bytes(text)
    elements = _list(text).elts
    if elements:
        last = elements[-1]
        own_line = last.lineno != _list(text).lineno
        between = ",\n" + " " * last.col_offset if own_line else ", "
        at = lines.end(last)
        edited = lines.cut(at, at, f"{between}{name}{SUFFIX}")
    else:
        at = lines.start(_list(text)) + 1
        edited = lines.cut(at, at, f"{name}{SUFFIX}")
    # Later places first: the import comes before the list, and moves nothing behind it that is still looked for.
    imports = [node for node in ast.parse(text).body if _module(node) is not None]
    before = imports[-1].end_lineno if imports else _assignment(text).lineno - 1
    gap = "" if imports else "\n"
    rows = edited.encode().splitlines(keepends=True)
    assert before is not None
    rows.insert(before, f"{_import(name)}\n{gap}".encode())
    return _checked(_joined(rows), [*found, name], f"add `{_import(name)}` to it, and {name}{SUFFIX} to its list")


def removed(text: str, name: str) -> str:
    """The file without a collector. Raises ConfigError."""
    rest = [each for each in names(text) if each != name]
    by_hand = f"take {name}{SUFFIX} out of its list, and its import away"
    elements = _list(text).elts
    index = next(index for index, element in enumerate(elements) if _name(element) == name)
    lines = _Bytes(text)
    if index + 1 < len(elements):
        edited = lines.cut(lines.start(elements[index]), lines.start(elements[index + 1]), "")
    elif index:
        edited = lines.cut(lines.end(elements[index - 1]), lines.end(elements[index]), "")
    else:
        comma = re.match(rb"\s*,?", lines.data[lines.end(elements[0]) :])
        assert comma is not None
        edited = lines.cut(lines.start(elements[0]), lines.end(elements[0]) + comma.end(), "")
    rows = edited.encode().splitlines(keepends=True)
    for node in ast.parse(text).body:
        if _module(node) == name and _imports_alone(node, name):
            assert node.end_lineno is not None
            rows[node.lineno - 1 : node.end_lineno] = []
            break
    edited = _checked(_joined(rows), rest, by_hand)
    if {name, name + SUFFIX} & _mentioned(edited):
        raise ConfigError(f"apis/__init__.py says more of {name} than its list does: {by_hand}")
    return edited


def assigns(text: str, name: str) -> bool:
    """Whether a collector's module makes the object that the list takes from it."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == name + SUFFIX for target in targets)


def _import(name: str) -> str:
    return f"from .{name} import {name}{SUFFIX}"


def _checked(text: str, wanted: Sequence[str], by_hand: str) -> str:
    try:
        right = names(text) == list(wanted)
    except ConfigError:
        right = False
    if not right:
        raise ConfigError(f"apis/__init__.py isn't written as cadd and crem can edit it: {by_hand}")
    return text


def _mentioned(text: str) -> set[str]:
    """Every name in it, however it is used."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names} | {*(node.module or "").split(".")}
    return found


def _joined(rows: Sequence[bytes]) -> str:
    return b"".join(rows).decode()


def _assignment(text: str) -> ast.Assign:
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise ConfigError(f"apis/__init__.py, line {error.lineno}: {error.msg}") from None
    for node in reversed(body):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            target = node.targets[0]
            if isinstance(target, ast.Name) and target.id == _LIST:
                return node
    raise ConfigError(f"apis/__init__.py has no list of its collectors: it should say {_LIST} = [...]")


def _list(text: str) -> ast.List:
    value = _assignment(text).value
    assert isinstance(value, ast.List)
    return value


def _name(element: ast.expr) -> str:
    """The collector of ``A_info``, or of ``A.A_info``."""
    name = element.attr if isinstance(element, ast.Attribute) else getattr(element, "id", "")
    return name.removesuffix(SUFFIX) if name else ast.unparse(element)


def _module(node: ast.stmt) -> str | None:
    """The module of apis/ that a statement imports from: ``from .A import …``, ``from apis.A import …``."""
    if not isinstance(node, ast.ImportFrom) or not node.module:
        return None
    if node.level == 1:
        return node.module
    return node.module.removeprefix(f"{_LIST}.") if node.module.startswith(f"{_LIST}.") else None


def _imports_alone(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] == [name + SUFFIX]


class _Bytes:
    """A text by the positions of its syntax tree, which count bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.expr) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def cut(self, start: int, end: int, between: str) -> str:
        return (self.data[:start] + between.encode() + self.data[end:]).decode()
