"""A lock that allows one run at a time in a folder.

It uses `flock`, which the kernel releases however a process ends. On file systems without `flock` (some NFS, Lustre and FUSE mounts) a file
names host and process instead. The file is replaced if it names a process of this host that has ended; for another host that is unknown.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any

LOCK, HOLDER = ".lock", ".lock.holder"


class LockedError(RuntimeError):
    """Another run holds the folder; the message says which and what to do."""


class RunLock:
    """The lock of an existing folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._holds_file = False

    def acquire(self) -> None:
        """
        Raises:
            LockedError: another run holds the folder. OSError: the folder cannot be written.
        """
        self._descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            has_flock = self._flock(self._descriptor)
            self._refuse_holder()
            if not has_flock:
                self._write_holder()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock. Does nothing if it is not held."""
        if self._holds_file:
            (self._folder / HOLDER).unlink(missing_ok=True)
            self._holds_file = False
        if self._descriptor is not None:
            os.close(self._descriptor)  # releases the flock
            self._descriptor = None

    def _flock(self, descriptor: int) -> bool:
        """Take the flock; False if the file system does not support it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"{self._folder}: another run is writing here; wait for it or give another --out_dir") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def _refuse_holder(self) -> None:
        """Refuse a folder that a run holds through the file; remove the file of a run that has ended."""
        path = self._folder / HOLDER
        try:
            holder = json.loads(path.read_text(encoding="utf-8"))
            host, pid, started = str(holder["host"]), int(holder["pid"]), holder["started"]
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            raise LockedError(f"{path}: damaged; remove it if no run is writing here, or give another --out_dir") from None
        if host == socket.gethostname() and _started(pid) != started:
            path.unlink(missing_ok=True)
            return
        raise LockedError(
            f"{self._folder}: a run is writing here, process {pid} on {host}; wait for it or give another --out_dir. "
            f"If that process is gone, remove {path}"
        )

    def _write_holder(self) -> None:
        path = self._folder / HOLDER
        holder: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:  # another run was faster
            self._refuse_holder()
            raise LockedError(f"{self._folder}: another run is starting here; give another --out_dir") from None
        self._holds_file = True
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(holder, file)


def _started(pid: int) -> str | None:
    """Start time of a process of this host in the kernel's clock ticks; None if there is no such process or /proc cannot be read."""
    with contextlib.suppress(OSError, IndexError):
        # the process name, in brackets, may contain any character
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return None
