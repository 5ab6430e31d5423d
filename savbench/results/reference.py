"""Published and own figures per board and model, to hold a run against: `results/reference/*.csv`, described in README.md there."""

from __future__ import annotations

import csv
import functools
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from savbench.data.csv_file import InputError

FOLDER = Path(__file__).resolve().parents[2] / "results" / "reference"

Figure = Literal["latency_ms", "fps", "JandF_percent"]
Origin = Literal["ours", "authors", "third-party"]


@dataclass(frozen=True)
class Reference:
    """One line: a figure of one model. Text as in summary.csv; empty if the source does not say it or it does not apply."""

    board: str
    """Words of the board's name; see `is_of`."""
    nvpmodel: str
    jetpack: str
    model: str
    imgsz: str
    autocast_dtype: str
    compile: str
    split: str
    figure: Figure
    value: float
    """ms per tracked frame, frames per second, or J&F in 0 to 100."""
    origin: Origin
    measured: str
    """How it was measured, and what the source leaves open."""
    source: str

    @property
    def is_speed(self) -> bool:
        return self.figure != "JandF_percent"

    @property
    def latency_ms(self) -> float:
        """Time of a tracked frame in ms. Only for figures of speed."""
        return self.value if self.figure == "latency_ms" else 1000 / self.value

    def is_of(self, board: str) -> bool:
        """Whether the line is about a board or GPU of this name, for example `NVIDIA Jetson Orin Nano Developer Kit`."""
        return bool(self.board) and re.search(rf"\b{re.escape(self.board)}\b", board, re.IGNORECASE) is not None

    def __str__(self) -> str:
        """`sam2_tiny, 1024 px, bfloat16, 15W: 433 ms per frame (third-party)`."""
        said = [self.model, f"{self.imgsz} px", self.autocast_dtype, self.nvpmodel, f"JetPack {self.jetpack}" if self.jetpack else ""]
        said.append("compiled" if self.compile not in ("", "off") else "")
        return f"{', '.join(filter(None, said))}: {self.shown} ({self.origin})"

    @property
    def shown(self) -> str:
        return {"latency_ms": f"{self.value:g} ms per frame", "fps": f"{self.value:g} FPS"}.get(self.figure, f"J&F {self.value:.1f}")


@functools.cache
def read_references(folder: Path = FOLDER) -> tuple[Reference, ...]:
    """All lines of all files, in the order of the files' names; none if there is no such folder.

    Raises:
        InputError: a line cannot be used; the message names file and line.
    """
    return tuple(line for path in sorted(folder.glob("*.csv")) for line in _read(path))


def speeds_of(board: str, folder: Path = FOLDER) -> list[Reference]:
    """Figures of speed of a board or GPU, those of the most exact name first.

    Raises:
        InputError: as `read_references`.
    """
    found = [line for line in read_references(folder) if line.is_speed and line.is_of(board)]
    return sorted(found, key=lambda line: -len(line.board))


def _read(path: Path) -> list[Reference]:
    names = [field.name for field in fields(Reference)]
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if list(reader.fieldnames or []) != names:
                raise InputError(f"{path}:1: the columns are not {','.join(names)}; see README.md beside it")
            return [_line(f"{path}:{reader.line_num}", cells) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); correct it, or restore it with git checkout") from error


def _line(where: str, cells: dict[str, str]) -> Reference:
    if None in cells or None in cells.values():
        raise InputError(f"{where}: has another number of cells than the header; correct that line")
    for name, allowed in (("figure", get_args(Figure)), ("origin", get_args(Origin))):
        if cells[name] not in allowed:
            raise InputError(f"{where}: {name} is {cells[name]!r}; use {' or '.join(allowed)}")
    for name in ("model", "measured", "source"):
        if not cells[name]:
            raise InputError(f"{where}: {name} is empty; a figure counts only with its model, how it was measured, and its source")
    try:
        value = float(cells["value"])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{where}: value is {cells['value']!r}; give a number above 0")
    return Reference(**{**cells, "value": value})  # type: ignore[arg-type]
