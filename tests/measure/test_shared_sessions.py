"""--joint_objects and --share_prompts end to end, with real workers."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scripted_worker
from tiny_split import TinySplit, rectangle

from runners import RUNNERS
from savbench.plan.arms import plan_arms
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.supervise import jobs, worker_process
from savbench.supervise import run as runs
from savbench.supervise.progress import Progress


def run(split: TinySplit, out_dir: Path, **settings: Any) -> tuple[int, list[SummaryRow]]:
    config = RunConfig(**{"split_dir": split.root, "models": ("static_mask",), "warmup_frames": 1, "out_dir": out_dir, **settings})
    said = io.StringIO()
    status = runs.run(config, ["jetson_benchmark.py"], Progress(said, said))
    return status, read_rows(SummaryRow, out_dir / "summary.csv")


def test_objects_of_a_video_are_tracked_together_with_the_same_scores(tiny_split: TinySplit, tmp_path: Path) -> None:
    status, joint = run(tiny_split, tmp_path / "joint", joint_objects=True)
    assert status == 0
    _, alone = run(tiny_split, tmp_path / "alone")
    assert [(row.video, row.object, row.J, row.F) for row in joint] == [(row.video, row.object, row.J, row.F) for row in alone]
    assert [row.session_tracks for row in joint] == [2, 2, None]
    assert all(row.arm_id != other.arm_id for row, other in zip(joint, alone, strict=True))


def test_a_shared_session_that_dies_costs_its_objects_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, scripted_worker.__file__])
    split = TinySplit(tmp_path / "split")
    for name in ("kill", "after"):
        split.write_video(name, 9, {"000": [rectangle(4, 2, 8, 8)] * 3, "001": [rectangle(14, 2, 4, 4)] * 3})
    (split.root / "val.txt").write_text("kill\nafter\n")
    status, rows = run(split, tmp_path / "run", models=("scripted_mask",), joint_objects=True)
    assert status == 1
    assert [(row.video, row.object, row.status) for row in rows] == [
        ("kill", "000", "killed"), ("kill", "001", "killed"), ("after", "000", "ok"), ("after", "001", "ok"),
    ]  # fmt: skip
    assert {row.J for row in rows[2:]} == {1.0}


def test_an_unusable_object_costs_its_own_row_alone(tiny_split: TinySplit, tmp_path: Path) -> None:
    tiny_split.mask("alpha", "000", 0).write_bytes(b"no png")
    status, rows = run(tiny_split, tmp_path / "run", joint_objects=True)
    assert status == 1
    assert [(row.video, row.object, row.status) for row in rows] == [
        ("alpha", "000", "error"), ("alpha", "001", "ok"), ("beta", "000", "ok"),
    ]  # fmt: skip
    assert "00000.png" in rows[0].error


@pytest.mark.slow
def test_prompts_of_a_model_share_sessions_and_masks_stay_the_same(
    tiny_split: TinySplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sam2", reason="needs the sam2 package")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings: dict[str, Any] = {
        "models": ("static_mask", "sam2_nano_points", "sam2_nano_bbox", "sam2_nano_mask"),
        "autocast_dtypes": ("float32",), "device": "cpu", "save_masks": True, "limit_videos": 1, "max_frames": 9,
    }  # fmt: skip
    status, shared = run(tiny_split, tmp_path / "shared", share_prompts=True, joint_objects=True, **settings)
    assert status == 0
    _, alone = run(tiny_split, tmp_path / "alone", **settings)
    together = [row for row in shared if row.model == "sam2_nano"]
    assert {row.shared for row in together} == {"2 objects x 3 prompts in one session, the image encoder once for all"}
    assert len(together) == 6
    arm_of = {(row.model, row.prompt): row.arm_id for row in alone}
    for row in shared:
        theirs = tmp_path / "alone" / "masks" / arm_of[row.model, row.prompt] / row.video / row.object
        ours = tmp_path / "shared" / "masks" / row.arm_id / row.video / row.object
        names = sorted(path.name for path in theirs.iterdir())
        assert names == sorted(path.name for path in ours.iterdir())
        assert all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def test_which_prompts_share_belongs_to_what_is_measured(tmp_path: Path) -> None:
    def ids(*models: str, share: bool) -> dict[str, str]:
        config = RunConfig(split_dir=tmp_path, models=models, share_prompts=share)
        return {arm.tag: arm.arm_id for arm in plan_arms(config, "val")}

    alone = ids("sam2_tiny_points", "sam2_tiny_mask", "edgetam_mask", share=False)
    two = ids("sam2_tiny_points", "sam2_tiny_mask", "edgetam_mask", share=True)
    three = ids("sam2_tiny_points", "sam2_tiny_bbox", "sam2_tiny_mask", share=True)
    assert len({alone["sam2_tiny_mask"], two["sam2_tiny_mask"], three["sam2_tiny_mask"]}) == 3
    # nothing to share with
    assert alone["edgetam_mask"] == two["edgetam_mask"]


def test_arms_that_differ_in_more_than_the_prompt_stay_apart(tmp_path: Path) -> None:
    config = RunConfig(
        split_dir=tmp_path, models=("sam2_tiny_points", "sam2_tiny_mask"), autocast_dtypes=("float32", "bfloat16"), share_prompts=True
    )
    planned = [jobs.PlannedArm(arm, None, None) for arm in plan_arms(config, "val")]
    groups = [[plan.arm for plan in group] for group in jobs._sharing(planned)]
    assert [[arm.prompt for arm in group] for group in groups] == [["points", "mask"]] * 2
    assert {len({replace(arm, prompt="", arm_id="") for arm in group}) for group in groups} == {1}
