"""Manage the folder of a run: one writer at a time, durable appends, repair after a crash.

summary.csv records which objects are done. The frames of an object are appended to frames.csv before its summary row, so frames without a
summary row belong to an interrupted object and are dropped when the run resumes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runners.text import one_line
from savbench.arguments.declared import identifying
from savbench.arguments.errors import UserError
from savbench.plan.config_file import config_text
from savbench.results.csv_rows import ResultsError, header_line, read_rows, row_line
from savbench.results.frame_rows import FrameRow, StreamingRow
from savbench.results.rows import SummaryRow
from savbench.results.run_lock import LockedError, RunLock
from savbench.results.schema import Row
from savbench.results.spool import SPOOL, SpoolError, write_bytes
from savbench.results.sustained import SUSTAINED, SustainedRow
from savbench.results.systems import whole_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from savbench.plan.settings import RunConfig

SUMMARY = "summary.csv"
FRAMES = "frames.csv"
STREAMING = "streaming.csv"
RUN = "run.json"
CONFIG = "config.toml"
LOGS = "logs"
ENVIRONMENT = "environment.json"


Framed = TypeVar("Framed", FrameRow, StreamingRow)


class RunFolderError(UserError, RuntimeError):
    """The folder cannot be used or written; the message says what to do."""


def choose_out_dir(config: RunConfig, root: Path = Path("results")) -> tuple[Path, bool]:
    """Choose the folder if --out_dir is not given: an unfinished run of the same command under `root`, else a new one named by the time.

    Returns:
        The folder, and whether it is resumed.
    """
    candidates = sorted((path.parent for path in root.glob(f"*/{RUN}")), key=lambda folder: folder.name, reverse=True)
    for folder in candidates:
        with contextlib.suppress(OSError, ValueError):
            run = _read_json(folder / RUN)
            if run.get("fingerprint") == fingerprint(config) and not run.get("complete", True):
                return folder, True
    name = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = root / name
    for number in range(2, 1000):
        if not folder.exists():
            break
        folder = root / f"{name}_{number}"
    return folder, False


def rows_in(path: Path) -> list[SummaryRow]:
    """Rows of the run in a folder, without opening it; none if there is no run.

    Raises:
        RunFolderError: the file cannot be read or is damaged.
    """
    if not (path / SUMMARY).exists():
        return []
    try:
        return read_rows(SummaryRow, path / SUMMARY, cut_off=True)
    except ResultsError as error:
        raise RunFolderError(str(error)) from error


def fingerprint(config: RunConfig) -> dict[str, Any]:
    """Return the settings that identify a command: two commands with equal settings are the same run."""
    settings = identifying(config)
    settings["split_dir"] = str(config.split_dir.resolve())
    return settings


class RunFolder:
    """An open run. Use as a context manager; a second process that opens the same folder is refused.

    Attributes:
        courses: rows of sustained.csv by arm, including earlier invocations.
        done: summary rows by key (arm, video, object), including earlier invocations.
        run_id: identifies the run over all its invocations.
    """

    def __init__(self, path: Path, config: RunConfig, split_name: str) -> None:
        self.path = path
        self._config = config
        self._split_name = split_name
        self.done: dict[tuple[str, str, str], SummaryRow] = {}
        self._whole: set[tuple[str, str, str]] = set()
        """Keys of `done`, with the id of the whole arm instead of the part's."""
        self.courses: dict[str, list[SustainedRow]] = {}
        self.run_id = ""
        self.spool = path / SPOOL
        """Folder for masks waiting to be scored; emptied when the run begins and removed when it ends."""
        self._lock = RunLock(path)

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except LockedError as error:
            raise RunFolderError(str(error)) from error
        except OSError as error:
            raise RunFolderError(f"--out_dir {self.path}: {_why_not_usable(error, self.path)}") from error
        try:
            # Read and check everything before writing anything.
            self._identify()
            self._restore()
            self._write_run(complete=False)
            _replace(self.path / CONFIG, config_text(self._config))
            self._make_folder(LOGS)
            shutil.rmtree(self.spool, ignore_errors=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.spool, ignore_errors=True)
        self._lock.release()

    def has_row(self, arm_id: str, key: tuple[str, str]) -> bool:
        """Whether an object, (video, object), is done under an arm or a part of it; see `savbench.results.systems`."""
        return (whole_id(arm_id), *key) in self._whole

    def append(self, row: SummaryRow, frames: Iterable[FrameRow] = (), streaming: Iterable[StreamingRow] = ()) -> None:
        """Append the frames of an object, timed and streamed, then its row, each fsynced before this returns.

        Raises:
            RunFolderError: the file cannot be written, for example because the disk is full; a partial write is undone.
        """
        lines = "".join(map(row_line, frames))
        if lines:
            self._append(FRAMES, lines)
        streaming_lines = "".join(map(row_line, streaming))
        if streaming_lines:
            if not (self.path / STREAMING).exists():
                _replace(self.path / STREAMING, header_line(StreamingRow))
            self._append(STREAMING, streaming_lines)
        self._append(SUMMARY, row_line(row))
        self.done[row.key] = row
        self._whole.add((whole_id(row.arm_id), row.video, row.object))

    def spool_bytes(self, data: bytes) -> Path:
        """Write masks from another machine to a new file in `spool`; see `savbench.results.spool`. Raises as `append`."""
        try:
            return write_bytes(self.spool, data)
        except SpoolError as error:
            raise write_failed(Path(error.filename), error) from error

    def forget(self, condition: Callable[[SummaryRow], bool]) -> int:
        """Drop the rows that meet the condition, with their frames, so that they run again. Returns the number of dropped rows."""
        keep = {key: row for key, row in self.done.items() if not condition(row)}
        dropped = len(self.done) - len(keep)
        if dropped:
            self._rewrite(SUMMARY, SummaryRow, keep.values())
            self._take_over(keep.values())
            self._drop_orphan_frames()
        return dropped

    def append_to_course(self, row: SustainedRow) -> None:
        """Append a run to sustained.csv, fsynced before this returns. Raises as `append`."""
        if not (self.path / SUSTAINED).exists():
            _replace(self.path / SUSTAINED, header_line(SustainedRow))
        self._append(SUSTAINED, row_line(row))
        self.courses.setdefault(row.arm_id, []).append(row)

    def forget_course(self, arm_id: str) -> None:
        """Drop an arm's sustained rows, since a board that has cooled down cannot continue the course."""
        if self.courses.pop(arm_id, None):
            self._rewrite(SUSTAINED, SustainedRow, (row for rows in self.courses.values() for row in rows))

    def latencies(self) -> dict[tuple[str, str, str], list[float]]:
        """Return the frame latencies in ms of every object with status ok, by arm, video and object."""
        samples: dict[tuple[str, str, str], list[float]] = {}
        for frame in read_rows(FrameRow, self.path / FRAMES):
            if frame.latency_ms is not None and self.done[frame.key].status == "ok":
                samples.setdefault(frame.key, []).append(frame.latency_ms)
        return samples

    def mark(self, *, complete: bool) -> None:
        """Record in run.json whether the run is complete, for the next command."""
        self._write_run(complete)

    def write_environment(self, data: dict[str, Any]) -> None:
        """Replace environment.json atomically."""
        _replace(self.path / ENVIRONMENT, json.dumps(data, indent=2) + "\n")

    def read_environment(self) -> dict[str, Any]:
        """Read environment.json; empty if it is missing.

        Raises:
            RunFolderError: the file cannot be read or is damaged.
        """
        path = self.path / ENVIRONMENT
        try:
            data = _read_json(path)
            if not all(isinstance(invocation, dict) for invocation in data.get("invocations", [])):
                raise ValueError("invocations are no objects")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({error.strerror}); fix that or give another --out_dir") from error
        except (ValueError, TypeError) as error:
            raise RunFolderError(f"{path}: damaged ({one_line(str(error))}); move it away or give another --out_dir") from error
        return data

    def _identify(self) -> None:
        """Adopt the existing run, or begin a new one."""
        here = {"split_dir": str(self._config.split_dir.resolve()), "split_name": self._split_name}
        try:
            run = _read_json(self.path / RUN)
            self.run_id = str(run["run_id"])
            was = {name: run[name] for name in here}
        except FileNotFoundError:
            if (self.path / SUMMARY).exists():
                raise RunFolderError(f"{self.path}: has a {SUMMARY} but no {RUN}; give another --out_dir") from None
            self.run_id = uuid.uuid4().hex[:12]
        except OSError as error:
            raise RunFolderError(f"{self.path / RUN}: cannot be read ({error.strerror}); fix that or give another --out_dir") from error
        except (ValueError, KeyError) as error:
            raise RunFolderError(f"{self.path / RUN}: damaged ({one_line(str(error))}); give another --out_dir") from error
        else:
            if was != here:
                raise RunFolderError(
                    f"{self.path}: holds a run of split {was['split_name']} in {was['split_dir']}; give another --out_dir for this one"
                )

    def _write_run(self, complete: bool) -> None:
        run = {
            "run_id": self.run_id,
            "split_dir": str(self._config.split_dir.resolve()),
            "split_name": self._split_name,
            "fingerprint": fingerprint(self._config),
            "complete": complete,
        }
        _replace(self.path / RUN, json.dumps(run, indent=2) + "\n")

    def _restore(self) -> None:
        """Read and check all files, adopt their rows, then repair the files."""
        rows = self._read(SummaryRow, SUMMARY)
        frames = self._read(FrameRow, FRAMES)
        if frames and not rows and not _has_whole_line(self.path / SUMMARY):
            raise RunFolderError(f"{self.path / SUMMARY}: is gone, {FRAMES} beside it is not; put it back or give another --out_dir")
        streaming = self._read(StreamingRow, STREAMING) if (self.path / STREAMING).exists() else None
        courses = self._read(SustainedRow, SUSTAINED) if (self.path / SUSTAINED).exists() else None
        self.read_environment()
        self._take_over(rows)
        for run in courses or ():
            self.courses.setdefault(run.arm_id, []).append(run)
        self._put_in_order(SUMMARY, SummaryRow, rows, list(self.done.values()))
        self._put_in_order(FRAMES, FrameRow, frames, self._owned(frames))
        if streaming is not None:
            self._put_in_order(STREAMING, StreamingRow, streaming, self._owned(streaming))
        if courses is not None:
            self._put_in_order(SUSTAINED, SustainedRow, courses, courses)

    def _take_over(self, rows: Iterable[SummaryRow]) -> None:
        self.done = {row.key: row for row in rows}
        self._whole = {(whole_id(row.arm_id), row.video, row.object) for row in self.done.values()}

    def _read(self, schema: type[Row], name: str) -> list[Row]:
        """Read the complete rows of a file, none if it is missing, without writing."""
        if not (self.path / name).exists():
            return []
        try:
            return read_rows(schema, self.path / name, cut_off=True)
        except ResultsError as error:
            raise RunFolderError(str(error)) from error

    def _owned(self, frames: Sequence[Framed]) -> list[Framed]:
        """Return the frames of objects that have a summary row."""
        return [frame for frame in frames if frame.key in self.done]

    def _put_in_order(self, name: str, schema: type[Row], found: Sequence[Row], kept: Sequence[Row]) -> None:
        """Repair a file: keep its header and complete rows, ready for appending."""
        if len(kept) < len(found) or not _has_whole_line(self.path / name):
            self._rewrite(name, schema, kept)
        _cut_half_line(self.path / name)

    def _drop_orphan_frames(self) -> None:
        self._drop_orphans(FRAMES, FrameRow)
        if (self.path / STREAMING).exists():
            self._drop_orphans(STREAMING, StreamingRow)

    def _drop_orphans(self, name: str, schema: type[Framed]) -> None:
        frames = self._read(schema, name)
        self._put_in_order(name, schema, frames, self._owned(frames))

    def _make_folder(self, name: str) -> None:
        try:
            (self.path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.path / name}: {error.strerror}; move it away or give another --out_dir") from error

    def _rewrite(self, name: str, schema: type[Row], rows: Iterable[Row]) -> None:
        _replace(self.path / name, header_line(schema) + "".join(map(row_line, rows)))

    def _append(self, name: str, text: str) -> None:
        path = self.path / name
        data = memoryview(text.encode())
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise write_failed(path, error) from error
        try:
            before = os.fstat(descriptor).st_size
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise write_failed(path, error) from error
        finally:
            os.close(descriptor)


def _why_not_usable(error: OSError, folder: Path) -> str:
    """Why a folder cannot be made or written, and what to do."""
    path = Path(error.filename or folder)
    if path.is_symlink() and not path.exists():
        return f"{path} is a link to {path.readlink()}, which does not exist; make that folder, remove the link, or give another folder"
    if path.is_file():
        return f"{path} is a file; give a folder"
    return f"{error.strerror}; give a folder that can be written"


def write_failed(path: Path, error: OSError) -> RunFolderError:
    """Return the error for a file that cannot be written, for example because the disk is full."""
    remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fix that"
    return RunFolderError(f"{path}: {error.strerror}; {remedy} and give the same command again, it goes on where it stopped")


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file does not hold a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError("no object of JSON")
    return data


def _has_whole_line(path: Path) -> bool:
    try:
        return b"\n" in path.read_bytes()
    except FileNotFoundError:
        return False


def _cut_half_line(path: Path) -> None:
    """Cut off a partial last line left by a crash, and check that the file is writable."""
    try:
        with path.open("r+b") as file:
            data = file.read()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                file.truncate(end)
    except OSError as error:
        raise write_failed(path, error) from error


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise write_failed(path, error) from error
