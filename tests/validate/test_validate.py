from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from csv_cells import change_value
from PIL import Image
from tiny_split import TinySplit

import jetson_benchmark
from savbench.data.annotation import Annotation
from savbench.data.csv_file import InputError
from savbench.data.dataset import open_split
from savbench.data.masks import CompressedMask, save_object_masks
from savbench.data.png import read_mask
from savbench.plan.protocols import SAV
from savbench.plan.settings import RunConfig
from savbench.results.csv_rows import header_line, read_rows, row_line
from savbench.results.failure_measures import JudgedFrame, failure_measures
from savbench.results.frame_rows import FrameRow
from savbench.results.latency import LatencySamples
from savbench.results.quantiles import row_values
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import RunFolder
from savbench.validate.masks import score_masks
from savbench.validate.run import validate

ARM = "static_mask-0"


@pytest.fixture
def run(tiny_split: TinySplit, tmp_path: Path) -> Path:
    """A run whose figures agree: video alpha, object 000 copied from its first mask, and a failed object."""
    config = RunConfig(split_dir=tiny_split.root, models=("static_mask",))
    obj = open_split(tiny_split.root).video("alpha").object("000")
    folder = tmp_path / "run"
    with RunFolder(folder, config, "sav_tiny") as opened:
        copied = CompressedMask.of(obj.annotations[0][1].read())
        save_object_masks(folder / "masks", ARM, "alpha", "000", {mask.frame_name: copied for _, mask in obj.annotations})
        score = score_masks(folder / "masks" / ARM, obj, SAV, in_pictures=False)
        assert score is not None
        latency_ms = LatencySamples(10.0 + frame for frame in range(12))
        row = SummaryRow(
            video="alpha", object="000", model="static", prompt="mask", autocast_dtype="none", attention="none", arm_id=ARM,
            run_id=opened.run_id, frames=12, fps=latency_ms.fps, latency_ms=latency_ms.mean, latency_min_ms=latency_ms.min,
            latency_p50_ms=latency_ms.p50, latency_p90_ms=latency_ms.p90, latency_p95_ms=latency_ms.p95, latency_p99_ms=latency_ms.p99,
            latency_max_ms=latency_ms.max, latency_intervals=row_values(latency_ms.samples_ms),
            parts_ms=parts(latency_ms.mean or 0), decode_ms=3.0,
            init_ms=4.0, first_frame_ms=5.0, setup_ms=9.0, J=score.J, F=score.F, JandF=score.JandF, frames_scored=score.frames_scored,
            frames_annotated=4, prompt_frame=0, clip_frames=13, frame_stride=1, warmup_frames=2, nonfinite_frames=0, cpu_peak_rss_MiB=60.0,
        )  # fmt: skip
        frames = [
            FrameRow(
                ARM, "alpha", "000", frame + 1, repeat=0, latency_ms=latency, parts_ms=parts(latency), decode_ms=3.0,
                J=J.get(frame + 1), F=None,
            )
            for J in [_frame_scores(folder, obj.annotations)]
            for frame, latency in enumerate(latency_ms.samples_ms)
        ]  # fmt: skip
        opened.append(row, frames)
        opened.append(dataclasses.replace(SummaryRow(), video="beta", object="000", model="static", prompt="mask", arm_id=ARM,
                                          run_id=opened.run_id, status="oom", error="out of memory"))  # fmt: skip
        opened.mark(complete=True)
    return folder


def test_masks_of_annotations_whose_suffix_is_in_capitals_are_found(run: Path, tiny_split: TinySplit) -> None:
    for path in (tiny_split.root / "Annotations_6fps/alpha/000").iterdir():
        path.rename(path.with_suffix(".PNG"))
    assert not validate(run).problems


def test_an_arm_of_two_systems_is_found(run: Path) -> None:
    first, second = read_rows(SummaryRow, run / "summary.csv")
    rows = [dataclasses.replace(first, torch_version="2.5.0", weights="b35"), dataclasses.replace(second, torch_version="2.6.0")]
    (run / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, rows)))
    assert validate(run).problems == [f"summary.csv: arm {ARM} mixes systems: torch_version 2.5.0 and 2.6.0"]


def parts(latency_ms: float) -> dict[str, float]:
    return {"preprocess_ms": 1.0, "model_ms": latency_ms - 2, "output_ms": 1.0}


