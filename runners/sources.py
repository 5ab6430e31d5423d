"""Imports upstream's packages from a checkout or an installation, tells which one ran, and points Hydra at configurations.

SAM 2 and EdgeTAM both call their package `sam2`, so a process uses one of them, and the module that is imported says which.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.base import RunnerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import ModuleType


def import_package(name: str, builder: str, source_dir: Path | None, remedy: str) -> ModuleType:
    """Import the package, from `source_dir` if given, and check where it came from.

    Args:
        builder: its module that builds models, which is imported too.
        remedy: what to do where the package is missing.

    Raises:
        RunnerError: the package is not found, or another one of this name is already imported.
    """
    if source_dir is not None:
        if not (source_dir / name / f"{builder}.py").is_file():
            raise RunnerError(f"{source_dir}: not a checkout with a {name} package in it; clone it again or leave the option out")
        sys.path.insert(0, str(source_dir.resolve()))
    try:
        package = importlib.import_module(name)
        importlib.import_module(f"{name}.{builder}")
    except ModuleNotFoundError as error:
        raise RunnerError(f"cannot import {name} ({error}); {remedy}") from error
    origin = Path(package.__path__[0]).resolve()
    if source_dir is not None and origin.parent != source_dir.resolve():
        raise RunnerError(f"{name} was imported from {origin}, not from {source_dir}; each model family needs its own process")
    return package


@contextlib.contextmanager
def hydra_searches(initialize: Callable[..., AbstractContextManager[Any]], where: str) -> Iterator[None]:
    """Let Hydra find configurations in another place inside the block.

    On import, upstream's packages point Hydra at themselves unless another has done so, and Hydra searches only there: it rejects absolute
    paths and extra search paths in overrides.

    Args:
        initialize: `hydra.initialize_config_dir` or `hydra.initialize_config_module`.
        where: the folder or the module.
    """
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize(where, version_base="1.2"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def package_version(package: ModuleType, distributions: tuple[str, ...]) -> str:
    """Version of the installed distribution, or `checkout` and its commit if the package runs from its sources.

    Args:
        distributions: names under which the package may be installed.
    """
    origin = Path(package.__path__[0]).resolve()
    for name in distributions:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        # An editable installation is also a checkout: its distribution is elsewhere or beside the sources.
        if Path(str(distribution.locate_file(package.__name__))).resolve() == origin and not (origin.parent / ".git").exists():
            return distribution.version
    return f"checkout ({commit_of(origin.parent)})"


def commit_of(source_dir: Path) -> str:
    """`commit 0123456789ab`, with `and local changes` if tracked files differ; `commit unknown` outside a git checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(source_dir), *arguments], check=True, capture_output=True, text=True, timeout=30).stdout

    try:
        # Do not report the commit of an enclosing repository for an unpacked archive.
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != source_dir.resolve():
            return "commit unknown"
        changed = " and local changes" if git("status", "--porcelain", "--untracked-files=no").strip() else ""
        return f"commit {git('rev-parse', 'HEAD').strip()[:12]}{changed}"
    except (OSError, subprocess.SubprocessError):
        return "commit unknown"
