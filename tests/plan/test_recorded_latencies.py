"""Latencies of earlier runs: drawn in order, matched by arm and object, refused where they are another's."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from savbench.arguments.declared import ConfigError
from savbench.plan.arms import plan_arms
from savbench.plan.recorded_latencies import RecordedLatencies, RecordedLatenciesError
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import header_line, row_line
from savbench.results.frame_rows import FrameRow
from savbench.results.rows import SummaryRow

TINY: dict[str, Any] = {"model": "sam2_tiny", "prompt": "mask", "imgsz": 1024, "autocast_dtype": "bfloat16", "attention": "auto"}


class Recorded:
    """A run's two files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[SummaryRow] = []
        self.frames: list[FrameRow] = []

    def add(self, arm: str, object_name: str, prompt_ms: float, tracked_ms: list[float], **changes: Any) -> None:
        row = SummaryRow(**{**TINY, "video": "v", "object": object_name, "arm_id": arm, "device_name": "Orin", **changes})
        self.rows.append(dataclasses.replace(row, first_frame_ms=prompt_ms, prompt_frame=4))
        self.frames += [FrameRow(arm, "v", object_name, 5 + number, latency_ms=ms) for number, ms in enumerate(tracked_ms)]

    def write(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, self.rows)))
        path = self.folder / "frames.csv"
        path.write_text(header_line(FrameRow) + "".join(map(row_line, self.frames)))
        return path


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    run = Recorded(tmp_path / "orin")
    run.add("tiny", "000", 50.0, [10.0, 11.0])
    run.add("tiny", "001", 60.0, [20.0, 21.0, 22.0])
    return run


def draw(path: Path, video: str, object_name: str, count: int, **changes: Any) -> list[float]:
    arm = RecordedLatencies(path).select({**TINY, **changes})
    return list(itertools.islice(arm.draw(video, object_name), count))


def test_an_object_has_its_own_latencies_in_order_and_then_again(recorded: Recorded) -> None:
    assert draw(recorded.write(), "v", "001", 6) == [60, 20, 21, 22, 20, 21]


def test_another_object_has_those_of_the_arm_from_its_first_object_on(recorded: Recorded) -> None:
    assert draw(recorded.write(), "w", "001", 8) == [50, 10, 11, 20, 21, 22, 10, 11]


def test_an_object_of_which_only_the_prompt_was_finished_goes_on_with_the_arm(recorded: Recorded) -> None:
    recorded.add("tiny", "002", 9000.0, [])
    assert draw(recorded.write(), "v", "002", 3) == [9000, 10, 11]


def test_a_failed_object_and_a_later_pass_tell_nothing(recorded: Recorded) -> None:
    recorded.add("tiny", "002", 1.0, [99.0], status="error", error="nan")
    recorded.frames += [FrameRow("tiny", "v", "000", 5, repeat=1, latency_ms=88.0)]
    assert draw(recorded.write(), "v", "000", 4) == [50, 10, 11, 10]
    assert draw(recorded.write(), "v", "002", 4) == [50, 10, 11, 20]


def test_streaming_csv_tells_the_prompted_frame_itself(recorded: Recorded) -> None:
    # the live prompt took 70 where the offline one took 50, and frame 6 was never seen
    recorded.frames = [FrameRow("tiny", "v", "000", frame, latency_ms=ms) for frame, ms in ((4, 70.0), (5, 12.0), (6, None), (7, 13.0))]
    assert draw(recorded.write(), "v", "000", 4) == [70, 12, 13, 12]


@pytest.mark.parametrize("change", [{"model": "edgetam"}, {"prompt": "points"}, {"imgsz": 512}, {"autocast_dtype": "float32"}])
def test_latencies_of_something_else_are_refused(recorded: Recorded, change: dict[str, Any]) -> None:
    with pytest.raises(RecordedLatenciesError, match=r"frames.csv: has no latencies of .*, only of sam2_tiny mask 1024 bfloat16; measure"):
        RecordedLatencies(recorded.write()).select({**TINY, **change})


def test_of_several_arms_the_one_that_agrees_in_more_is_taken_and_else_none(recorded: Recorded) -> None:
    recorded.add("manual", "000", 500.0, [100.0], attention="manual")
    path = recorded.write()
    assert draw(path, "v", "000", 2) == [50, 10]
    assert draw(path, "v", "000", 2, attention="manual") == [500, 100]
    with pytest.raises(RecordedLatenciesError, match="2 of its arms are sam2_tiny mask 1024 bfloat16: tiny, manual; copy it"):
        RecordedLatencies(path).select({**TINY, "attention": "flash"})


def test_of_arms_in_several_runtimes_the_one_asked_for_serves(recorded: Recorded) -> None:
    recorded.add("graphs", "000", 300.0, [20.0], runtime="onnx")
    path = recorded.write()
    assert draw(path, "v", "000", 2, runtime="onnx") == [300, 20]


