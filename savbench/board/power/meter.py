"""Readings of an external power meter, whose logger appends them to a CSV file, with the board's own state beside them.

The file has a header with the columns `time` and `watts`; others are ignored. `time` is in seconds since 1970 UTC, or ISO 8601 with a zone.
It must be the time of this machine's clock: log on this machine, or keep both clocks with NTP. Only rows appended during the run are read.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import math
import re
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from savbench.board.power.base import PowerError, Reading, Scope, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from savbench.board.power.base import Sampler

AHEAD_S = 1.0
"""A row may be this much ahead of this machine's clock: some loggers round the time up."""
STALE_S = 10.0
STALE_INTERVALS = 10
"""The logger counts as stopped if no row came for this many seconds and for so many of its intervals."""
LAST_ROWS = 20
"""Rows before the run that the interval is taken from."""


@dataclass(frozen=True)
class _Row:
    unix_s: float
    watts: float


class MeterSampler:
    """Follows the file as it grows.

    Args:
        path: the file.
        board: source of temperature, clocks, modes and rails, and of a total to compare with; closed with this one. None: the meter alone.
        now: replaces the clocks; for tests.

    Raises:
        PowerError: the file cannot be read, is no such file, or is not being written; the message says what to do.
    """

    name = "csv"
    scope: Scope = "module"

    def __init__(self, path: Path, board: Sampler | None = None, now: Callable[[], Stamp] = Stamp.now) -> None:
        self._path = path
        self._board = board
        self._now = now
        self.interval_s = 0.0
        self._states: list[Reading] = []
        self._state: Reading | None = None
        """Newest state of the board."""
        self._read_bytes = 0
        self._rest = b""
        """Beginning of a row that is not complete yet."""
        self._line = 0
        self._columns: tuple[int, int] | None = None
        self._newest: _Row | None = None
        rows = self._grown()
        if len(rows) < 2:
            raise PowerError(f"csv: {path} has fewer than two readings; start the meter's logger, wait for some rows, then run again")
        self._check_clock(self._now())
        last = rows[-LAST_ROWS:]
        self.interval_s = statistics.median(after.unix_s - before.unix_s for before, after in itertools.pairwise(last))

    def read(self) -> list[Reading]:
        """
        Raises:
            PowerError: the file became unreadable or wrong, the logger stopped, or the board's source failed.
        """
        if self._board is not None:
            self._states += self._board.read()
        rows = self._grown()
        now = self._now()
        self._check_clock(now)
        readings = [self._reading(row, now) for row in rows]
        if rows and self._states:
            self._state, self._states = self._states[-1], []
        return readings

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _reading(self, row: _Row, now: Stamp) -> Reading:
        """A row of the meter with the newest state of the board before it was read; alarms are those of all states since the last row."""
        stamp = now.earlier(now.unix_s - row.unix_s)
        states = self._states or ([] if self._state is None else [self._state])
        if not states:
            return Reading(t_s=stamp.t_s, unix_s=row.unix_s, total_mw=row.watts * 1e3, total_of=self._path.name)
        state = states[-1]
        rails = dict(state.rails_mw)
        if self._board is not None and state.total_mw is not None:
            rails[f"{self._board.name} total"] = state.total_mw
        return replace(
            state,
            t_s=stamp.t_s,
            unix_s=row.unix_s,
            total_mw=row.watts * 1e3,
            total_of=self._path.name,
            rails_mw=rails,
            jetson_clocks=False if any(one.jetson_clocks is False for one in states) else state.jetson_clocks,
            alarms=frozenset().union(*(one.alarms for one in states)),
        )

    def _check_clock(self, now: Stamp) -> None:
        """
        Raises:
            PowerError: the newest row is ahead of this machine's clock, or too old.
        """
        if self._newest is None:
            return
        age_s = now.unix_s - self._newest.unix_s
        if age_s < -AHEAD_S:
            raise PowerError(
                f"csv: {self._path} is {-age_s:.1f} s ahead of this machine's clock; log on this machine, or set both clocks by NTP"
            )
        if age_s > max(STALE_S, STALE_INTERVALS * self.interval_s):
            raise PowerError(
                f"csv: the newest row of {self._path} is {age_s:.0f} s old; start the meter's logger, or set both clocks by NTP"
            )

    def _grown(self) -> list[_Row]:
        """The complete rows added since the last call.

        Raises:
            PowerError: the file cannot be read or is wrong.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
                size = file.tell()
                shrunk = size > file.seek(0, 2)
        except FileNotFoundError:
            raise PowerError(f"csv: {self._path} does not exist; start the meter's logger first, or correct the path") from None
        except OSError as error:
            raise PowerError(
                f"csv: {self._path} cannot be read ({error.strerror}); name the file that the meter's logger appends to"
            ) from None
        if shrunk:
            raise PowerError(f"csv: {self._path} became shorter; let the logger append to one file for the whole run")
        self._read_bytes = size
        *lines, self._rest = (self._rest + data).split(b"\n")
        rows = []
        for line in lines:
            self._line += 1
            text = line.decode("utf-8-sig", "replace").strip()
            if not text:
                continue
            fields = [field.strip() for field in next(csv.reader([text]))]
            if self._columns is None:
                self._columns = self._find_columns(fields)
                continue
            row = self._parse(fields, self._columns)
            if self._newest is not None and row.unix_s <= self._newest.unix_s:
                raise self._wrong("time does not increase; let one logger write to the file")
            self._newest = row
            rows.append(row)
        return rows

    def _find_columns(self, header: Sequence[str]) -> tuple[int, int]:
        names = [name.lower() for name in header]
        if "time" not in names or "watts" not in names:
            raise self._wrong(f"the header must have the columns time and watts, and has {', '.join(header)}")
        return names.index("time"), names.index("watts")

    def _parse(self, fields: Sequence[str], columns: tuple[int, int]) -> _Row:
        if len(fields) <= max(columns):
            raise self._wrong(f"has {len(fields)} fields; every row needs a time and watts")
        time, watts = (fields[column] for column in columns)
        try:
            power = float(watts)
        except ValueError:
            power = math.nan
        if not 0 <= power < math.inf:
            raise self._wrong(f"watts is {watts!r}; it must be a number from 0 on")
        return _Row(self._unix_s(time), power)

    def _unix_s(self, text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            pass
        else:
            if math.isfinite(seconds):
                return seconds
        try:
            # Python 3.10 understands neither a final Z nor fractions of other than 3 or 6 digits
            moment = datetime.datetime.fromisoformat(re.sub(r"\.(\d+)", lambda digits: f".{digits[1]:0<6.6}", re.sub("Z$", "+00:00", text)))
        except ValueError:
            what = f"time is {text!r}; it must be seconds since 1970, or ISO 8601 with a zone: 2026-01-31T12:00:00.500+00:00"
            raise self._wrong(what) from None
        if moment.tzinfo is None:
            raise self._wrong(f"time {text!r} has no zone; write {text}+00:00 if it is UTC")
        return moment.timestamp()

    def _wrong(self, what: str) -> PowerError:
        return PowerError(f"csv: {self._path}:{self._line}: {what}")
