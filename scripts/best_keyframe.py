#!/usr/bin/env python3
"""Name the best --keyframe of every model for a camera's rate: the highest streaming J&F among those that keep up.

.venv/bin/python scripts/best_keyframe.py results/keyframes_TIME/sweep

An arm keeps up if it drops no frame, not counting the last one of an object's clip, whose time ends with the clip. Frames that the model
does not see are cheap, so that a key frame may take longer than the camera's frame time: its mask is then late, which the streaming score
tells, and no frame is lost. Reads nothing but summary.csv and needs nothing but Python. Means are over the objects that are ok under every
keyframe of a model at that rate; with a live clock, rows whose validity is not ok are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SUMMARY = "summary.csv"
NAMING = ("model", "prompt", "autocast_dtype", "imgsz", "attention")
HEADER = ("keyframe", "J&F", "key ms", "between ms", "streaming J&F", "dropped", "keeps up")
BLIND = "*"
Row = dict[str, str]


class NothingStreamedError(ValueError):
    """There is nothing to choose from; the message says what to run."""


@dataclass(frozen=True)
class Choice:
    """One keyframe of a model at a camera's rate; means over objects."""

    keyframe: str
    offline: float
    key_ms: float
    between_ms: float | None
    streaming: float
    dropped: int
    """Frames of all objects."""
    frames: int
    """Frames of all objects that arrived after the prompt."""
    objects: int
    is_blind: bool
    """Whether all scored frames are key frames, so that the offline score says nothing of those between."""

    @property
    def keeps_up(self) -> bool:
        return self.dropped <= self.objects

    def cells(self) -> tuple[str, ...]:
        between = "" if self.between_ms is None else f"{self.between_ms:.1f}"
        dropped = f"{self.dropped} of {self.frames}"
        yes = "yes" if self.keeps_up else "no"
        return (
            self.keyframe,
            f"{self.offline:.3f}{BLIND if self.is_blind else ''}",
            f"{self.key_ms:.1f}",
            between,
            f"{self.streaming:.3f}",
            dropped,
            yes,
        )


def read_choices(path: Path) -> dict[tuple[str, float], list[Choice]]:
    """The keyframes by model and camera rate.

    Raises:
        NothingStreamedError: no valid row was streamed, or no object is common to the keyframes of a model.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("status") == "ok" and row.get("streaming_JandF")]
    groups: dict[tuple[str, float], dict[str, dict[tuple[str, str], Row]]] = {}
    for row in map(_opened, rows):
        if row["streaming_clock"] != "live" or row["validity"] in ("", "ok"):
            model = " ".join(row[name] for name in NAMING if row[name] not in ("", "none", "auto"))
            arms = groups.setdefault((model, float(row["camera_fps"])), {})
            of_arm = arms.setdefault(row.get("keyframe") or "1", {})
            if of_arm.setdefault((row["video"], row["object"]), row) is not row:
                raise NothingStreamedError(
                    f"{path}: two rows of {model} with keyframe {row.get('keyframe') or 1} for {row['video']}/{row['object']} at "
                    f"{row['camera_fps']} FPS; give a run whose arms differ only in the keyframe"
                )
    if not groups:
        raise NothingStreamedError(
            f"{path}: no valid row has a streaming_JandF; run scripts/sweep.sh keyframes, or give --keyframe and --realtime"
        )
    return {of: [_choice(keyframe, arms, of) for keyframe in arms] for of, arms in groups.items()}


def _opened(row: Row) -> Row:
    return row | {name: value for cell in ("streaming", "clip") if row.get(cell) for name, value in json.loads(row[cell]).items()}


def _choice(keyframe: str, arms: dict[str, dict[tuple[str, str], Row]], of: tuple[str, float]) -> Choice:
    common = set.intersection(*map(set, arms.values()))
    if not common:
        raise NothingStreamedError(f"{of[0]} at {of[1]:g} FPS: no object is ok under every keyframe; run what is missing first")
    rows = [arms[keyframe][key] for key in sorted(common)]

    def mean(name: str) -> float | None:
        values = [float(row[name]) for row in rows if row.get(name) not in (None, "")]
        return statistics.fmean(values) if values else None

    key_ms = mean("key_latency_p50_ms")
    return Choice(
        keyframe,
        mean("JandF") or 0.0,
        (mean("latency_p50_ms") or 0.0) if key_ms is None else key_ms,
        mean("between_latency_p50_ms"),
        mean("streaming_JandF") or 0.0,
        sum(int(row.get("frames_dropped") or 0) for row in rows),
        sum(int(row.get("frames_dropped") or 0) + int(row.get("frames_processed") or 0) for row in rows),
        len(rows),
        all(str(row.get("between_frames_scored")) == "0" for row in rows),
    )


def best(choices: Sequence[Choice]) -> Choice | None:
    """The highest streaming J&F among those that keep up, of equals the first; None if none keeps up."""
    return max((one for one in choices if one.keeps_up), key=lambda one: one.streaming, default=None)


def report(choices: Sequence[Choice], model: str, rate: float) -> str:
    """The table of a model at a rate, and the answer."""
    table = [HEADER, *(one.cells() for one in choices)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    found = best(choices)
    count = f"{choices[0].objects} object{'' if choices[0].objects == 1 else 's'}"
    if found is not None:
        answer = f"best for a camera of {rate:g} FPS: --keyframe {found.keyframe}, streaming J&F {found.streaming:.3f}"
    else:
        highest = max(choices, key=lambda one: one.streaming)
        answer = (
            f"none keeps up with a camera of {rate:g} FPS; highest streaming J&F {highest.streaming:.3f} with --keyframe {highest.keyframe}"
        )
    if any(one.is_blind for one in choices):
        lines.append(f"{BLIND} every scored frame is a key frame: the offline score says nothing of those between")
    return "\n".join([f"{model}, camera {rate:g} FPS, {count}", *lines, answer])


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table and the best keyframe of every model and rate. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Name the best --keyframe of every model for a camera's rate.")
    parser.add_argument("run", type=Path, help="folder of a run with --realtime and several --keyframe, or its summary.csv")
    args = parser.parse_args(argv)
    try:
        found = read_choices(args.run / SUMMARY if args.run.is_dir() else args.run)
    except (NothingStreamedError, OSError) as error:
        print(f"best_keyframe: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(report(choices, *of) for of, choices in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
