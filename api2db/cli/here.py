"""The project a command of ``api2db`` is about: its settings, its STORE, and what it declares."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec

import click

from api2db import settings as settings_file
from api2db.collector import Collector
from api2db.discovery import Broken, find_collectors
from api2db.errors import Api2dbError, ConfigError
from api2db.layout import Layout
from api2db.settings import Settings

PROGRAM = "main.py"

P = ParamSpec("P")


@dataclass(frozen=True)
class Here:
    """``folder`` is absolute; ``overrides`` are settings given on the command line."""

    folder: Path
    overrides: Mapping[str, object]

    @functools.cached_property
    def settings(self) -> Settings:
        """Raises ConfigError."""
        return settings_file.load(self.folder, self.overrides)

    @functools.cached_property
    def layout(self) -> Layout:
        """Raises StoreError if a newer version wrote STORE."""
        layout = Layout(self.settings.store)
        layout.check_format()
        return layout

    @property
    def is_program(self) -> bool:
        """Whether main.py itself says what runs, as for 1.0.1: there is ``apis/``, or no collectors/."""
        if not (self.folder / PROGRAM).is_file():
            return False
        return (self.folder / "apis" / "__init__.py").is_file() or not self.settings.collectors.is_dir()

    def enter(self) -> None:
        """Be where the project's program would be: its relative paths (``auth_path``) are against its folder."""
        if self.is_program:
            os.chdir(self.folder)

    @functools.cached_property
    def declared(self) -> tuple[list[Collector], list[Broken]]:
        """The project's collectors: those in collectors/; of a program, those that it hands to ``Run``.

        Imports the user's modules; one that fails is among the broken ones.
        """
        program = self.folder / PROGRAM
        if not self.is_program:
            found, broken = find_collectors(self.settings.collectors)
            return self._with_stores(found), broken
        from api2db.app.run import declared_by

        try:
            return self._with_stores(declared_by(program)), []
        except (Exception, SystemExit) as error:  # noqa: BLE001 - user code may raise anything
            cause = f"{type(error).__name__}: {error}"
            return [], [Broken(program, cause, cause)]

    def _with_stores(self, collectors: list[Collector]) -> list[Collector]:
        from api2db.store.places import with_stores

        return with_stores(collectors, self.settings)


def here(command: Callable[Concatenate[Here, P], int | None]) -> Callable[P, None]:
    """Make a function of a ``Here`` a command's body: it returns the exit status, our errors end it with status 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        context = click.get_current_context()
        # Settings that can't be read are said by the command, in its own way.
        with contextlib.suppress(ConfigError):
            context.obj.enter()
        try:
            status = command(context.obj, *args, **kwargs)
        except Api2dbError as error:
            raise click.ClickException(str(error)) from error
        context.exit(status or 0)

    return run
