"""Keeps exported graphs on disk, so that each is made once.

A folder holds the graphs of one model, under a name with a digest of all that they depend on. Its `manifest.json` says what that is, and
lists every file with its sha256, its size and the seconds that it took to make. A file counts only if it has that sha256: what an
interrupted or full disk has left is made again. A lock file lets one process make a file while others wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.base import RunnerError
from runners.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MANIFEST = "manifest.json"


def default_folder() -> Path:
    """Where graphs are kept unless --exported_dir names another folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "savbench" / "exported"


def digest_of(identity: Mapping[str, Any]) -> str:
    """12 hex digits for values that JSON can hold."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Kept:
    """A file of the cache."""

    path: Path
    made_s: float
    """Seconds that it took to make, in this process or an earlier one."""
    is_new: bool
    """Whether this process made it."""

    @property
    def size_mib(self) -> float:
        return self.path.stat().st_size / 2**20


class GraphFolder:
    """The files of one model."""

    def __init__(self, root: Path, name: str, identity: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """
        Args:
            root: the cache; made if missing.
            name: readable beginning of the folder's name.
            identity: all that the files depend on; values that JSON can hold.
            say: told what is being made.

        Raises:
            RunnerError: the folder cannot be written.
        """
        self.path = root / f"{name}-{digest_of(identity)}"
        self._identity = dict(identity)
        self._say = say
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunnerError(f"{self.path}: cannot be made ({error.strerror}); name another folder with --exported_dir") from error

    def file(self, name: str, make: Callable[[Path], None]) -> Kept:
        """The file of this name, made if it is not there or is damaged.

        Args:
            make: writes the file to the path that it is given.

        Raises:
            RunnerError: the file cannot be written.
        """
        path = self.path / name
        try:
            with self._locked():
                files = self._files()
                known = files.get(name)
                if known is not None and path.is_file() and _sha256(path) == known["sha256"]:
                    return Kept(path, known["seconds"], is_new=False)
                damaged = "" if known is None else ", whose copy is damaged"
                self._say(f"making {self.path.name}/{name}{damaged}")
                begun = time.perf_counter()
                partial = path.with_name(f".{name}")
                make(partial)
                seconds = time.perf_counter() - begun
                files[name] = {"sha256": _sha256(partial), "bytes": partial.stat().st_size, "seconds": round(seconds, 3)}
                partial.replace(path)
                self._write(files)
        except OSError as error:
            raise RunnerError(
                f"{path}: cannot be written ({error.strerror or error}); free the disk, or name another folder with --exported_dir"
            ) from error
        return Kept(path, seconds, is_new=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"waiting for another process that makes {self.path.name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _files(self) -> dict[str, Any]:
        """The manifest's list; empty if there is none that can be read."""
        try:
            return dict(json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))["files"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def _write(self, files: Mapping[str, Any]) -> None:
        partial = self.path / f".{MANIFEST}"
        partial.write_text(json.dumps({"identity": self._identity, "files": files}, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path / MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of(file)
