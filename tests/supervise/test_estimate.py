"""What a run is expected to take: sums worked out by hand, where costs come from, and --plan itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import scripted_worker
from scripted_run import WORKER_COMMAND, config, make_split

from runners import RUNNERS
from savbench.arguments.declared import ConfigError
from savbench.plan.arms import Arm, plan_arms
from savbench.plan.settings import RunConfig
from savbench.results import environment
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.rows import SummaryRow
from savbench.supervise import run as runs
from savbench.supervise import worker_process
from savbench.supervise.estimate import Estimate
from savbench.supervise.progress import Progress

WORK = {("a", "000"): 100, ("a", "001"): 50, ("b", "000"): 50}
NANO = "NVIDIA Jetson Orin Nano Developer Kit"


@pytest.fixture
def _on_a_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "device_names", lambda: [NANO])
    monkeypatch.setattr(environment, "power_mode", lambda: {"name": "15W", "id": 0})


@pytest.fixture(autouse=True)
def _nowhere_special(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "device_names", list)
    monkeypatch.setattr(environment, "power_mode", lambda: None)


def settings(tmp_path: Path, **changes: Any) -> RunConfig:
    out_dir = tmp_path / "results" / "run"
    return RunConfig(**{"split_dir": tmp_path, "out_dir": out_dir, "models": ("sam2_tiny_mask",), "random_weights": True, **changes})


def row(arm: Arm, video: str = "a", name: str = "000", **changes: Any) -> SummaryRow:
    figures = {"latency_ms": 300.0, "frames": 99, "stage_wait_ms": 100.0, "setup_ms": 2500.0, "warmup_ms": 1500.0, "build_ms": 20_000.0}
    return SummaryRow(
        **{"video": video, "object": name, "model": arm.model, "prompt": arm.prompt, "arm_id": arm.arm_id, **figures, **changes}
    )


def seconds(estimate: Estimate) -> list[float | None]:
    return [line.seconds for line in estimate.lines]


def test_a_measured_arm_takes_its_build_its_objects_and_its_frames(tmp_path: Path) -> None:
    one = settings(tmp_path)
    arms = plan_arms(one, "sav_val")
    estimate = Estimate(one, arms, WORK, [row(arms[0])])
    # two objects of 50 frames are left: 20 s to build, 2 * 4 s to open and warm up, 100 * 0.4 s to track
    assert seconds(estimate) == [pytest.approx(20 + 8 + 40)]
    assert estimate.summary() == "about 68 s; 2 objects, 100 frames left in 1 arm"
    assert "measured here" in estimate.table()
    assert "(1 done)" in estimate.table()
    assert "not shown in 50 columns: from" in estimate.table(50)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"order": "interleaved", "models": ("sam2_tiny_mask", "static_mask")}, 2 * 20 + 12 + 80),
        ({"min_time_s": 600.0}, 20 + 12 + 600),
        ({"min_frames": 1000}, 20 + 12 + 400),
        ({"realtime_fps": 10.0}, 20 + 12 + 80 + 20),
        ({"sustained_minutes": 30.0}, 20 + 12 + 1800),
    ],
)
def test_what_makes_a_run_longer(tmp_path: Path, changes: dict[str, Any], expected: float) -> None:
    one = settings(tmp_path, **changes)
    arms = plan_arms(one, "sav_val")
    estimate = Estimate(one, arms, WORK, [row(arms[0], video="elsewhere")])
    assert seconds(estimate)[0] == pytest.approx(expected)


def test_a_row_of_a_shared_session_counts_its_share(tmp_path: Path) -> None:
    one = settings(tmp_path, joint_objects=True)
    arms = plan_arms(one, "sav_val")
    shared: dict[str, Any] = {"session_tracks": 4, "session_latency_ms": 700.0}
    assert seconds(Estimate(one, arms, WORK, [row(arms[0], "z", **shared)])) == [pytest.approx(20 + 3 * 1 + 200 * 0.2)]


def test_nothing_known_is_said_and_learned_after_the_first_clip(tmp_path: Path) -> None:
    one = settings(tmp_path, models=("sam2_tiny_mask", "static_mask"))
    arms = plan_arms(one, "sav_val")
    estimate = Estimate(one, arms, WORK, [])
    assert estimate.summary() == "time unknown until the first clip; 6 objects, 400 frames left in 2 arms"
    assert "--plan measure" in estimate.table()
    assert estimate.learn(row(arms[0], status="error", latency_ms=None)) == ""
    said = estimate.learn(row(arms[0], name="001"))
    assert said == (
        "after the first clip of sam2_tiny_mask: about 44 s and more: 1 arm unknown until the first clip; "
        "4 objects, 250 frames left in 2 arms"
    )
    assert estimate.learn(row(arms[0], "b")) == ""
    assert "about" in estimate.learn(row(arms[1]))
    for key in WORK:
        estimate.learn(row(arms[1], *key))
    assert estimate.summary() == "nothing is left to run in 2 arms"


@pytest.mark.usefixtures("_on_a_nano")
def test_a_reference_figure_of_this_board_stands_in_for_a_measurement(tmp_path: Path) -> None:
    one = settings(tmp_path, models=("sam2_tiny_mask", "edgetam_mask"), warmup_frames=5)
    estimate = Estimate(one, plan_arms(one, "sav_val"), WORK, [])
    tiny, edgetam = estimate.lines
    assert tiny.seconds == pytest.approx(0.433 * (200 + 3 * 5))
    assert tiny.cost is not None
    assert tiny.cost.source == "third-party reference, Orin Nano 15W"
    assert edgetam.seconds is None
    assert seconds(Estimate(settings(tmp_path, device="cpu"), plan_arms(one, "sav_val")[:1], WORK, [])) == [None]


@pytest.mark.usefixtures("_on_a_nano")
def test_rows_of_another_run_count_if_they_are_of_this_board_and_power_mode(tmp_path: Path) -> None:
    one = settings(tmp_path)
    arms = plan_arms(one, "sav_val")
    here = {"nvpmodel": "15W", "device_name": f"Orin ({NANO})"}

    def source_after(**changes: Any) -> str:
        path = tmp_path / "results" / "earlier" / "summary.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header_line(SummaryRow) + row_line(row(arms[0], **{**here, **changes})), encoding="utf-8")
        cost = Estimate(one, arms, WORK, []).lines[0].cost
        return "" if cost is None else cost.source

    assert source_after() == "measured in earlier"
    assert source_after(nvpmodel="MAXN_SUPER").startswith("third-party")
    assert source_after(device_name="Orin (NVIDIA Jetson AGX Orin Developer Kit)").startswith("third-party")
    assert source_after(arm_id="another").startswith("third-party")
    (tmp_path / "results" / "earlier" / "summary.csv").write_text(f"of an older version\n{arms[0].arm_id}\n", encoding="utf-8")
    assert Estimate(one, arms, WORK, []).lines[0].cost is not None, "a file that cannot be read is passed over"


def test_a_cluster_s_time_is_told_as_one_worker_s(tmp_path: Path) -> None:
    one = settings(tmp_path, executor="ray", power="none")
    arms = plan_arms(one, "sav_val")
    assert Estimate(one, arms, WORK, [row(arms[0])]).summary().startswith("about 68 s of one worker, shared by the cluster; 2 objects")


def test_a_disk_that_is_too_small_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = settings(tmp_path, save_overlays="all", save_masks=True)
    estimate = Estimate(one, plan_arms(one, "sav_val"), WORK, [])
    assert "overlays 8 MiB" in estimate.table()
    assert "NOT ENOUGH" not in estimate.table()
    few = settings(tmp_path, save_overlays="worst:1")
    assert "overlays 8 MiB" not in Estimate(few, plan_arms(few, "sav_val"), WORK, []).table()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 2**20})())
    assert "1 MiB free: NOT ENOUGH, give --out_dir on a larger disk" in estimate.table()


@pytest.fixture
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNNERS, "scripted", scripted_worker.SPEC)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", WORKER_COMMAND)


def say(settings: RunConfig) -> tuple[int, str]:
    said = io.StringIO()
    return runs.run(settings, ["jetson_benchmark.py"], Progress(said, said)), said.getvalue()


@pytest.mark.usefixtures("_scripted")
def test_plan_prints_and_leaves_nothing_behind(tmp_path: Path) -> None:
    status, said = say(config(make_split(tmp_path, {"a": 9, "b": 13}), tmp_path / "run", plan="estimate"))
    assert status == 0
    assert "scripted_mask        2      22  unknown  until its first clip" in said
    assert "disk: under 1 MiB (tables under 1 MiB" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_scripted")
def test_plan_measure_tracks_one_object_which_the_run_keeps(tmp_path: Path) -> None:
    split = make_split(tmp_path, ["a", "b", "c"])
    status, said = say(config(split, tmp_path / "run", plan="measure"))
    assert status == 0
    assert "after the first clip of scripted_mask: about" in said
    assert "(1 done)" in said
    assert [row.video for row in read_rows(SummaryRow, tmp_path / "run" / "summary.csv")] == ["a"]

    status, said = say(config(split, tmp_path / "run"))
    assert status == 0
    assert "2 objects, 18 frames left in 1 arm" in said
    assert [row.video for row in read_rows(SummaryRow, tmp_path / "run" / "summary.csv")] == ["a", "b", "c"]
    assert "nothing is left to run" in say(config(split, tmp_path / "run", plan="estimate"))[1]


def test_plan_measure_does_not_go_with_sustained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--plan measure: --sustained repeats"):
        settings(tmp_path, plan="measure", sustained_minutes=5.0)
