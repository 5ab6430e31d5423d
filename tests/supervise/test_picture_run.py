"""Runs over data sets with all objects of a frame in one picture: a video's objects are scored, saved and resumed together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_split import labels, save_picture, two_squares, write_davis, write_frames, write_meta
from PIL import Image
from scripted_run import run_rows
from tiny_split import TinySplit, rectangle

from savbench.finish.metrics import score_frame
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.rows import SummaryRow
from savbench.validate.run import validate

STATIC = {"models": ("static_mask",), "warmup_frames": 0}
FRAMES = 6


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """Object 1 moves by a pixel a frame, object 2 is at rest."""
    return write_davis(tmp_path / "data", {"bear": [two_squares(frame) for frame in range(FRAMES)]}, lists={"2017/val": ["bear"]})


def moved(frame: int) -> float:
    """J of object 1 where it was on frame 0."""
    return score_frame(rectangle(4, 2, 8, 8), rectangle(4, 2 + frame, 8, 8)).J


def test_davis_is_scored_saved_and_checked(davis: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, rows = run_rows(davis, out, **STATIC, save_masks=True)
    assert status == 0
    one, two = rows
    assert [(row.object, row.protocol, row.split, row.frames_scored, row.frames_annotated) for row in rows] == [
        ("1", "davis2017", "2017/val", FRAMES - 2, FRAMES), ("2", "davis2017", "2017/val", FRAMES - 2, FRAMES)
    ]  # fmt: skip
    assert pytest.approx(float(np.mean([moved(frame) for frame in range(1, FRAMES - 1)]))) == one.J
    assert (two.J, two.F) == (1, 1)
    folder = out / "masks" / one.arm_id / "bear"
    assert sorted(path.name for path in folder.iterdir()) == [f"{frame:05d}.png" for frame in range(FRAMES)]
    first = two_squares(0)
    first[first == 255] = 0
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.array(image), first)
    report = validate(out)
    assert report.problems == []
    assert "scores of 2 objects from their masks" in report.checked


def test_a_video_with_a_missing_object_runs_again_whole(davis: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    _, before = run_rows(davis, out, **STATIC)
    (out / "summary.csv").write_text(header_line(SummaryRow) + row_line(before[1]))
    status, after = run_rows(davis, out, **STATIC)
    assert status == 0
    assert [row.object for row in after] == ["1", "2"]
    assert after[1].started_at >= before[1].started_at
    assert after[1].latency_ms != before[1].latency_ms
    _, again = run_rows(davis, out, **STATIC)
    assert again == after


def test_overlapping_objects_of_sav_can_be_scored_in_one_picture(tmp_path: Path) -> None:
    """Object 001 lies within 000 on frame 0 and beside it later: in one picture nothing is left of its prediction."""
    split = TinySplit(tmp_path / "data")
    inner = [rectangle(6, 4, 4, 4), *[rectangle(15, 20, 4, 4)] * 2]
    split.write_video("clip", 9, {"000": [rectangle(4, 2, 8, 8)] * 3, "001": inner})
    (split.root / "val.txt").write_text("clip\n")
    _, (alone_outer, alone_inner) = run_rows(split.root, tmp_path / "alone", **STATIC)
    _, (outer, inner_row) = run_rows(split.root, tmp_path / "together", **STATIC, protocol="davis2017", save_masks=True)
    assert (alone_outer.J, alone_inner.J, outer.J, inner_row.J) == (1, 0, 1, 0)
    assert (alone_outer.protocol, outer.protocol) == ("sav", "davis2017")
    assert alone_outer.arm_id != outer.arm_id
    saved = tmp_path / "together" / "masks" / outer.arm_id / "clip" / "001" / "00004.png"
    assert not np.array(Image.open(saved)).any()
    assert validate(tmp_path / "together").problems == []


def test_a_validation_split_runs_without_scores_and_saves_what_its_server_takes(tmp_path: Path) -> None:
    """Object 2 begins on frame 20; only the pictures to prompt with are there."""
    root, numbers = tmp_path / "valid", range(0, 50, 5)
    write_frames(root / "JPEGImages" / "clip", numbers)
    for number, picture in ((0, labels((1, rectangle(4, 2, 8, 8)))), (20, labels((2, rectangle(15, 20, 6, 5))))):
        path = root / "Annotations" / "clip" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    names = [f"{number:05d}" for number in numbers]
    write_meta(root, {"clip": {"objects": {"1": {"frames": names}, "2": {"frames": names[4:]}}}})
    out = tmp_path / "run"
    status, rows = run_rows(root, out, **STATIC, save_masks=True)
    assert status == 0
    assert [(row.object, row.prompt_frame, row.frames, row.J, row.frames_scored) for row in rows] == [
        ("1", 0, 9, None, 0),
        ("2", 4, 5, None, 0),
    ]
    pictures = {path.stem: set(np.unique(np.array(Image.open(path)))) for path in (out / "masks" / rows[0].arm_id / "clip").iterdir()}
    assert pictures == {name: {0, 1} if name < "00020" else {0, 1, 2} for name in names}
    assert validate(out).problems == []


def test_a_defect_of_one_object_leaves_the_others_scored(tmp_path: Path) -> None:
    videos = {"bear": [two_squares(frame) for frame in range(FRAMES)]}
    for picture in videos["bear"][:FRAMES]:
        picture[20, 1] = 3  # of a single pixel, which no box can hold in the next
    root = write_davis(tmp_path / "data", videos, lists={})
    (root / "Annotations" / "480p" / "bear" / "00003.png").write_bytes(b"")
    status, rows = run_rows(root, tmp_path / "run", **STATIC)
    assert status == 1
    assert {row.status for row in rows} == {"error"}
    assert all("00003.png: unreadable mask (the file is empty)" in row.error for row in rows)
    assert [row.object for row in read_rows(SummaryRow, tmp_path / "run" / "summary.csv")] == ["1", "2", "3"]


def test_clips_without_truth_have_times_and_masks_and_no_scores(tmp_path: Path) -> None:
    folder, out = tmp_path / "videos", tmp_path / "run"
    write_frames(folder / "walk", range(FRAMES))
    write_frames(folder / "run", range(FRAMES))
    save_picture(folder / "walk.png", two_squares(0))
    status, rows = run_rows(folder, out, **STATIC, layout="clips", click=(5, 5), save_masks=True)
    assert status == 1
    clicked, one, two = rows
    assert (clicked.video, clicked.object, clicked.status) == ("run", "1", "error")
    assert "--click on run: has points only; run MODEL_points" in clicked.error
    for row in (one, two):
        assert (row.video, row.status, row.frames, row.J, row.frames_scored) == ("walk", "ok", FRAMES - 1, None, 0)
        assert row.latency_ms is not None
    assert len(list((out / "masks" / one.arm_id / "walk").iterdir())) == FRAMES
    assert validate(out).problems == []
