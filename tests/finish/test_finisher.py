"""The process that scores: what it answers, and what becomes of a row when it dies."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_split import TinySplit, rectangle

from savbench.data import annotation
from savbench.data.dataset import ClipError, open_split
from savbench.data.masks import CompressedMask, PackedMask
from savbench.data.png import read_mask
from savbench.finish.finisher import Finisher
from savbench.finish.scoring import FrameFacts, TruthMasks, score_object
from savbench.plan.arms import Arm, plan_arms
from savbench.plan.settings import RunConfig
from savbench.results.delivery import Delivery, EventWriter
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow
from savbench.supervise.finisher_process import FinisherProcess


def config(split: TinySplit, out_dir: Path, **changed: Any) -> RunConfig:
    return RunConfig(**{"split_dir": split.root, "models": ("static_mask",), "out_dir": out_dir, **changed})


def arm_of(settings: RunConfig) -> Arm:
    return plan_arms(settings, "sav_tiny")[0]


def event(arm: Arm, spool: Path, object_name: str = "000") -> dict[str, Any]:
    """A row of video alpha whose prediction never moves from where object 000 is on frame 0; its masks lie in `spool`."""
    row = SummaryRow(video="alpha", object=object_name, arm_id=arm.arm_id, video_height=24, video_width=32, prompt_frame=0, clip_frames=13)
    frames = [FrameRow(arm.arm_id, "alpha", object_name, frame, repeat) for repeat in (0, 1) for frame in range(1, 13)]
    pipe = io.StringIO()
    EventWriter(pipe, spool).send_row(row, frames, masks=dict.fromkeys((0, 4, 8, 12), PackedMask(rectangle(4, 2, 8, 8))))
    sent: dict[str, Any] = json.loads(pipe.getvalue())
    return sent


def test_a_row_is_scored_by_its_masks(tiny_split: TinySplit, tmp_path: Path) -> None:
    settings = config(tiny_split, tmp_path)
    (finished,) = Finisher(settings, "sav_tiny").finish(arm_of(settings), [Delivery.from_event(event(arm_of(settings), tmp_path))])
    assert finished.error == ""
    # Of the frames 0, 4, 8, 12 the inner two count; the square has moved by 4 of its 8 columns, then it is gone from there.
    assert (finished.row.J, finished.row.frames_scored) == ((4 / 12 + 0) / 2, 2)
    scored = {(frame.repeat, frame.frame): frame.J for frame in finished.frames if frame.J is not None}
    assert scored == {(0, 4): 4 / 12, (0, 8): 0}


def test_a_row_says_how_the_object_was_lost(tiny_split: TinySplit, tmp_path: Path) -> None:
    settings = config(tiny_split, tmp_path)
    (finished,) = Finisher(settings, "sav_tiny").finish(arm_of(settings), [Delivery.from_event(event(arm_of(settings), tmp_path))])
    # 32 and 0 common pixels, 96 and 128 in either: two frames, of which one is lost
    assert finished.row.failure == {
        "judged_frames": 2, "absent_frames": 0, "visible_precision": 1, "visible_recall": 1, "volumetric_J": pytest.approx(32 / 224),
        "nt2f": 1, "failures": 0, "recoveries": 0, "identity_switches": 0, "frames_on_others": 0,
    }  # fmt: skip
    told = {(frame.repeat, frame.frame): (frame.truth_px, frame.mask_px, frame.on_object) for frame in finished.frames if frame.truth_px}
    assert told == {(0, 4): (64, 64, ""), (0, 8): (64, 64, "")}


def test_a_row_has_the_attributes_of_its_object(tiny_split: TinySplit, tmp_path: Path) -> None:
    settings = config(tiny_split, tmp_path)
    (finished,) = Finisher(settings, "sav_tiny").finish(arm_of(settings), [Delivery.from_event(event(arm_of(settings), tmp_path))])
    found = finished.row.attributes
    assert found["size"] == pytest.approx((64 / (24 * 32)) ** 0.5)
    # a pixel a frame of an object of 8 pixels, at 24 frames a second
    assert found["speed"] == pytest.approx(3.0)
    assert (found["length"], found["scale"]) == (13, 1)
    assert "clutter" not in found  # too few pixels to tell colours from


def test_a_mask_on_another_object_of_the_clip_is_a_switch(tiny_split: TinySplit) -> None:
    """Object 001 is at rows 15..20, columns 20..24 of frames 4 and 8; the mask of 000 jumps there and stays."""
    alpha = open_split(tiny_split.root).video("alpha")
    jumped = CompressedMask.of(rectangle(15, 20, 6, 5))
    scored = score_object(alpha, "000", {4: jumped, 8: jumped}, (24, 32), TruthMasks())
    assert (scored.failure["identity_switches"], scored.failure["frames_on_others"]) == (1, 2)
    assert {facts.on_object for facts in scored.frames.values()} == {"001"}


def test_an_unreadable_mask_of_another_object_costs_this_one_nothing(tiny_split: TinySplit) -> None:
    tiny_split.mask("alpha", "001", 4).write_bytes(b"no png")
    jumped = CompressedMask.of(rectangle(15, 20, 6, 5))
    scored = score_object(open_split(tiny_split.root).video("alpha"), "000", {4: jumped, 8: jumped}, (24, 32), TruthMasks())
    assert [facts.on_object for facts in scored.frames.values()] == ["", "001"]


def test_the_prompted_frame_is_scored_but_not_judged(tiny_split: TinySplit) -> None:
    alpha = open_split(tiny_split.root).video("alpha")
    scored = score_object(alpha, "001", {}, (24, 32), TruthMasks(), prompt_frame=4)
    assert (len(scored.frames), scored.failure["judged_frames"]) == (2, 1)


def test_truth_is_decoded_once_for_all_arms(tiny_split: TinySplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, size_hw: tuple[int, int]) -> Any:
        read.append(path)
        return read_mask(path, size_hw)

    monkeypatch.setattr(annotation, "read_mask", counted)
    settings = config(tiny_split, tmp_path)
    finisher, arm = Finisher(settings, "sav_tiny"), arm_of(settings)
    (first,) = finisher.finish(arm, [Delivery.from_event(event(arm, tmp_path))])
    other = replace(arm, arm_id="other")
    (second,) = finisher.finish(other, [Delivery.from_event(event(other, tmp_path))])
    # scored are the inner two, the attributes cover all
    assert [path.stem for path in read if path.parent.name == "000"] == ["00004", "00008", "00000", "00012"]
    assert len(set(read)) == len(read)
    assert (first.row.J, first.row.F) == (second.row.J, second.row.F)


def test_remembered_truth_is_bounded(tiny_split: TinySplit) -> None:
    obj = open_split(tiny_split.root).video("alpha").object("000")
    one = CompressedMask.of(obj.annotations[0][1].read()).nbytes
    truths = TruthMasks(max_bytes=int(2.5 * one))
    for _ in range(2):
        for _, mask in obj.annotations:
            np.testing.assert_array_equal(truths.read(mask, (24, 32)), mask.read())
    assert len(truths._masks) == 2


def test_a_frame_without_prediction_is_an_empty_one(tiny_split: TinySplit) -> None:
    scored = score_object(open_split(tiny_split.root).video("alpha"), "001", {}, (24, 32), TruthMasks())
    assert scored.score is not None
    assert (scored.score.J, scored.score.frames_scored) == (0, 2)
    assert scored.frames == {4: FrameFacts(0, 0, 30, 0, ""), 8: FrameFacts(0, 0, 30, 0, "")}


def test_truth_that_cannot_be_read_is_told(tiny_split: TinySplit, tmp_path: Path) -> None:
    settings = config(tiny_split, tmp_path)
    tiny_split.mask("alpha", "000", 1 * 4).write_bytes(b"no png")
    (finished,) = Finisher(settings, "sav_tiny").finish(arm_of(settings), [Delivery.from_event(event(arm_of(settings), tmp_path))])
    assert "00004.png" in finished.error
    assert finished.row.J is None


def test_a_folder_that_cannot_be_written_is_told(tiny_split: TinySplit, tmp_path: Path) -> None:
    settings = config(tiny_split, tmp_path / "out", save_masks=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks").write_text("in the way")
    (finished,) = Finisher(settings, "sav_tiny").finish(arm_of(settings), [Delivery.from_event(event(arm_of(settings), tmp_path))])
    assert "could not be scored or written" in finished.error


@pytest.fixture
def process(tiny_split: TinySplit, tmp_path: Path) -> Iterator[FinisherProcess]:
    with FinisherProcess(config(tiny_split, tmp_path), "sav_tiny", tmp_path / "logs" / "finisher.log") as started:
        yield started


def submit(process: FinisherProcess, arm: Arm, spool: Path, object_name: str, **changed: Any) -> None:
    data = event(arm, spool, object_name)
    delivery = Delivery.from_event(data)
    for name, value in changed.items():
        setattr(delivery.row, name, value)
    process.submit(arm, [(delivery, data)])


def test_rows_come_back_in_order_with_what_was_added_to_them(tiny_split: TinySplit, tmp_path: Path, process: FinisherProcess) -> None:
    arm = arm_of(config(tiny_split, tmp_path))
    submit(process, arm, tmp_path / "spool", "000", power_mean_w=7.5)
    submit(process, arm, tmp_path / "spool", "001")
    first, second = process.collect(wait=True)
    assert (first.row.object, second.row.object) == ("000", "001")
    assert (first.row.power_mean_w, first.row.J) == (7.5, (4 / 12) / 2)
    assert list(process.collect()) == []


def scripted(tmp_path: Path, body: str) -> list[str]:
    """A finisher that runs `body` for a task, with `task` its number over all processes, and then answers as the real one."""
    script = tmp_path / "scripted_finisher.py"
    script.write_text(
        f"import os, signal, sys, time\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from savbench.finish import finisher\n"
        f"count = {str(tmp_path / 'tasks')!r}\n"
        "real = finisher.Finisher.finish\n"
        "def finish(self, arm, delivery):\n"
        "    task = len(open(count).read()) if os.path.exists(count) else 0\n"
        "    open(count, 'a').write('x')\n"
        f"    {body}\n"
        "    return real(self, arm, delivery)\n"
        "finisher.Finisher.finish = finish\n"
        "sys.exit(finisher.main())\n"
    )
    return [sys.executable, str(script)]


@pytest.mark.parametrize(
    ("body", "errors", "timeout_s"),
    [
        ("task == 1 and os.kill(os.getpid(), signal.SIGKILL)", ["", "", ""], 100.0),
        ("task in (1, 2) and os.kill(os.getpid(), signal.SIGKILL)", ["", "failed twice (it ended with exit status -9)", ""], 100.0),
        ("task == 1 and time.sleep(600)", ["", "", ""], 8.0),
        ("task in (1, 2) and 1 / 0", ["", "failed twice (it ended with exit status 1); see logs/finisher.log", ""], 100.0),
    ],
)
def test_a_scoring_process_that_dies_costs_one_row_at_most(
    tiny_split: TinySplit, tmp_path: Path, body: str, errors: list[str], timeout_s: float
) -> None:
    settings = config(tiny_split, tmp_path, timeout_s=timeout_s)
    log = tmp_path / "logs" / "finisher.log"
    with FinisherProcess(settings, "sav_tiny", log, scripted(tmp_path, body)) as process:
        for _ in errors:
            submit(process, arm_of(settings), tmp_path / "spool", "000")
        finished = list(process.collect(wait=True))
    assert [bool(one.error) for one in finished] == [bool(error) for error in errors]
    for one, error in zip(finished, errors, strict=True):
        assert error in one.error
        assert (None if error else (4 / 12) / 2) == one.row.J


def test_a_process_that_cannot_start_is_told(tiny_split: TinySplit, tmp_path: Path) -> None:
    settings = config(tiny_split, tmp_path)
    with FinisherProcess(settings, "sav_tiny", tmp_path / "finisher.log", [str(tmp_path / "nothing")]) as process:
        submit(process, arm_of(settings), tmp_path / "spool", "000")
        (finished,) = process.collect(wait=True)
    assert "No such file" in finished.error


def test_unreadable_truth_raises_where_it_is_asked_for(tiny_split: TinySplit) -> None:
    with pytest.raises(ClipError):
        TruthMasks().read(annotation.MaskFile(tiny_split.root, "nothing.png"), (24, 32))