def test_a_single_arm_serves_another_attention_since_masks_are_computed_here(recorded: Recorded) -> None:
    assert draw(recorded.write(), "v", "000", 1, attention="math") == [50]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "summary.csv").unlink(), "no summary.csv beside it"),
        (lambda folder: (folder / "frames.csv").unlink(), "frames.csv: No such file"),
        (lambda folder: (folder / "frames.csv").write_text("a,b\n1,2\n"), "no column arm_id"),
        (
            lambda folder: (folder / "frames.csv").write_text((folder / "frames.csv").read_text().replace("10.0", "-10.0")),
            r"frames.csv:2: column latency_ms: '-10.0' is not a time",
        ),
    ],
)
def test_what_is_wrong_with_the_file_is_said(recorded: Recorded, spoil: Any, message: str) -> None:
    path = recorded.write()
    spoil(recorded.folder)
    with pytest.raises(RecordedLatenciesError, match=message):
        RecordedLatencies(path)


def config(**changes: Any) -> RunConfig:
    return RunConfig(**{"split_dir": Path("/s"), "models": ("sam2_tiny_mask",), **changes})


def test_arms_are_told_apart_by_rate_and_latencies_and_keep_their_ids_without(recorded: Recorded) -> None:
    path = recorded.write()
    plain = plan_arms(config(), "s")[0].arm_id
    live = plan_arms(config(realtime_fps=24.0), "s")[0].arm_id
    simulated = plan_arms(config(realtime_fps=24.0, realtime_from=path), "s")[0].arm_id
    recorded.folder.rename(moved := recorded.folder.with_name("moved"))
    assert plan_arms(config(realtime_fps=24.0, realtime_from=moved / "frames.csv"), "s")[0].arm_id == simulated
    (moved / "frames.csv").write_text((moved / "frames.csv").read_text().replace("10.0", "12.0"))
    slower = plan_arms(config(realtime_fps=24.0, realtime_from=moved / "frames.csv"), "s")[0].arm_id
    assert len({plain, live, simulated, slower, plan_arms(config(realtime_fps=12.0), "s")[0].arm_id}) == 5


def test_bad_settings_are_refused_before_anything_runs(recorded: Recorded) -> None:
    with pytest.raises(ConfigError, match=r"--realtime 0: use 0\.01 to 10000 frames per second"):
        config(realtime_fps=0.0)
    with pytest.raises(ConfigError, match="one object at a time"):
        config(realtime_fps=24.0, joint_objects=True)
    with pytest.raises(ConfigError, match="works only with --realtime"):
        config(realtime_from=Path("frames.csv"))
    with pytest.raises(ConfigError, match="has no latencies of edgetam mask"):
        plan_arms(config(realtime_fps=24.0, realtime_from=recorded.write(), models=("edgetam_mask",)), "s")
    for path in ("/nowhere/frames.csv", "/"):
        with pytest.raises(ConfigError, match=r"no summary\.csv"):
            plan_arms(config(realtime_fps=24.0, realtime_from=Path(path)), "s")


def test_with_keyframes_every_kth_frame_has_the_latency_of_a_key_frame(recorded: Recorded) -> None:
    recorded.add("skipping", "000", 50.0, [1.0, 40.0, 2.0, 41.0, 3.0], keyframe="2:flow")
    recorded.add("skipping", "001", 60.0, [4.0], keyframe="2:flow")
    path = recorded.write()
    assert draw(path, "v", "000", 8, keyframe="2:flow") == [50, 1, 40, 2, 41, 3, 40, 1]
    # an object without a key frame, and one that was not measured, have those of the arm
    assert draw(path, "v", "001", 6, keyframe="2:flow") == [60, 1, 40, 2, 41, 3]
    assert draw(path, "v", "002", 6, keyframe="2:flow") == [50, 1, 40, 2, 41, 3]
    assert draw(path, "v", "000", 4) == [50, 10, 11, 10], "of the arm whose model saw every frame"
    with pytest.raises(RecordedLatenciesError, match=r"no latencies of sam2_tiny mask 1024 bfloat16 4:hold"):
        draw(path, "v", "000", 1, keyframe="4:hold")


def test_a_recording_of_a_version_without_keyframes_is_one_of_every_frame(recorded: Recorded) -> None:
    path = recorded.write()
    summary = path.with_name("summary.csv")
    header, *lines = summary.read_text().splitlines()
    at = header.split(",").index("clip")
    summary.write_text("\n".join(",".join(cells[:at] + cells[at + 1 :]) for cells in (line.split(",") for line in (header, *lines))) + "\n")
    assert draw(path, "v", "000", 3) == [50, 10, 11]


def test_a_damaged_cell_is_named(recorded: Recorded) -> None:
    recorded.add("skipping", "000", 50.0, [1.0], keyframe="2:flow")
    path = recorded.write()
    summary = path.with_name("summary.csv")
    summary.write_text(summary.read_text().replace('{""keyframe""', '""keyframe""'))
    with pytest.raises(RecordedLatenciesError, match=r"summary.csv:4: column clip: .* is not a JSON object; correct that cell"):
        RecordedLatencies(path)
