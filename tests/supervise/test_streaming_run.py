"""Streaming through the whole program: files, columns, a live run simulated from its own latencies, and what validate makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from csv_cells import change_value
from tiny_split import TinySplit, rectangle

import jetson_benchmark
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.frame_rows import StreamingRow
from savbench.results.rows import SummaryRow
from savbench.validate.run import validate

FIGURES = (
    "streaming_J", "streaming_F", "streaming_JandF", "streaming_fps", "frames_processed", "frames_dropped", "mask_age_p50_ms",
    "mask_age_p90_ms", "deadline_met",
)  # fmt: skip


def run(split: TinySplit, out_dir: Path, *arguments: str) -> list[SummaryRow]:
    """Flow at 240 frames a second, five milliseconds each, which it may keep up with or not."""
    command = [
        "--split_dir",
        str(split.root),
        "--models",
        "flow_mask",
        "--warmup_frames",
        "1",
        "--power",
        "none",
        "--out_dir",
        str(out_dir),
    ]
    assert jetson_benchmark.main([*command, *arguments]) == 0
    return read_rows(SummaryRow, out_dir / "summary.csv")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinySplit, Path]:
    """A split and a live run over it."""
    folder = tmp_path_factory.mktemp("streaming")
    split = TinySplit(folder / "sav_tiny")
    split.write_video("alpha", 13, {"000": [rectangle(4, 2 + 4 * step, 8, 8) for step in range(4)]})
    split.write_video("beta", 9, {"000": [rectangle(4, 2 + 4 * step, 8, 8) for step in range(3)]})
    (split.root / "sav_tiny.txt").write_text("alpha\nbeta\n")
    run(split, folder / "live", "--realtime", "48")
    return split, folder / "live"


def test_a_live_run_has_its_streaming_score_beside_the_offline_one(live: tuple[TinySplit, Path]) -> None:
    split, folder = live
    rows = read_rows(SummaryRow, folder / "summary.csv")
    for row, frames in zip(rows, (13, 9), strict=True):
        assert None not in [getattr(row, name) for name in (*FIGURES, "J", "F", "JandF", "latency_ms")]
        assert (row.status, row.camera_fps, row.streaming_clock, row.streaming_device) == ("ok", 48, "live", row.device_name)
        assert (row.frames_processed or 0) + (row.frames_dropped or 0) == frames - 1
    streaming = read_rows(StreamingRow, folder / "streaming.csv")
    assert [(row.video, row.frame) for row in streaming] == [("alpha", i) for i in range(13)] + [("beta", i) for i in range(9)]
    # of annotated frames 0, 4, 8, 12 and 0, 4, 8 the first and last are not scored
    assert [(row.video, row.frame) for row in streaming if row.J is not None] == [("alpha", 4), ("alpha", 8), ("beta", 4)]
    assert validate(folder, split.root).problems == []
    before = (folder / "streaming.csv").read_bytes()
    run(split, folder, "--realtime", "48")
    assert (folder / "streaming.csv").read_bytes() == before


def test_a_simulation_from_a_live_runs_own_latencies_agrees_with_it_to_the_last_bit(live: tuple[TinySplit, Path], tmp_path: Path) -> None:
    split, folder = live
    was = read_rows(SummaryRow, folder / "summary.csv")
    rows = run(split, tmp_path / "sim", "--realtime", "48", "--realtime_from", str(folder / "streaming.csv"))
    for row, before in zip(rows, was, strict=True):
        assert [getattr(row, name) for name in FIGURES] == [getattr(before, name) for name in FIGURES]
        assert row.streaming_clock == f"simulated {folder / 'streaming.csv'}"
        assert row.arm_id != before.arm_id
    times = [
        [dataclasses.replace(row, arm_id="") for row in read_rows(StreamingRow, of / "streaming.csv")] for of in (folder, tmp_path / "sim")
    ]
    assert times[0] == times[1]


def change(row: StreamingRow, **values: Any) -> StreamingRow:
    return dataclasses.replace(row, **values)


def only_prompts(rows: list[StreamingRow]) -> list[StreamingRow]:
    return [change(row, taken_ms=None, latency_ms=None, finished_ms=None) if row.frame else row for row in rows]


def late_last_frame(rows: list[StreamingRow]) -> list[StreamingRow]:
    return [change(row, taken_ms=2e3, finished_ms=2e3 + (row.latency_ms or 0)) if row.frame == 12 else row for row in rows]


def early_last_frame(rows: list[StreamingRow]) -> list[StreamingRow]:
    """The clip's last frame is known right after the prompt, and nothing else was seen."""
    first, *others, last = [row for row in rows if row.video == "alpha"]
    unseen = [change(row, taken_ms=None, latency_ms=None, finished_ms=None) for row in others]
    known = [change(row, taken_ms=0.0, latency_ms=0.05, finished_ms=0.05) for row in (first, last)]
    return [known[0], *unseen, known[1], *(row for row in rows if row.video != "alpha")]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda rows: [change(rows[0], arrived_ms=1.0), *rows[1:]], "arrived_ms is not its position"),
        (lambda rows: [change(rows[0], latency_ms=1e6), *rows[1:]], "finished_ms is not taken_ms + latency_ms"),
        (lambda rows: [rows[0], change(rows[1], known_frame=9), *rows[2:]], "known_frame is not the newest"),
        (lambda rows: [rows[0], change(rows[1], mask_age_ms=9e9), *rows[2:]], "mask_age_ms is not the time"),
        (lambda rows: [change(row, J=0.123) if row.J is not None else row for row in rows], "streaming_J"),
        (only_prompts, "frames_processed"),
        (lambda rows: [row for row in rows if row.video == "alpha"], "no frames of flow_mask"),
        (lambda rows: [*rows, change(rows[0], video="gamma")], "frames of 1 objects without a row"),
        (late_last_frame, "not taken when"),
        (lambda rows: [rows[0], change(rows[1], latency_ms=-5.0, finished_ms=-1.0), *rows[2:]], "a time is negative"),
        (early_last_frame, "before the frame that it was computed from arrived"),
        (lambda rows: [change(row, finished_ms=None) for row in rows], "are partly missing"),
        (lambda rows: [change(row, frame=None) for row in rows], "frame is missing"),
        (lambda rows: [change(row, frame=3) for row in rows], "frame is not above the one before it"),
    ],
)
def test_validate_sees_times_and_figures_that_do_not_follow(
    live: tuple[TinySplit, Path], tmp_path: Path, spoil: Callable[[list[StreamingRow]], list[StreamingRow]], problem: str
) -> None:
    split, folder = live
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    rows = spoil(read_rows(StreamingRow, folder / "streaming.csv"))
    (tmp_path / "streaming.csv").write_text(header_line(StreamingRow) + "".join(map(row_line, rows)))
    assert any(problem in said for said in validate(tmp_path, split.root).problems)


@pytest.mark.parametrize("rate", ["0.0", "-24.0"])
def test_validate_sees_a_rate_that_no_camera_has(live: tuple[TinySplit, Path], tmp_path: Path, rate: str) -> None:
    split, folder = live
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    change_value(tmp_path / "summary.csv", 2, "camera_fps", rate)
    assert any("is not above 0" in said for said in validate(tmp_path, split.root).problems)


def test_frames_of_an_object_that_was_cut_off_are_dropped(live: tuple[TinySplit, Path], tmp_path: Path) -> None:
    split, folder = live
    for name in ("run.json", "summary.csv", "frames.csv", "streaming.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    lines = (tmp_path / "summary.csv").read_text().splitlines(keepends=True)
    (tmp_path / "summary.csv").write_text("".join(lines[:2]))
    with (tmp_path / "streaming.csv").open("a") as file:
        file.write("half a line")
    rows = run(split, tmp_path, "--realtime", "48")
    assert [row.video for row in rows] == ["alpha", "beta"]
    assert len(read_rows(StreamingRow, tmp_path / "streaming.csv")) == 13 + 9
    assert validate(tmp_path, split.root).problems == []