def _frame_scores(folder: Path, annotations: tuple[tuple[int, Annotation], ...]) -> dict[int, float]:
    scores = {}
    for frame, mask in annotations[1:-1]:
        prediction, truth = read_mask(folder / "masks" / ARM / "alpha" / "000" / f"{mask.frame_name}.png"), mask.read()
        scores[frame] = float((prediction & truth).sum() / (prediction | truth).sum())
    return scores


def test_a_sound_run_has_no_problems(run: Path) -> None:
    report = validate(run)
    assert report.problems == []
    assert report.checked == ["2 rows of summary.csv, 1 of them ok", "12 frames of frames.csv", "scores of 1 objects from their masks"]
    assert validate(run / "summary.csv").problems == []


@pytest.mark.parametrize(
    ("column", "text", "problem"),
    [
        ("fps", "60.0", "fps 60 is not 1000 / latency_ms = 64.5161"),
        ("setup_ms", "10.0", "setup_ms 10 is not init_ms + first_frame_ms = 9"),
        ("JandF", "0.9", "JandF 0.9 is not (J + F) / 2"),
        ("J", "1.5", "J 1.5 is out of its range"),
        ("latency_ms", "-3.0", "latency_ms -3 is out of its range"),
        ("cpu_peak_rss_MiB", "-1.0", "cpu_peak_rss_MiB -1 is out of its range"),
        ("latency_p90_ms", "9.0", "latency_p50_ms 15.5 is above latency_p90_ms 9"),
        ("latency_p95_ms", "20.4", "latency_p95_ms 20.4, frames.csv gives 20.45"),
        ("latency_max_ms", "30.0", "latency_max_ms 30, frames.csv gives 21"),
        ("decode_ms", "", "frames.csv gives 3"),
        ("model_ms", "12.0", "preprocess_ms + model_ms + output_ms = 14.000, latency_ms is 15.500"),
        ("frames", "11", "11 timed frames, its clip has 12 after the prompt"),
        ("frames_scored", "9", "9 frames scored of 4 annotated"),
        ("nonfinite_frames", "2", "status ok with 2 nonfinite_frames"),
        ("error", "boom", "status ok, but there is an error"),
        ("status", "fine", "status 'fine' is none of ok, error"),
        ("status", "error", "status error without a reason in error"),
        ("fps", "", "status ok without fps"),
        ("fps", "fast", "column fps: 'fast' is not a number"),
        ("run_id", "other", "run_id other, run.json has"),
        ("model", "", "model is empty"),
        ("overlay", "overlays/gone.mp4", "overlay overlays/gone.mp4 is not there"),
        ("J", "0.99", "does not agree with the 2 scored frames of frames.csv"),
        ("F", "0.123", "its masks give"),
    ],
)
def test_every_figure_is_checked_against_others(run: Path, column: str, text: str, problem: str) -> None:
    change_value(run / "summary.csv", 2, column, text)
    found = validate(run).problems
    assert any(problem in line for line in found), found
    assert any("summary.csv:2" in line for line in found)


def test_stages_sum_to_the_latency(run: Path) -> None:
    """Those that the model does not have are missing. By construction nothing lies between them."""
    summary, frames = run / "summary.csv", run / "frames.csv"
    for path, lines in ((summary, [2]), (frames, range(2, 14))):
        for line in lines:
            change_value(path, line, "stage_resize_copy_ms", "5.0")
            change_value(path, line, "stage_other_ms", "10.5")
    assert validate(run).problems == []
    for path, lines in ((summary, [2]), (frames, range(2, 14))):
        for line in lines:
            change_value(path, line, "stage_other_ms", "10.0")
    assert any("the stages sum to 15.000 ms, latency_ms is 15.500" in problem for problem in validate(run).problems)
    change_value(frames, 2, "stage_other_ms", "22.0")
    assert any("stage_other_ms 10, frames.csv gives 11" in problem for problem in validate(run).problems)


def test_a_failed_row_has_no_figures(run: Path) -> None:
    change_value(run / "summary.csv", 3, "latency_ms", "20.0")
    assert any("summary.csv:3 (beta/000): status oom with a figure in latency_ms" in line for line in validate(run).problems)


def test_rows_that_are_there_twice(run: Path) -> None:
    for name, said in (("summary.csv", "a second row for arm"), ("frames.csv", "frame 1 appears twice")):
        path = run / name
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([*lines, lines[1]]))
        assert any(said in line for line in validate(run).problems)
        path.write_text("".join(lines))


