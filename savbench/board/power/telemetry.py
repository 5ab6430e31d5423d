"""telemetry.csv: every reading of a run, with its arm and phase."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from savbench.results.csv_rows import ResultsError, header_line, row_line
from savbench.results.telemetry import TELEMETRY, Phase, TelemetryRow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from savbench.board.power.base import Reading

SETTLE_S = 1.0
"""Readings are written once they are this much older than the newest, since another process reports a new phase slightly late."""
SYNC_S = 10.0


@dataclass(frozen=True)
class Mark:
    """Arm, object and phase of readings from `t_s` on."""

    t_s: float
    phase: Phase = ""
    arm_id: str = ""
    video: str = ""
    object: str = ""


class TelemetryLog:
    """Appends readings to the file. The recorder's thread calls `add`; the thread that runs the arms calls `mark`.

    A row reaches the file within about a second and the disk within ten; an incomplete last row after a crash is cut off when the run is
        resumed. If the file can no longer be written, the run continues and `failed` says why.

    Args:
        path: the file, created if missing.
        source: the sampler's name.

    Raises:
        ResultsError: the file is from another version or cannot be written.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.failed = ""
        """Why writing stopped; empty while it continues."""
        self._source = source
        self._marks: list[Mark] = [Mark(float("-inf"))]
        self._waiting: list[Reading] = []
        self._lock = threading.Lock()
        self._synced_s = time.monotonic()
        try:
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror}); fix that or give another --out_dir") from error
        try:
            self._prepare(self._file, path)
        except BaseException:
            os.close(self._file)
            raise

    def mark(self, mark: Mark) -> None:
        """Assign readings from `mark.t_s` on. Marks must come in order of time."""
        with self._lock:
            self._marks.append(mark)

    def add(self, readings: Sequence[Reading]) -> None:
        """Add readings, oldest first, and write those older than `SETTLE_S`."""
        with self._lock:
            self._waiting += readings
            if self._waiting:
                self._write(self._waiting[-1].t_s - SETTLE_S)

    def close(self) -> None:
        """Write the remaining readings and close the file. May be called twice."""
        with self._lock:
            self._write(float("inf"))
            if self._file is not None:
                with contextlib.suppress(OSError):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = None

    def _write(self, until_s: float) -> None:
        settled = [reading for reading in self._waiting if reading.t_s <= until_s]
        self._waiting = self._waiting[len(settled) :]
        if not settled or self._file is None:
            return
        data = memoryview("".join(row_line(self._row(reading)) for reading in settled).encode())
        try:
            while data:
                data = data[os.write(self._file, data) :]
            if time.monotonic() - self._synced_s > SYNC_S:
                os.fsync(self._file)
                self._synced_s = time.monotonic()
        except OSError as error:
            self.failed = f"{TELEMETRY}: {error.strerror}"
            os.close(self._file)
            self._file = None

    def _row(self, reading: Reading) -> TelemetryRow:
        while len(self._marks) > 1 and self._marks[1].t_s <= reading.t_s:
            del self._marks[0]
        mark = self._marks[0]
        return TelemetryRow(
            time=datetime.datetime.fromtimestamp(reading.unix_s, datetime.timezone.utc).isoformat(timespec="milliseconds"),
            t_s=round(reading.t_s, 4),
            arm_id=mark.arm_id,
            video=mark.video,
            object=mark.object,
            phase=mark.phase,
            source=self._source,
            total_mw=_rounded(reading.total_mw),
            rails_mw="; ".join(f"{name}={value:.0f}" for name, value in sorted(reading.rails_mw.items())),
            gpu_load_pct=_rounded(reading.gpu_load_pct),
            gpu_clock_mhz=_rounded(reading.gpu_clock_khz, 1e-3),
            emc_load_pct=_rounded(reading.emc_pct),
            emc_clock_mhz=_rounded(reading.emc_khz, 1e-3),
            temperatures_c="; ".join(f"{name}={value:.1f}" for name, value in sorted(reading.temperatures_c.items())),
            ram_used_mib=_rounded(reading.ram_used_mib),
            swap_used_mib=_rounded(reading.swap_used_mib),
            fan_pct=_rounded(reading.fan_pct),
            nvpmodel=reading.nvpmodel or "",
            jetson_clocks={True: "on", False: "off", None: ""}[reading.jetson_clocks],
            alarms="; ".join(sorted(reading.alarms)),
        )

    @staticmethod
    def _prepare(file: int, path: Path) -> None:
        """Write the header of a new file; check the header of an existing one and cut off an incomplete last row."""
        header = header_line(TelemetryRow).encode()
        size = os.fstat(file).st_size
        if not header.startswith(os.pread(file, len(header), 0)):
            raise ResultsError(f"{path}:1: columns differ from this version's; move the file away or give another --out_dir")
        if size <= len(header):
            os.ftruncate(file, 0)
            os.write(file, header)
            return
        end = size
        while end > len(header) and os.pread(file, 1, end - 1) != b"\n":
            end -= 1
        os.ftruncate(file, end)


def _rounded(value: float | None, factor: float = 1.0) -> float | None:
    return None if value is None else round(value * factor, 1)
