"""Packages that only a report needs, imported where one is drawn or written."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from savbench.arguments.errors import UserError

if TYPE_CHECKING:
    from types import ModuleType


class ReportError(UserError, RuntimeError):
    """The report cannot be written; the message says how to fix it."""


def require(module: str, package: str, what: str) -> ModuleType:
    """Import a package that only a report needs.

    Raises:
        ReportError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ReportError(
            f"{what} needs the Python package {package.split('>')[0]}: run scripts/setup.sh, or pip install '{package}' "
            f"(requirements-report.txt; {error})"
        ) from error