def test_frames_against_rows(run: Path) -> None:
    path = run / "frames.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    assert any("frames 12, frames.csv gives 11" in line for line in validate(run).problems)
    path.write_text("".join([*lines, lines[-1].replace("alpha", "gamma")]))
    assert any("1 objects without a row in summary.csv" in line for line in validate(run).problems)
    path.unlink()
    report = validate(run)
    assert report.problems == []
    assert any("frames.csv is missing" in note for note in report.notes)


def test_a_half_row_is_a_problem(run: Path) -> None:
    with (run / "summary.csv").open("a") as file:
        file.write("gamma,000,sta")
    assert any("summary.csv:4: the last row has 3 of" in line for line in validate(run).problems)


def test_masks_are_scored_again(run: Path, tiny_split: TinySplit) -> None:
    mask = run / "masks" / ARM / "alpha" / "000" / "00004.png"
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(mask)
    (problem,) = validate(run).problems
    assert "summary.csv:2 (alpha/000): J " in problem
    assert "its masks give" in problem
    assert validate(run, with_masks=False).problems == []
    mask.unlink()
    assert "its masks cannot be scored" in validate(run).problems[0]


def test_a_split_that_has_moved(run: Path, tiny_split: TinySplit, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(tiny_split.root, moved)
    report = validate(run)
    assert report.problems == []
    assert any("--split_dir" in note for note in report.notes)
    assert "scores of 1 objects from their masks" in validate(run, moved).checked


def test_one_bit_truth_and_masks_score_as_eight_bit_ones(run: Path, tiny_split: TinySplit) -> None:
    """Pillow reads 1-bit PNGs as bools of byte 255, which once made the same mask score J = 0.6 against itself."""
    for path in tiny_split.masks_dir("alpha", "000").iterdir():
        Image.fromarray(read_mask(path)).convert("1").save(path)
    assert validate(run).problems == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "run.json: No such file"),
        (lambda run: (run / "run.json").write_text("{"), "run.json: damaged"),
        (lambda run: (run / "run.json").write_text("[]"), "run.json: damaged"),
    ],
)
def test_run_json(run: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(run)
    assert message in validate(run).problems[0]


def test_an_unfinished_run_is_noted(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"complete": False}))
    report = validate(run)
    assert report.problems == []
    assert any("not complete" in note for note in report.notes)


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        validate(tmp_path / "gone")
    with pytest.raises(InputError, match=r"summary\.csv"):
        validate(tmp_path)


def test_exit_status(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["validate", str(run)]) == 0
    assert capsys.readouterr().out.endswith(": no problems\n")
    change_value(run / "summary.csv", 2, "fps", "60.0")
    assert jetson_benchmark.main(["validate", str(run), "--skip_masks"]) == 1
    assert capsys.readouterr().out.startswith("problem: summary.csv:2 (alpha/000): fps 60 is not")
    assert jetson_benchmark.main(["validate", str(tmp_path / "gone")]) == 2
    assert capsys.readouterr().err.startswith("jetson_benchmark validate: ")


def test_measures_of_failure_are_checked_against_the_frames(run: Path) -> None:
    """Frames 4 and 8 are judged, with 32 and 0 common pixels of two squares of 64."""
    first, second = read_rows(SummaryRow, run / "summary.csv")
    frames = read_rows(FrameRow, run / "frames.csv")
    for frame in frames:
        if frame.J is not None:
            frame.truth_px = frame.mask_px = 64
            frame.object_score = -3.5
    judged = [JudgedFrame(frame.frame or 0, frame.J, 64, 64, "") for frame in frames if frame.J is not None]
    first.video_height, first.video_width = 24, 32
    first.failure = failure_measures(judged, "000", prompt_frame=0, clip_frames=13, image_px=24 * 32)
    (run / "frames.csv").write_text(header_line(FrameRow) + "".join(map(row_line, frames)))

    def problems() -> list[str]:
        (run / "summary.csv").write_text(header_line(SummaryRow) + "".join(map(row_line, (first, second))))
        return validate(run).problems

    assert problems() == []
    first.failure["volumetric_J"] = 0.5
    first.failure["failure_frame"] = 4
    said = problems()
    assert len(said) == 2
    assert "volumetric_J 0.5, frames.csv gives 0.142857" in said[0]
    assert "failure_frame 4, frames.csv gives nan" in said[1]
